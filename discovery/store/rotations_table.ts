/** The table of keys that were given up: its statements, and the step that gives one up for another. @module */
import { countOf, type Query, query, type Row, type Steps, type Transaction } from "./sql.ts";
import { bindingOf, keyOf } from "./trust_table.ts";
import {
  type NodeKey,
  type NodeRecord,
  type Role,
  type RotateOutcome,
  ROTATIONS_PER_MESH_MAX,
  type StoredRotation,
} from "./store.ts";

const SQL = {
  of: `SELECT new_pubkey FROM rotations WHERE mesh_id = ? AND old_pubkey = ?`,
  to: `SELECT old_pubkey, sequence FROM rotations WHERE mesh_id = ? AND new_pubkey = ?`,
  count: "SELECT count(*) FROM rotations WHERE mesh_id = ?",
  put: `INSERT INTO rotations (mesh_id, old_pubkey, new_pubkey, sequence, rotated_at)
    VALUES (?, ?, ?, ?, ?)`,
  forget: `DELETE FROM rotations WHERE mesh_id = ? AND old_pubkey IN
    (SELECT old_pubkey FROM rotations WHERE mesh_id = ? ORDER BY rotated_at, old_pubkey LIMIT 1)`,
  // The colony's word on the old key counts for the new one, until it says something of that.
  move: "UPDATE members SET pubkey = ? WHERE mesh_id = ? AND pubkey = ?",
  member: "SELECT 1 FROM members WHERE mesh_id = ? AND pubkey = ?",
  rebind: "UPDATE meshes SET pubkey = ?, used_at = ? WHERE mesh_id = ? AND pubkey = ?",
} as const;

/** Asks whether a key was given up, among other questions: the answer has a row if it was. */
export function successorOf({ meshId, publicKey }: NodeKey): Query {
  return query(SQL.of, meshId, publicKey);
}

/** What giving up a key needs of the table of registrations. */
export interface Registrations {
  /** A registration, live or not. */
  node(key: NodeKey, now: number): Steps<NodeRecord | undefined>;
  /** Removes one. */
  remove(key: NodeKey, role: Role, transaction: Transaction): Steps<NodeRecord | undefined>;
}

/** Gives up a key for another: binding and registration of the old one go, in one transaction. */
export function* rotate(
  { meshId, oldKey, newKey, sequence }: StoredRotation,
  { now, nodes, transaction, rotationsMax = ROTATIONS_PER_MESH_MAX }: {
    readonly now: number;
    readonly rotationsMax?: number | undefined;
    readonly nodes: Registrations;
    readonly transaction: Transaction;
  },
): Steps<RotateOutcome> {
  const [old, fresh] = [{ meshId, publicKey: oldKey }, { meshId, publicKey: newKey }];
  const [, bound = [], after = [], beyond = [], before = [], toNew = [], ...rest] = yield [
    { lock: `mesh ${meshId}` },
    bindingOf(meshId),
    successorOf(old),
    successorOf(fresh),
    query(SQL.to, meshId, oldKey),
    query(SQL.to, meshId, newKey),
    query(SQL.count, meshId),
    query(SQL.member, meshId, oldKey),
    query(SQL.member, meshId, newKey),
  ];
  const [count = [], member = [], other = []] = rest;
  const successor = column(after, "new_pubkey");
  if (successor !== undefined) {
    return { kind: successor === newKey && beyond.length === 0 ? "repeated" : "retired" };
  }
  const owner = keyOf(bound);
  const registered = yield* nodes.node(old, 0);
  const known = owner === oldKey || registered !== undefined || member.length > 0;
  if (!known) return { kind: "unknown" };
  if (sequence <= Number(column(before, "sequence") ?? 0)) return { kind: "older" };
  const taken = owner === newKey || beyond.length > 0 || toNew.length > 0 ||
    other.length > 0 || (yield* nodes.node(fresh, now)) !== undefined;
  if (taken) return { kind: "taken" };
  const full = countOf(count) >= rotationsMax;
  yield [
    ...full ? [query(SQL.forget, meshId, meshId)] : [],
    query(SQL.put, meshId, oldKey, newKey, sequence, now),
    query(SQL.rebind, newKey, now, meshId, oldKey),
    query(SQL.move, newKey, meshId, oldKey),
  ];
  // Whoever watches hears that the old one is gone; the new one registers itself.
  if (registered !== undefined) yield* nodes.remove(old, registered.role, transaction);
  return { kind: "rotated" };
}

function column([row]: readonly Row[], name: string): string | undefined {
  return row && String(row[name]);
}
