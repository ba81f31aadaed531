/**
 * A SQLite database of one process: steps run in the turn in which they are asked for.
 *
 * ```text
 *   put  put  write           put       put
 *   BEGIN --> COMMIT BEGIN..COMMIT BEGIN ---- end of the turn: COMMIT, and whoever waits goes on
 * ```
 *
 * @module
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { clearImmediate, setImmediate } from "node:timers";
import { assert, MorayError } from "../../core/mod.ts";
import type { StoreEvent } from "./store.ts";
import type {
  CountedTable,
  Database,
  Query,
  Row,
  Steps,
  Transaction,
  WriteOptions,
} from "./sql.ts";
import { databaseError, type DatabaseOptions, openDatabase, rollback } from "./sqlite_file.ts";

/** Statements of one turn, in one transaction. */
interface Group {
  readonly committed: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  readonly timer: NodeJS.Immediate;
}

/** A SQLite file, or memory. */
export class SqliteDatabase implements Database {
  readonly shared = false;
  readonly clockAheadMs = 0;
  readonly #database: DatabaseSync;
  readonly #path: string;
  /** Prepared statements by their text; as many as the program has. */
  readonly #statements = new Map<string, StatementSync>();
  /** Statements that wait to be committed together. */
  #group: Group | undefined;
  #listener: ((event: StoreEvent) => void) | undefined;
  #open = true;

  /** Opens or creates a database. Throws as {@linkcode openDatabase} does. */
  constructor(path: string, options: DatabaseOptions = {}) {
    this.#database = openDatabase(path, options);
    this.#path = path;
  }

  /** As {@linkcode Database.run}, at once. */
  runNow<T>(steps: () => Steps<T>): T {
    try {
      return this.#drive(steps());
    } catch (error) {
      throw this.#named(error);
    }
  }

  /** As {@linkcode Database.close}, at once. */
  closeNow(): void {
    if (!this.#open) return;
    this.#commitGroup();
    this.#open = false;
    this.#database.close();
  }

  run<T>(steps: () => Steps<T>): Promise<T> {
    return attempt(() => this.runNow(steps));
  }

  async put<T>(steps: () => Steps<T>): Promise<T> {
    const group = this.#group ?? this.#beginGroup();
    let result: T;
    try {
      result = this.runNow(steps);
    } catch (error) {
      // SQLite takes back a statement that fails, and for some faults, as a full disk, all that was not committed.
      if (!this.#database.isTransaction) this.#endGroup(group, error);
      throw error;
    }
    await group.committed;
    return result;
  }

  write<T>(
    steps: (transaction: Transaction) => Steps<T>,
    { counted }: WriteOptions,
  ): Promise<T> {
    return attempt(() => {
      this.#commitGroup();
      const events: StoreEvent[] = [];
      const counts: { readonly table: CountedTable; readonly rows: number }[] = [];
      const result = this.#transact(() =>
        this.#drive(steps({
          tell: (event) => events.push(event),
          count: (table, rows) => counts.push({ table, rows }),
        }))
      );
      for (const { table, rows } of counts) counted(table, rows);
      for (const event of events) this.#listener?.(event);
      return result;
    });
  }

  listen(listener: (event: StoreEvent) => void): void {
    assert(this.#listener === undefined, "a store has one listener");
    this.#listener = listener;
  }

  say(text: string): Promise<void> {
    return attempt(() => this.#listener?.({ kind: "said", text }));
  }

  close(): Promise<void> {
    return attempt(() => this.closeNow());
  }

  #beginGroup(): Group {
    this.#exec("BEGIN IMMEDIATE");
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // Whoever waits hears of it; there may be nobody.
    promise.catch(() => {});
    const timer = setImmediate(() => this.#commitGroup());
    this.#group = { committed: promise, resolve, reject, timer };
    return this.#group;
  }

  /** Commits what waits for it. */
  #commitGroup(): void {
    const group = this.#group;
    if (group === undefined) return;
    try {
      this.#exec("COMMIT");
      this.#endGroup(group);
    } catch (error) {
      rollback(this.#database);
      this.#endGroup(group, error);
    }
  }

  #endGroup(group: Group, error?: unknown): void {
    this.#group = undefined;
    clearImmediate(group.timer);
    if (error === undefined) group.resolve();
    else group.reject(error);
  }

  #exec(sql: string): void {
    try {
      this.#database.exec(sql);
    } catch (error) {
      throw this.#named(error);
    }
  }

  #transact<T>(body: () => T): T {
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        const result = body();
        this.#database.exec("COMMIT");
        return result;
      } catch (error) {
        rollback(this.#database);
        throw error;
      }
    } catch (error) {
      throw this.#named(error);
    }
  }

  #drive<T>(steps: Steps<T>): T {
    let step = steps.next([]);
    while (step.done !== true) step = steps.next(step.value.map((query) => this.#execute(query)));
    return step.value;
  }

  #execute(query: Query): readonly Row[] {
    // One process, and one transaction at a time.
    if ("lock" in query) return [];
    let statement = this.#statements.get(query.sql);
    if (statement === undefined) {
      statement = this.#database.prepare(query.sql);
      this.#statements.set(query.sql, statement);
    }
    return statement.all(...query.values) as Row[];
  }

  #named(error: unknown): MorayError {
    if (!this.#open) return new MorayError("closed", `The database ${this.#path} is closed`, error);
    return databaseError(error, this.#path);
  }
}

/** What a function gives, or throws, as a promise. */
function attempt<T>(body: () => T): Promise<T> {
  try {
    return Promise.resolve(body());
  } catch (error) {
    return Promise.reject(error);
  }
}
