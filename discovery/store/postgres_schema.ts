/**
 * Bringing a PostgreSQL database to the present schema, so that a damaged, foreign or newer one stays untouched.
 *
 * `moray_schema` has one row: the number of the last migration, and a fingerprint of the columns that it left behind.
 *
 * @module
 */
import type { Sql, TransactionSql } from "postgres";
import { MorayError } from "../../core/mod.ts";
import { postgresSql, tablesOf } from "./migrations/dialect.ts";
import { MIGRATIONS, SCHEMA_VERSION } from "./migrations/mod.ts";

/** Our tables and their columns, as the database has them. */
const FINGERPRINT = `SELECT coalesce(md5(string_agg(
    table_name || '.' || column_name || ' ' || data_type, ','
    ORDER BY table_name COLLATE "C", ordinal_position)), '') AS fingerprint
  FROM information_schema.columns
  WHERE table_schema = current_schema() AND table_name IN (SELECT json_array_elements_text($1::text::json))`;

/** Checks the database and migrates it, in one transaction. Rejects with `MorayError` `corrupt`, or what the driver throws. */
export async function migratePostgres(sql: Sql, shown: string): Promise<void> {
  await sql.begin(async (transaction) => {
    // Connections of ours leave it to the server when commits reach the disk; the schema has to be there.
    await transaction.unsafe("SET LOCAL synchronous_commit TO on");
    await transaction.unsafe("SELECT pg_advisory_xact_lock(hashtextextended('moray schema', 0))");
    const version = await presentVersion(transaction, shown);
    const steps = MIGRATIONS.filter((step) => step.version > version);
    if (steps.length === 0) return;
    if (version === 0) {
      await transaction.unsafe(
        "CREATE TABLE moray_schema (version BIGINT NOT NULL, fingerprint TEXT NOT NULL)",
      );
    }
    for (const step of steps) await transaction.unsafe(postgresSql(step.sql));
    await transaction.unsafe("DELETE FROM moray_schema");
    await transaction.unsafe("INSERT INTO moray_schema (version, fingerprint) VALUES ($1, $2)", [
      SCHEMA_VERSION,
      await fingerprint(transaction, SCHEMA_VERSION),
    ]);
  });
}

/** The schema that the database has; 0 for none. Throws unless it is sound and ours, and this program can read it. */
async function presentVersion(transaction: TransactionSql, shown: string): Promise<number> {
  if (!await hasTable(transaction, "moray_schema")) {
    for (const table of tablesUpTo(SCHEMA_VERSION)) {
      if (await hasTable(transaction, table)) {
        throw untouched(`${shown} is not a Discovery database: it has a table ${table} of its own`);
      }
    }
    return 0;
  }
  const rows = await transaction.unsafe("SELECT version, fingerprint FROM moray_schema");
  const [row] = rows;
  if (rows.length !== 1 || row === undefined) {
    throw untouched(`The database ${shown} is damaged (it does not say its version)`);
  }
  const version = Number(row["version"]);
  if (version > SCHEMA_VERSION) {
    throw untouched(
      `The database ${shown} is of a newer version (schema ${version}, this program knows ` +
        `${SCHEMA_VERSION})`,
    );
  }
  if (row["fingerprint"] !== await fingerprint(transaction, version)) {
    throw untouched(
      `The database ${shown} is damaged (its tables are not those of schema ${version})`,
    );
  }
  return version;
}

async function hasTable(transaction: TransactionSql, name: string): Promise<boolean> {
  const [row] = await transaction.unsafe(
    "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = $1",
    [name],
  );
  return row !== undefined;
}

async function fingerprint(transaction: TransactionSql, version: number): Promise<string> {
  const [row] = await transaction.unsafe(FINGERPRINT, [JSON.stringify(tablesUpTo(version))]);
  return String(row?.["fingerprint"]);
}

function tablesUpTo(version: number): string[] {
  return MIGRATIONS.filter((step) => step.version <= version).flatMap(({ sql }) => tablesOf(sql));
}

function untouched(what: string): MorayError {
  return new MorayError("corrupt", `${what}; it was left untouched`);
}
