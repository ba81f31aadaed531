/** Opens the store that a setting names. @module */
import { MorayError } from "../../core/mod.ts";
import type { Log } from "../log.ts";
import { isPostgresUrl, parsePostgresUrl } from "./postgres_url.ts";
import { SqliteStore } from "./sqlite_store.ts";
import type { Store } from "./store.ts";

/** Options of {@linkcode openStore}. */
export interface OpenStoreOptions {
  /** Where the log goes. */
  readonly log: Log;
  /** Largest size of a SQLite file in bytes. @default no limit but the disk's */
  readonly bytesMax?: number;
}

/**
 * Opens `:memory:`, the SQLite file of a path, or the PostgreSQL database of a `postgres://` URL. Rejects as
 * {@linkcode SqliteStore.open} and the opening of a PostgreSQL database do, or with `usage` or `unsupported` for another URL.
 */
export async function openStore(text: string, { log, bytesMax }: OpenStoreOptions): Promise<Store> {
  if (isPostgresUrl(text)) {
    const url = parsePostgresUrl(text);
    if (url === undefined) {
      throw new MorayError("usage", "The store is not postgres://USER:PASSWORD@HOST/DATABASE");
    }
    // The driver is for those who have such a database.
    const { PostgresStore } = await import(
      "./postgres_store.ts" as string
    ) as typeof import("./postgres_store.ts");
    return await PostgresStore.open(url, { log });
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1];
  if (scheme !== undefined) {
    throw new MorayError("unsupported", `Cannot open the store: ${scheme}:// is not supported`);
  }
  return SqliteStore.open(text, bytesMax === undefined ? {} : { bytesMax });
}
