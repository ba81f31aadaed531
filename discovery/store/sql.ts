/**
 * What the tables of a store are written in, whichever database is beneath: statements in the SQL that SQLite and PostgreSQL
 * share, yielded by generators.
 *
 * ```text
 *   function* steps --Query[]--> SQLite: at once, in this turn          PostgreSQL: one round trip for all of them
 *                   <--rows-----
 * ```
 *
 * Shared are `?` for parameters, `ON CONFLICT ... DO UPDATE`, `RETURNING`, and columns of TEXT, INTEGER (to 2^53) and
 * BLOB. Not shared, and not used: rowid, `INSERT OR REPLACE`, `min(a, b)`, the database's clock.
 *
 * @module
 */
import type { StoreEvent } from "./store.ts";

/** A value of a column. */
export type Value = string | number | Uint8Array<ArrayBuffer>;

/** A row as the database gives it: whole numbers may come as text. */
export type Row = Readonly<Record<string, unknown>>;

/** One statement with its parameters, or a lock. */
export type Query =
  | { readonly sql: string; readonly values: readonly Value[] }
  /** Holds off every other transaction that names the same lock until this one ends. */
  | { readonly lock: string };

/** Steps towards a result: each yields statements, run in order, and gets the rows of each. */
export type Steps<T> = Generator<readonly Query[], T, readonly (readonly Row[])[]>;

/** What a transaction does besides its statements, once it is committed. */
export interface Transaction {
  /** Tells whoever listens to the store, here and in other replicas. */
  tell(event: StoreEvent): void;
  /** Adds to the number of rows that a table is known to have. */
  count(table: CountedTable, rows: number): void;
}

/** Tables whose rows are counted, because asking the database is slow. */
export type CountedTable = "nodes" | "peer_sessions" | "meshes" | "spent" | "members";

/** A database with the present schema. */
export interface Database {
  /** Whether others write to it too. */
  readonly shared: boolean;
  /** How far its clock is ahead of this machine's, in milliseconds: what replicas go by. 0 where it is this machine's. */
  readonly clockAheadMs: number;
  /** Runs steps that read, or consist of one statement. Those that nodes write with all the time take {@linkcode Database.put}. */
  run<T>(steps: () => Steps<T>): Promise<T>;
  /**
   * Runs steps that consist of one statement, which changes something. Those of one turn may be committed together: none of them
   * resolves before that.
   */
  put<T>(steps: () => Steps<T>): Promise<T>;
  /** Runs steps in one transaction; again from the start where another replica's was in the way. */
  write<T>(steps: (transaction: Transaction) => Steps<T>, options: WriteOptions): Promise<T>;
  /** Has `listener` called with each event, in the order of the commits, and of other replicas too. One listener. */
  listen(listener: (event: StoreEvent) => void): void;
  /** Tells every replica, this one too. */
  say(text: string): Promise<void>;
  /** Ends it. Safe to call twice. */
  close(): Promise<void>;
}

/** Options of {@linkcode Database.write}. */
export interface WriteOptions {
  /** Called once the transaction is committed with what it counted. */
  readonly counted: (table: CountedTable, rows: number) => void;
}

/** A statement with its parameters. */
export function query(sql: string, ...values: readonly Value[]): Query {
  return { sql, values };
}

/** The rows of one statement. */
export function* rowsOf(sql: string, ...values: readonly Value[]): Steps<readonly Row[]> {
  const [rows = []] = yield [{ sql, values }];
  return rows;
}

/** The number in the only column of a row; 0 where there is none. */
export function countOf(rows: readonly Row[]): number {
  return Number(Object.values(rows[0] ?? {})[0] ?? 0);
}

/** `?, ?, ?` for so many parameters. */
export function parameters(count: number): string {
  return new Array(count).fill("?").join(", ");
}
