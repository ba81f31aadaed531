/** What databases of earlier versions hold. @module */
import type { SQLInputValue } from "node:sqlite";
import { MIGRATIONS, SCHEMA_VERSION } from "../store/migrations/mod.ts";
import { key } from "./nodes.ts";

/** When their nodes registered. */
export const NOW = 1_700_000_000_000;
/** When those end. */
export const LATER: number = NOW + 300_000;

/** A row by columns. */
export type Row = Readonly<Record<string, SQLInputValue>>;

/** A node's row, as schema 1 has it. */
function nodeRow(seed: number, role: 1 | 2): Row {
  return {
    mesh_id: "reef",
    pubkey: key(seed),
    role,
    agent_id: role === 1 ? "" : `a${seed}`,
    name: `n${seed}`,
    endpoints: '["192.0.2.1:51820"]',
    observed_endpoints: '[["203.0.113.1",40001,false]]',
    nat: 1,
    mesh_ipv4: "10.42.0.1",
    mesh_ipv6: "",
    connect_port: 9000,
    public_port: 0,
    public_endpoint: "",
    metadata: '{"site":"home"}',
    registered_at: NOW,
    last_seen_at: NOW,
    expires_at: LATER,
    generation: NOW,
  };
}

/** What each schema can hold beyond the one before. */
const ROWS: Readonly<Record<number, readonly (readonly [table: string, row: Row])[]>> = {
  1: [["nodes", nodeRow(1, 1)], ["nodes", nodeRow(2, 2)]],
  5: [
    ["nodes", { ...nodeRow(3, 2), no_relay: 1 }],
    ["peer_sessions", {
      session_id: "s",
      mesh_id: "reef",
      pubkey: key(2),
      agent_pubkey: key(2),
      colony_pubkey: key(1),
      relay_id: "eu",
      created_at: NOW,
      expires_at: LATER,
      rx_bytes: 7,
      tx_bytes: 9,
    }],
  ],
  6: [
    ["nodes", { ...nodeRow(4, 2), proven: 1 }],
    ["meshes", { mesh_id: "reef", pubkey: key(1), bound_at: NOW }],
    ["spent", { id: "proof x", expires_at: LATER }],
    ["secrets", { name: "proof", secret: new Uint8Array(32).fill(5) }],
  ],
  7: [["nodes", { ...nodeRow(5, 2), statement: "c2lnbmVk", sequence: 12 }]],
  10: [["rotations", {
    mesh_id: "atoll",
    old_pubkey: key(8),
    new_pubkey: key(9),
    sequence: 3,
    rotated_at: NOW,
  }]],
  12: [
    ["nodes", { ...nodeRow(6, 2), admission: "shown" }],
    ["meshes", { mesh_id: "bay", pubkey: key(7), bound_at: NOW, closed: 1, members_revision: 4 }],
    ["members", {
      mesh_id: "bay",
      pubkey: key(2),
      state: 1,
      sequence: 5,
      statement: "d29yZA",
    }],
    ["invites", { mesh_id: "bay", invite: "A".repeat(43), expires_at: LATER, used_by: key(2) }],
  ],
};

/** The schemas before the present one. */
export const EARLIER: readonly number[] = MIGRATIONS.map(({ version }) => version).filter((it) =>
  it < SCHEMA_VERSION
);

/** The rows of a database of a schema: everything that it and the ones before can hold. */
export function rowsUpTo(version: number): readonly (readonly [table: string, row: Row])[] {
  return Object.entries(ROWS).filter(([schema]) => Number(schema) <= version)
    .flatMap(([, rows]) => rows);
}
