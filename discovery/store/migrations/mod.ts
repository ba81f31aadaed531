/**
 * The steps that bring a database to the present schema, in order.
 *
 * `PRAGMA user_version` holds the number of the last step taken. Numbers have gaps: the RFC names `005-discovery-relay`.
 *
 * @module
 */
import { SQL as NODES } from "./001_nodes.ts";
import { SQL as DISCOVERY_RELAY } from "./005_discovery_relay.ts";
import { SQL as ROTATIONS } from "./010_rotations.ts";
import { SQL as TRUST } from "./006_trust.ts";
import { SQL as RECORDS } from "./007_records.ts";
import { SQL as MEMBERS } from "./012_members.ts";
import { SQL as UNUSED } from "./013_unused.ts";

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
  { version: 5, name: "005-discovery-relay", sql: DISCOVERY_RELAY },
  { version: 6, name: "006-trust", sql: TRUST },
  { version: 7, name: "007-records", sql: RECORDS },
  { version: 10, name: "010-rotations", sql: ROTATIONS },
  { version: 12, name: "012-members", sql: MEMBERS },
  { version: 13, name: "013-unused", sql: UNUSED },
];

/** The schema that this program writes. A database with a greater number is refused. */
export const SCHEMA_VERSION: number = MIGRATIONS.at(-1)?.version ?? 0;
