/** Migration 012: who belongs to a mesh. @module */

/**
 * `meshes.closed`: only members, and who holds an invite, may register; `members_revision` is what the colony calls the list that it
 * published last, 0 for none. `members` holds what the colony has signed of each node (`state` 1 admitted, 2 revoked, 3 admitted again; `statement` a
 * SignedStatement in base64), `invites` the public keys of its open invites and who has taken one. `nodes.admission` is how a
 * node that is no member yet shows its invite, empty for none.
 */
export const SQL = `
ALTER TABLE meshes ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meshes ADD COLUMN members_revision INTEGER NOT NULL DEFAULT 0;
CREATE TABLE members (
  mesh_id TEXT NOT NULL,
  pubkey TEXT NOT NULL,
  state INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  statement TEXT NOT NULL,
  PRIMARY KEY (mesh_id, pubkey)
) STRICT;
CREATE TABLE invites (
  mesh_id TEXT NOT NULL,
  invite TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  used_by TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (mesh_id, invite)
) STRICT;
ALTER TABLE nodes ADD COLUMN admission TEXT NOT NULL DEFAULT '';
`;
