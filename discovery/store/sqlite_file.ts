/** Opening a SQLite file so that a damaged, foreign or newer one stays untouched, and naming SQLite's errors. @module */
import { DatabaseSync } from "node:sqlite";
import { dirname } from "node:path";
import { messageOf, MorayError } from "../../core/mod.ts";
import { MIGRATIONS, SCHEMA_VERSION } from "./migrations/mod.ts";

/** `PRAGMA application_id` of our files: "mory". */
const APPLICATION_ID = 0x6d6f7279;
/** How long a lock of another process is waited for, once per statement. */
const BUSY_MS = 250;
const PAGE_BYTES = 4096;
/** Memory for pages: nonces are two minutes' writes in random order, and each page that is not here is read and written again. */
const CACHE_KIB = 16 * 1024;
/** Pages in the log of writes until they are copied into the file, which waits for the disk: 16 MiB. */
const WAL_PAGES = 4096;

/** SQLite's primary result codes that mean something to us. */
const SQLITE = {
  perm: 3,
  busy: 5,
  readOnly: 8,
  ioError: 10,
  corrupt: 11,
  full: 13,
  cantOpen: 14,
  notDatabase: 26,
} as const;

/** Options of {@linkcode openDatabase}. */
export interface DatabaseOptions {
  /** Largest size of the database; writes beyond it fail as on a full disk. @default no limit but the disk's */
  readonly bytesMax?: number;
}

/**
 * Opens or creates a database and brings it to the present schema. `path` may be `:memory:`.
 *
 * Throws `MorayError`: `corrupt` (damaged, foreign or newer: the file is not written to), `diskFull`, `permission`,
 * `refused` (another process has it) or `usage` (no such folder, not a file).
 */
export function openDatabase(path: string, { bytesMax }: DatabaseOptions = {}): DatabaseSync {
  if (path !== ":memory:") prepareFile(path);
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path);
    database.exec(`PRAGMA busy_timeout = ${BUSY_MS}`);
    // One process per file: Watch events do not cross processes. Exclusive WAL also needs no shared memory.
    database.exec("PRAGMA locking_mode = EXCLUSIVE");
    database.exec("PRAGMA journal_mode = WAL");
    database.exec("PRAGMA synchronous = NORMAL");
    database.exec(`PRAGMA cache_size = -${CACHE_KIB}`);
    database.exec(`PRAGMA wal_autocheckpoint = ${WAL_PAGES}`);
    if (bytesMax !== undefined) {
      database.exec(`PRAGMA max_page_count = ${Math.max(1, Math.floor(bytesMax / PAGE_BYTES))}`);
    }
    migrate(database);
    return database;
  } catch (error) {
    database?.close();
    throw databaseError(error, path);
  }
}

/** Turns what `node:sqlite` throws into a `MorayError` that names the file. */
export function databaseError(error: unknown, path: string): MorayError {
  if (error instanceof MorayError) return error;
  const text = messageOf(error);
  switch (resultCode(error)) {
    case SQLITE.full:
      return new MorayError("diskFull", `Cannot write the database ${path}: disk is full`, error);
    case SQLITE.corrupt:
    case SQLITE.notDatabase:
      return new MorayError("corrupt", `The database ${path} is damaged: ${text}`, error);
    case SQLITE.busy:
      return new MorayError("refused", `The database ${path} is in use by another process`, error);
    case SQLITE.perm:
    case SQLITE.readOnly:
    case SQLITE.cantOpen:
      return new MorayError("permission", `Cannot open the database ${path}: ${text}`, error);
    case SQLITE.ioError:
      return new MorayError("internal", `Cannot use the database ${path}: ${text}`, error);
    default:
      return new MorayError("internal", `The database ${path} failed: ${text}`, error);
  }
}

/** The primary result code of an error of `node:sqlite`; by its words where the runtime gives no number. */
function resultCode(error: unknown): number | undefined {
  if (error instanceof Error && "errcode" in error && typeof error.errcode === "number") {
    return error.errcode & 0xff;
  }
  const text = messageOf(error);
  if (text.includes("disk is full")) return SQLITE.full;
  if (text.includes("is not a database")) return SQLITE.notDatabase;
  if (text.includes("malformed")) return SQLITE.corrupt;
  if (text.includes("is locked")) return SQLITE.busy;
  if (text.includes("readonly")) return SQLITE.readOnly;
  if (text.includes("unable to open")) return SQLITE.cantOpen;
  return undefined;
}

/** Creates the file if there is none, readable by its owner only; checks the one that is there without writing to it. */
function prepareFile(path: string): void {
  const info = stat(path);
  if (info === undefined) {
    create(path);
    return;
  }
  if (!info.isFile) throw new MorayError("usage", `Cannot open the database ${path}: not a file`);
  if (info.size > 0) inspect(path);
}

function stat(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw fileError(error, path);
  }
}

function create(path: string): void {
  try {
    Deno.openSync(path, { write: true, createNew: true, mode: 0o600 }).close();
  } catch (error) {
    throw fileError(error, path);
  }
}

function fileError(error: unknown, path: string): MorayError {
  const what = `Cannot open the database ${path}`;
  if (error instanceof Deno.errors.NotFound) {
    return new MorayError("usage", `${what}: the folder ${dirname(path)} does not exist`, error);
  }
  if (error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable) {
    return new MorayError("permission", `${what}: permission denied`, error);
  }
  if (error instanceof Error && "code" in error && error.code === "ENOSPC") {
    return new MorayError("diskFull", `${what}: disk is full`, error);
  }
  return new MorayError("permission", `${what}: ${messageOf(error)}`, error);
}

/** Throws unless the file is a sound database of ours that this program can read. */
function inspect(path: string): void {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { readOnly: true });
    database.exec(`PRAGMA busy_timeout = ${BUSY_MS}`);
    const version = pragma(database, "user_version");
    const application = pragma(database, "application_id");
    if (application !== APPLICATION_ID) {
      throw new MorayError("corrupt", `${path} is not a Discovery database; it was left untouched`);
    }
    if (Number(version) > SCHEMA_VERSION) {
      throw new MorayError(
        "corrupt",
        `The database ${path} is of a newer version (schema ${version}, this program knows ` +
          `${SCHEMA_VERSION}); it was left untouched`,
      );
    }
    const verdict = String(pragma(database, "quick_check(1)"));
    if (verdict !== "ok") {
      // The first line is a heading.
      const finding = verdict.split("\n").at(-1);
      throw new MorayError(
        "corrupt",
        `The database ${path} is damaged (${finding}); it was left untouched`,
      );
    }
  } catch (error) {
    const named = databaseError(error, path);
    if (named.code !== "corrupt" || named.message.includes("untouched")) throw named;
    throw new MorayError("corrupt", `${named.message}; it was left untouched`, error);
  } finally {
    database?.close();
  }
}

function pragma(database: DatabaseSync, name: string): unknown {
  return Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0];
}

function migrate(database: DatabaseSync): void {
  const version = Number(pragma(database, "user_version"));
  for (const step of MIGRATIONS) {
    if (step.version <= version) continue;
    database.exec("BEGIN IMMEDIATE");
    try {
      database.exec(step.sql);
      database.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
      database.exec(`PRAGMA user_version = ${step.version}`);
      database.exec("COMMIT");
    } catch (error) {
      rollback(database);
      throw error;
    }
  }
}

/** Ends a failed transaction; SQLite may have ended it itself. */
export function rollback(database: DatabaseSync): void {
  try {
    database.exec("ROLLBACK");
  } catch {
    // Already rolled back.
  }
}
