/** Migration 013: an end for what nobody uses. @module */

/**
 * `meshes.used_at` is when the colony was last seen once its registration has ended, 0 where that is not known: bindings end that
 * were not used for long. The indexes are for finding what ends.
 */
export const SQL = `
ALTER TABLE meshes ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX meshes_used ON meshes (used_at);
CREATE INDEX rotations_time ON rotations (rotated_at);
CREATE INDEX invites_expiry ON invites (expires_at);
`;
