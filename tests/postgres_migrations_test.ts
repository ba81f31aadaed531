/** PostgreSQL databases as earlier versions left them: brought forward with all their rows, or refused with nothing written. */
import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { postgresSql } from "../discovery/store/migrations/dialect.ts";
import { MIGRATIONS, SCHEMA_VERSION } from "../discovery/store/migrations/mod.ts";
import { PostgresStore } from "../discovery/store/postgres_store.ts";
import { parsePostgresUrl, type PostgresUrl } from "../discovery/store/postgres_url.ts";
import { EARLIER, LATER, NOW, type Row, rowsUpTo } from "../discovery/testing/earlier_rows.ts";
import { agent, key } from "../discovery/testing/nodes.ts";
import { unmet } from "./support/needs.ts";
import { PostgresServer } from "./support/postgres.ts";
import { say } from "./support/say.ts";

const LOG = { log: (): void => {} };

let server: PostgresServer;
const reason = unmet(["full", "postgres"]);

function test(behaviour: string, fn: () => Promise<void>): void {
  Deno.test({ name: `PostgresStore ${behaviour}`, ignore: reason !== undefined, fn });
}

if (reason === undefined) {
  Deno.test.beforeAll(async () => {
    server = await PostgresServer.start();
  });
  Deno.test.afterAll(() => server[Symbol.asyncDispose]());
} else say(`skipped: PostgresStore and earlier schemas: ${reason}`);

/** Makes a database as the program of that schema did. */
async function leaveBehind(version: number): Promise<PostgresUrl> {
  const url = parsePostgresUrl(await server.createDatabase());
  assert(url !== undefined);
  const steps = MIGRATIONS.filter((step) => step.version <= version);
  await server.query(
    url.secret,
    [
      ...steps.map(({ sql }) => postgresSql(sql)),
      ...rowsUpTo(version).map(([table, row]) => insertion(table, row)),
      `CREATE TABLE moray_schema AS SELECT ${version}::bigint AS version,
        md5(string_agg(table_name || '.' || column_name || ' ' || data_type, ','
          ORDER BY table_name COLLATE "C", ordinal_position)) AS fingerprint
        FROM information_schema.columns WHERE table_schema = 'public'`,
    ].join(";\n"),
  );
  return url;
}

function insertion(table: string, row: Row): string {
  const values = Object.values(row).map((value) => {
    if (value instanceof Uint8Array) return `'\\x${value.toHex()}'`;
    return typeof value === "string" ? `'${value}'` : String(value);
  });
  return `INSERT INTO ${table} (${Object.keys(row).join(", ")}) VALUES (${values.join(", ")})`;
}

/** Every row of every table, and its columns. */
async function contents({ secret }: PostgresUrl): Promise<ReadonlyMap<string, readonly string[]>> {
  const columns = await server.query(
    secret,
    `SELECT table_name AS name, string_agg(column_name || ' ' || data_type, ', '
        ORDER BY ordinal_position) AS columns
      FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1 ORDER BY 1`,
  );
  const found = new Map<string, readonly string[]>();
  for (const { name, columns: described } of columns) {
    const rows = await server.query(secret, `SELECT t::text AS row FROM ${name} AS t ORDER BY 1`);
    found.set(String(name), [String(described), ...rows.map(({ row }) => String(row))]);
  }
  return found;
}

/** How many rows have these values. */
async function rowsLike(url: PostgresUrl, table: string, row: Row): Promise<number> {
  const made = insertion(table, row);
  const values = made.slice(made.indexOf("VALUES (") + 8, -1);
  const same = `SELECT count(*)::int AS n FROM ${table} WHERE (${Object.keys(row).join(", ")})`;
  const [found] = await server.query(url.secret, `${same} = (${values})`);
  return Number(found?.["n"]);
}

for (const version of EARLIER) {
  test(`brings a database of schema ${version} forward with every row`, async () => {
    const url = await leaveBehind(version);
    const before = rowsUpTo(version);
    // Two that open it at once find it migrated.
    const [store, other] = await Promise.all([
      PostgresStore.open(url, LOG),
      PostgresStore.open(url, LOG),
    ]);
    try {
      assertEquals((await store.colony("reef", NOW))?.publicKey, key(1));
      const agents = before.filter(([table]) => table === "nodes").length - 1;
      assertEquals((await other.agents("reef", NOW)).length, agents);
      assertEquals(await store.sessionCount(NOW), version >= 5 ? 1 : 0);
      if (version >= 6) {
        const kept = await store.secret("proof", new Uint8Array(32).fill(6));
        assertEquals(kept, new Uint8Array(32).fill(5));
        assertEquals(await other.spend("proof x", LATER), "reused");
      }
      if (version >= 12) {
        assertEquals((await store.members("bay", { after: "", max: 9 })).length, 1);
        assertEquals(await store.membersRevision("bay"), 4);
      }
      const registered = await store.register(agent(20), { now: NOW, ttlMs: 300_000 });
      assertEquals(registered.kind, "registered");
    } finally {
      await store.close();
      await other.close();
    }
    for (const [table, row] of before) {
      assertEquals(await rowsLike(url, table, row), 1, `${table} ${JSON.stringify(row)}`);
    }
    assertEquals(await server.query(url.secret, "SELECT version::int FROM moray_schema"), [{
      version: SCHEMA_VERSION,
    }]);
  });
}

test("refuses newer, damaged and foreign databases of any schema in one line, with every row as it was", async () => {
  const faults = [
    [
      `UPDATE moray_schema SET version = ${SCHEMA_VERSION + 1}`,
      /newer version \(schema \d+, this program knows \d+\)/,
    ],
    ["DELETE FROM moray_schema", /is damaged \(it does not say its version\)/],
    ["ALTER TABLE nodes DROP COLUMN nat", /is damaged \(its tables are not those of schema \d+\)/],
    ["DROP TABLE moray_schema", /is not a Discovery database: it has a table nodes of its own/],
  ] as const;
  const urls = new Map<number, PostgresUrl>();
  for (const version of [1, 7, 12]) urls.set(version, await leaveBehind(version));
  for (const [version, url] of urls) {
    for (const [fault, message] of faults) {
      // Each fault in a copy, as the server makes it: byte by byte.
      const copy = parsePostgresUrl(await server.createDatabase(nameOf(url)));
      assert(copy !== undefined);
      await server.query(copy.secret, fault);
      const before = await contents(copy);
      assert(before.get("nodes")?.some((row) => row.includes("192.0.2.1")));
      await assertRejects(PostgresStore.open(copy, LOG), (error: Error & { code?: string }) => {
        assertEquals(error.code, "corrupt");
        assert(message.test(error.message), error.message);
        assert(/; it was left untouched$/.test(error.message), error.message);
        assert(!/\n|horse/.test(error.message), error.message);
        return true;
      });
      assertEquals(await contents(copy), before, `schema ${version}: ${fault}`);
    }
  }
});

function nameOf({ secret }: PostgresUrl): string {
  return secret.slice(secret.lastIndexOf("/") + 1);
}
