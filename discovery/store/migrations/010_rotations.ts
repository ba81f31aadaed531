/** Migration 010: keys that gave way to others. @module */

/** `rotations` has each key of a mesh that was given up, and the one that followed: neither can be given up or followed twice. */
export const SQL = `
CREATE TABLE rotations (
  mesh_id TEXT NOT NULL,
  old_pubkey TEXT NOT NULL,
  new_pubkey TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  rotated_at INTEGER NOT NULL,
  PRIMARY KEY (mesh_id, old_pubkey)
) STRICT;
CREATE UNIQUE INDEX rotations_new ON rotations (mesh_id, new_pubkey);
`;
