/** Migration 005: relay sessions, and nodes that want no relay. @module */

/**
 * A node has one session of a relay, which asking again renews. `rx_bytes` and `tx_bytes` are what the relay says that
 * it carried from and to the node. Nothing here says where a node is.
 */
export const SQL = `
CREATE TABLE peer_sessions (
  session_id TEXT NOT NULL PRIMARY KEY,
  mesh_id TEXT NOT NULL,
  pubkey TEXT NOT NULL,
  agent_pubkey TEXT NOT NULL,
  colony_pubkey TEXT NOT NULL,
  relay_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  rx_bytes INTEGER NOT NULL,
  tx_bytes INTEGER NOT NULL,
  UNIQUE (mesh_id, pubkey, relay_id)
) STRICT;
CREATE INDEX peer_sessions_expiry ON peer_sessions (expires_at);
ALTER TABLE nodes ADD COLUMN no_relay INTEGER NOT NULL DEFAULT 0;
`;
