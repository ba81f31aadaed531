/** Migration 006: what makes a registration trustworthy. @module */

/**
 * `meshes` binds a mesh id to the colony key that first proved possession. `spent` holds what may be used once
 * only, nonces and tokens, until it would be refused for its age. `secrets` holds the server's own, shared by replicas.
 */
export const SQL = `
CREATE TABLE meshes (
  mesh_id TEXT NOT NULL PRIMARY KEY,
  pubkey TEXT NOT NULL,
  bound_at INTEGER NOT NULL
) STRICT;
CREATE TABLE spent (
  id TEXT NOT NULL PRIMARY KEY,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX spent_expiry ON spent (expires_at);
CREATE TABLE secrets (
  name TEXT NOT NULL PRIMARY KEY,
  secret BLOB NOT NULL
) STRICT;
ALTER TABLE nodes ADD COLUMN proven INTEGER NOT NULL DEFAULT 0;
`;
