/** What an operator wants to see of a store: meshes, nodes and relay sessions, counted and page by page. @module */
import { query, type Row, type Steps, type Value } from "./sql.ts";
import type {
  MeshPage,
  NodeCount,
  NodeOrder,
  NodePage,
  OverviewPage,
  RelayTotal,
  Role,
} from "./store.ts";

/** What rows are put in order by, for each order. The key comes last, so that pages do not overlap. */
const ORDER: Readonly<Record<NodeOrder, string>> = {
  name: "role, name, agent_id, mesh_id, pubkey",
  mesh: "mesh_id, role, name, pubkey",
  nat: "nat, role, name, mesh_id, pubkey",
  seen: "last_seen_at DESC, mesh_id, pubkey",
};

/** The role of column `role`. */
function roleOf(number: unknown): Role {
  return Number(number) === 1 ? "colony" : "agent";
}

/** As {@linkcode Store.meshPage}. */
export function* meshPage(now: number, { offset, limit }: OverviewPage): Steps<MeshPage> {
  const [total = [], rows = []] = yield [
    query("SELECT count(DISTINCT mesh_id) AS total FROM nodes WHERE expires_at > ?", now),
    query(
      `SELECT mesh_id, count(*) AS nodes, sum(CASE WHEN role = 1 THEN 1 ELSE 0 END) AS colonies,
        max(last_seen_at) AS last_seen_at FROM nodes WHERE expires_at > ?
        GROUP BY mesh_id ORDER BY mesh_id LIMIT ? OFFSET ?`,
      now,
      limit,
      offset,
    ),
  ];
  return {
    total: Number(total[0]?.["total"] ?? 0),
    meshes: rows.map((row) => ({
      meshId: String(row["mesh_id"]),
      colonies: Number(row["colonies"]),
      agents: Number(row["nodes"]) - Number(row["colonies"]),
      lastSeenAt: Number(row["last_seen_at"]),
    })),
  };
}

/** As {@linkcode Store.nodePage}. */
export function* nodePage(
  now: number,
  { meshId, order, offset, limit }: OverviewPage & {
    readonly meshId?: string;
    readonly order: NodeOrder;
  },
): Steps<NodePage> {
  const [where, values]: [string, Value[]] = meshId === undefined
    ? ["expires_at > ?", [now]]
    : ["expires_at > ? AND mesh_id = ?", [now, meshId]];
  const [counts = [], rows = []] = yield [
    query(
      `SELECT role, nat, count(*) AS nodes FROM nodes WHERE ${where}
        GROUP BY role, nat ORDER BY role, nat`,
      ...values,
    ),
    query(
      `SELECT mesh_id, pubkey, role, agent_id, name, nat, proven, last_seen_at, expires_at
        FROM nodes WHERE ${where} ORDER BY ${ORDER[order]} LIMIT ? OFFSET ?`,
      ...values,
      limit,
      offset,
    ),
  ];
  return {
    counts: counts.map((row): NodeCount => ({
      role: roleOf(row["role"]),
      nat: Number(row["nat"]),
      nodes: Number(row["nodes"]),
    })),
    nodes: rows.map((row: Row) => ({
      meshId: String(row["mesh_id"]),
      publicKey: String(row["pubkey"]),
      role: roleOf(row["role"]),
      agentId: String(row["agent_id"]),
      name: String(row["name"]),
      nat: Number(row["nat"]),
      proven: Number(row["proven"]) === 1,
      lastSeenAt: Number(row["last_seen_at"]),
      expiresAt: Number(row["expires_at"]),
    })),
  };
}

/** As {@linkcode Store.relayTotals}. */
export function* relayTotals(now: number, limit: number): Steps<RelayTotal[]> {
  const [rows = []] = yield [query(
    `SELECT relay_id, count(*) AS sessions, sum(rx_bytes) AS rx_bytes, sum(tx_bytes) AS tx_bytes
      FROM peer_sessions WHERE expires_at > ? GROUP BY relay_id ORDER BY relay_id LIMIT ?`,
    now,
    limit,
  )];
  return rows.map((row) => ({
    relayId: String(row["relay_id"]),
    sessions: Number(row["sessions"]),
    rxBytes: Number(row["rx_bytes"]),
    txBytes: Number(row["tx_bytes"]),
  }));
}
