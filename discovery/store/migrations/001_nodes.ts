/** Migration 001: registrations. @module */

/**
 * `role` is 1 for a colony and 2 for an agent, as `PeerRole`. Lists and maps are JSON. Times are unix milliseconds.
 */
export const SQL = `
CREATE TABLE nodes (
  mesh_id TEXT NOT NULL,
  pubkey TEXT NOT NULL,
  role INTEGER NOT NULL CHECK (role IN (1, 2)),
  agent_id TEXT NOT NULL,
  name TEXT NOT NULL,
  endpoints TEXT NOT NULL,
  observed_endpoints TEXT NOT NULL,
  nat INTEGER NOT NULL,
  mesh_ipv4 TEXT NOT NULL,
  mesh_ipv6 TEXT NOT NULL,
  connect_port INTEGER NOT NULL,
  public_port INTEGER NOT NULL,
  public_endpoint TEXT NOT NULL,
  metadata TEXT NOT NULL,
  registered_at INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  PRIMARY KEY (mesh_id, pubkey)
) STRICT;
CREATE UNIQUE INDEX nodes_colony ON nodes (mesh_id) WHERE role = 1;
CREATE UNIQUE INDEX nodes_agent ON nodes (agent_id, mesh_id) WHERE role = 2;
CREATE INDEX nodes_expiry ON nodes (expires_at);
`;
