/**
 * The steps that bring a database to the present schema, in order.
 *
 * `PRAGMA user_version` holds the number of the last step taken. Numbers may have gaps; 5 is kept for
 * `005-discovery-relay` (`peer_sessions`), which the RFC names.
 *
 * @module
 */
import { SQL as NODES } from "./001_nodes.ts";

/** One step. */
export interface Migration {
  /** Number of the step; `user_version` once it is taken. */
  readonly version: number;
  /** Number and name, as the RFC writes them. */
  readonly name: string;
  /** Statements, run in one transaction with the new `user_version`. */
  readonly sql: string;
}

/** Every step, by ascending number. */
export const MIGRATIONS: readonly Migration[] = [
  { version: 1, name: "001-nodes", sql: NODES },
];

/** The schema that this program writes. A database with a greater number is refused. */
export const SCHEMA_VERSION: number = MIGRATIONS.at(-1)?.version ?? 0;
