/** The end of mesh ids that nobody uses, with everything that is kept of their meshes. @module */
import { type Query, query, rowsOf, type Steps, type Transaction } from "./sql.ts";
import { MESH_LIFE_MS, type NodeRecord } from "./store.ts";

const UNUSED = `used_at <= ?
    AND NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.mesh_id = meshes.mesh_id)`;

const SQL = {
  use: "UPDATE meshes SET used_at = ? WHERE mesh_id = ? AND used_at < ?",
  // Bound by an earlier version: the time begins now.
  begin: "UPDATE meshes SET used_at = ? WHERE used_at = 0",
  unused: `SELECT mesh_id FROM meshes WHERE ${UNUSED} ORDER BY used_at LIMIT ?`,
  end: `DELETE FROM meshes WHERE mesh_id = ? AND ${UNUSED} RETURNING mesh_id`,
  members: "DELETE FROM members WHERE mesh_id = ? RETURNING pubkey",
  invites: "DELETE FROM invites WHERE mesh_id = ?",
  rotations: "DELETE FROM rotations WHERE mesh_id = ?",
  endedInvites: `DELETE FROM invites WHERE (mesh_id, invite) IN
    (SELECT mesh_id, invite FROM invites WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
    RETURNING invite`,
  // Keys of meshes that no colony ever bound are given up too.
  looseRotations: `DELETE FROM rotations WHERE (mesh_id, old_pubkey) IN
    (SELECT mesh_id, old_pubkey FROM rotations WHERE rotated_at <= ?
      AND NOT EXISTS (SELECT 1 FROM meshes WHERE meshes.mesh_id = rotations.mesh_id)
      ORDER BY rotated_at LIMIT ?)
    RETURNING old_pubkey`,
} as const;

/** Notes until when the mesh ids of colonies were used whose registrations have ended. */
export function used(records: readonly NodeRecord[]): readonly Query[] {
  return records.filter(({ role, proven }) => role === "colony" && proven)
    .map(({ meshId, lastSeenAt }) => query(SQL.use, lastSeenAt, meshId, lastSeenAt));
}

/** As `Store.sweepMeshes`. */
export function* sweepMeshes(
  now: number,
  max: number,
  transaction: Transaction,
): Steps<number> {
  const since = now - MESH_LIFE_MS;
  const [, unused = [], invites = [], rotations = []] = yield [
    query(SQL.begin, now),
    query(SQL.unused, since, max),
    query(SQL.endedInvites, now, max),
    query(SQL.looseRotations, since, max),
  ];
  let ended = 0;
  // In one order, so that replicas that sweep at once wait for each other and not each for the other.
  for (const meshId of unused.map((row) => String(row["mesh_id"])).sort()) {
    // Its colony may have come back before the lock was ours.
    yield [{ lock: `mesh ${meshId}` }];
    if ((yield* rowsOf(SQL.end, meshId, since)).length === 0) continue;
    const [members = []] = yield [
      query(SQL.members, meshId),
      query(SQL.invites, meshId),
      query(SQL.rotations, meshId),
    ];
    transaction.count("members", -members.length);
    ended++;
  }
  transaction.count("meshes", -ended);
  return ended + invites.length + rotations.length;
}
