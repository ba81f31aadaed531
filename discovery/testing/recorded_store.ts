/** A store in memory that tells which statements it ran: what a request costs, whatever the clock says. @module */
import type { Database, Query, Row, Steps, Transaction, WriteOptions } from "../store/sql.ts";
import { SqliteDatabase } from "../store/sqlite_database.ts";
import { countRows, SqlStore } from "../store/sql_store.ts";
import type { StoreEvent } from "../store/store.ts";

/** A store, and what it ran since the last time that somebody asked. */
export interface RecordedStore {
  /** The store. */
  readonly store: SqlStore;
  /** Returns the statements since the last call, without their values. */
  statements(): string[];
}

/** Opens a store in memory. */
export function recordedStore(): RecordedStore {
  const database = new RecordedDatabase();
  const store = new SqlStore(database, database.inner.runNow(countRows), {});
  return { store, statements: () => database.ran.splice(0) };
}

class RecordedDatabase implements Database {
  readonly shared = false;
  readonly clockAheadMs = 0;
  readonly inner = new SqliteDatabase(":memory:");
  readonly ran: string[] = [];

  run<T>(steps: () => Steps<T>): Promise<T> {
    return this.inner.run(() => this.#watched(steps()));
  }

  put<T>(steps: () => Steps<T>): Promise<T> {
    return this.inner.put(() => this.#watched(steps()));
  }

  write<T>(steps: (transaction: Transaction) => Steps<T>, options: WriteOptions): Promise<T> {
    return this.inner.write((transaction) => this.#watched(steps(transaction)), options);
  }

  listen(listener: (event: StoreEvent) => void): void {
    this.inner.listen(listener);
  }

  say(text: string): Promise<void> {
    return this.inner.say(text);
  }

  close(): Promise<void> {
    return this.inner.close();
  }

  *#watched<T>(steps: Steps<T>): Generator<readonly Query[], T, readonly (readonly Row[])[]> {
    let step = steps.next([]);
    while (step.done !== true) {
      for (const query of step.value) this.ran.push("sql" in query ? query.sql : query.lock);
      step = steps.next(yield step.value);
    }
    return step.value;
  }
}
