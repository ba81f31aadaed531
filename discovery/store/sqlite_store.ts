/** The store on SQLite: a file, or memory. @module */
import { SqliteDatabase } from "./sqlite_database.ts";
import type { DatabaseOptions } from "./sqlite_file.ts";
import { countRows, SqlStore, type StoreLimits } from "./sql_store.ts";

/** Options of {@linkcode SqliteStore.open}. */
export interface SqliteStoreOptions extends DatabaseOptions, StoreLimits {}

/** Registrations and relay sessions in SQLite. */
export class SqliteStore extends SqlStore {
  /** Opens or creates the store in a file, or in memory for `:memory:`. Throws as {@linkcode SqliteDatabase} does. */
  static open(path: string, options: SqliteStoreOptions = {}): SqliteStore {
    const database = new SqliteDatabase(path, options);
    try {
      return new SqliteStore(database, database.runNow(countRows), options);
    } catch (error) {
      database.closeNow();
      throw error;
    }
  }
}
