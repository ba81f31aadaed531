/** The store on PostgreSQL. @module */
import { PostgresDatabase, type PostgresOptions } from "./postgres_database.ts";
import type { PostgresUrl } from "./postgres_url.ts";
import { countRows, SqlStore, type StoreLimits } from "./sql_store.ts";

/** Options of {@linkcode PostgresStore.open}. */
export interface PostgresStoreOptions extends PostgresOptions, StoreLimits {}

/** Registrations and relay sessions in PostgreSQL, which replicas share. */
export class PostgresStore extends SqlStore {
  /** Connects. Rejects as {@linkcode PostgresDatabase.open} does. */
  static async open(url: PostgresUrl, options: PostgresStoreOptions): Promise<PostgresStore> {
    const database = await PostgresDatabase.open(url, options);
    try {
      return new PostgresStore(database, await database.run(countRows), options);
    } catch (error) {
      await database.close();
      throw error;
    }
  }
}
