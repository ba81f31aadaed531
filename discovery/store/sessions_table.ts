/** The table of relay sessions: its statements, and the steps that open and end sessions. @module */
import {
  type NodeKey,
  type PeerSession,
  type SessionName,
  type SessionOptions,
  type SessionOutcome,
  type SessionRequest,
  SESSIONS_MAX,
  SESSIONS_PER_MESH_MAX,
  SESSIONS_PER_NODE_MAX,
  type SessionUsage,
} from "./store.ts";
import {
  countOf,
  parameters,
  query,
  type Row,
  rowsOf,
  type Steps,
  type Transaction,
} from "./sql.ts";

/** How many sessions there may be. */
export interface SessionLimits {
  /** Of one node. */
  readonly perNode: number;
  /** Of one mesh. */
  readonly perMesh: number;
  /** In all. */
  readonly inAll: number;
}

const LIMITS: SessionLimits = {
  perNode: SESSIONS_PER_NODE_MAX,
  perMesh: SESSIONS_PER_MESH_MAX,
  inAll: SESSIONS_MAX,
};

const COLUMNS = [
  "session_id",
  "mesh_id",
  "pubkey",
  "agent_pubkey",
  "colony_pubkey",
  "relay_id",
  "created_at",
  "expires_at",
  "rx_bytes",
  "tx_bytes",
] as const;

const ALL = COLUMNS.join(", ");
/** What a session carried may be said again and again; beyond this it counts no more. */
const BYTES_MAX = Number.MAX_SAFE_INTEGER;
const SQL = {
  find: `SELECT ${ALL} FROM peer_sessions WHERE mesh_id = ? AND pubkey = ? AND relay_id = ?`,
  of: `SELECT ${ALL} FROM peer_sessions WHERE mesh_id = ? AND pubkey = ? AND expires_at > ?
    ORDER BY relay_id`,
  nodeCount:
    "SELECT count(*) FROM peer_sessions WHERE mesh_id = ? AND pubkey = ? AND expires_at > ?",
  meshCount: "SELECT count(*) FROM peer_sessions WHERE mesh_id = ?",
  sweepMesh: "DELETE FROM peer_sessions WHERE mesh_id = ? AND expires_at <= ? RETURNING session_id",
  put: `INSERT INTO peer_sessions (${ALL}) VALUES (${parameters(COLUMNS.length)})
    ON CONFLICT (mesh_id, pubkey, relay_id) DO UPDATE SET ${
    COLUMNS.map((name) => `${name} = excluded.${name}`).join(", ")
  }`,
  close: `DELETE FROM peer_sessions WHERE session_id = ? AND mesh_id = ? AND pubkey = ?
    RETURNING ${ALL}`,
  closeUnproven: `DELETE FROM peer_sessions WHERE session_id = ? AND mesh_id = ? AND NOT EXISTS
    (SELECT 1 FROM nodes WHERE nodes.mesh_id = peer_sessions.mesh_id
      AND nodes.pubkey = peer_sessions.pubkey AND nodes.proven = 1) RETURNING ${ALL}`,
  closeAll: `DELETE FROM peer_sessions WHERE mesh_id = ? AND pubkey = ? RETURNING ${ALL}`,
  addUsage: `UPDATE peer_sessions SET
    rx_bytes = CASE WHEN rx_bytes > ${BYTES_MAX} - ? THEN ${BYTES_MAX} ELSE rx_bytes + ? END,
    tx_bytes = CASE WHEN tx_bytes > ${BYTES_MAX} - ? THEN ${BYTES_MAX} ELSE tx_bytes + ? END
    WHERE session_id = ? AND relay_id = ? RETURNING session_id`,
  sweep: `DELETE FROM peer_sessions WHERE session_id IN (SELECT session_id FROM peer_sessions
    WHERE expires_at <= ? ORDER BY expires_at LIMIT ?) AND expires_at <= ? RETURNING ${ALL}`,
  live: "SELECT count(*) FROM peer_sessions WHERE expires_at > ?",
} as const;

/** The table. `rows` says how many there are, expired ones too. */
export class SessionsTable {
  readonly #limits: SessionLimits;
  readonly #rows: () => number;

  /** A table with these limits; those of store.ts where there are none. */
  constructor(limits: SessionLimits | undefined, rows: () => number) {
    this.#limits = limits ?? LIMITS;
    this.#rows = rows;
  }

  /** As {@linkcode Store.openSession}. */
  *open(
    request: SessionRequest,
    { now, ttlMs, stranger = false }: SessionOptions,
    transaction: Transaction,
  ): Steps<SessionOutcome> {
    const { meshId, publicKey, relayId } = request;
    const [, found = []] = yield [
      { lock: `relays ${meshId}` },
      query(SQL.find, meshId, publicKey, relayId),
    ];
    const [present] = many(found);
    const renewed = present !== undefined && present.expiresAt > now;
    const full = renewed ? undefined : yield* this.#full(request, {
      now,
      replaces: present !== undefined,
      stranger,
      transaction,
    });
    if (full !== undefined) return { kind: "full", of: full };
    const expiresAt = now + ttlMs;
    const { agentKey, colonyKey } = request;
    const session: PeerSession = renewed
      ? { ...present, agentKey, colonyKey, expiresAt }
      : { ...request, createdAt: now, expiresAt, rxBytes: 0, txBytes: 0 };
    yield [query(
      SQL.put,
      session.sessionId,
      meshId,
      publicKey,
      session.agentKey,
      session.colonyKey,
      relayId,
      session.createdAt,
      session.expiresAt,
      session.rxBytes,
      session.txBytes,
    )];
    if (present === undefined) transaction.count("peer_sessions", 1);
    return { kind: "opened", session, renewed };
  }

  /** As {@linkcode Store.sessions}. */
  *of({ meshId, publicKey }: NodeKey, now: number): Steps<PeerSession[]> {
    return many(yield* rowsOf(SQL.of, meshId, publicKey, now));
  }

  /** As {@linkcode Store.closeSession}. */
  *close(
    { sessionId, meshId, publicKey }: SessionName,
    transaction: Transaction,
  ): Steps<PeerSession | undefined> {
    const rows = publicKey === undefined
      ? yield* rowsOf(SQL.closeUnproven, sessionId, meshId)
      : yield* rowsOf(SQL.close, sessionId, meshId, publicKey);
    return removed(rows, transaction)[0];
  }

  /** As {@linkcode Store.closeSessions}. */
  *closeAll({ meshId, publicKey }: NodeKey, transaction: Transaction): Steps<PeerSession[]> {
    return removed(yield* rowsOf(SQL.closeAll, meshId, publicKey), transaction);
  }

  /** As {@linkcode Store.addUsage}. */
  *addUsage(relayId: string, usage: readonly SessionUsage[]): Steps<number> {
    if (usage.length === 0) return 0;
    const changed = yield usage.map(({ sessionId, rxBytes, txBytes }) =>
      query(SQL.addUsage, rxBytes, rxBytes, txBytes, txBytes, sessionId, relayId)
    );
    return changed.filter((rows) => rows.length > 0).length;
  }

  /** As {@linkcode Store.sweepSessions}. */
  *sweep(now: number, max: number, transaction: Transaction): Steps<PeerSession[]> {
    return removed(yield* rowsOf(SQL.sweep, now, max, now), transaction);
  }

  /** As {@linkcode Store.sessionCount}. */
  *live(now: number): Steps<number> {
    return countOf(yield* rowsOf(SQL.live, now));
  }

  /** What has no room for one more session. Expired ones of the mesh make room first. */
  *#full(
    { meshId, publicKey }: SessionRequest,
    { now, replaces, stranger, transaction }: {
      readonly now: number;
      readonly replaces: boolean;
      readonly stranger: boolean;
      readonly transaction: Transaction;
    },
  ): Steps<"node" | "mesh" | "store" | undefined> {
    const { perNode, perMesh, inAll } = this.#limits;
    const [own = [], all = []] = yield [
      query(SQL.nodeCount, meshId, publicKey, now),
      query(SQL.meshCount, meshId),
    ];
    if (countOf(own) >= perNode) return "node";
    if (replaces) return undefined;
    if (this.#rows() >= inAll) return "store";
    if (countOf(all) < (stranger ? perMesh / 2 : perMesh)) return undefined;
    const swept = yield* rowsOf(SQL.sweepMesh, meshId, now);
    transaction.count("peer_sessions", -swept.length);
    return swept.length > 0 ? undefined : "mesh";
  }
}

function removed(rows: readonly Row[], transaction: Transaction): PeerSession[] {
  transaction.count("peer_sessions", -rows.length);
  return many(rows);
}

function many(rows: readonly Row[]): PeerSession[] {
  return rows.map((row) => {
    const columns = row as Readonly<Record<(typeof COLUMNS)[number], unknown>>;
    return {
      sessionId: String(columns.session_id),
      meshId: String(columns.mesh_id),
      publicKey: String(columns.pubkey),
      agentKey: String(columns.agent_pubkey),
      colonyKey: String(columns.colony_pubkey),
      relayId: String(columns.relay_id),
      createdAt: Number(columns.created_at),
      expiresAt: Number(columns.expires_at),
      rxBytes: Number(columns.rx_bytes),
      txBytes: Number(columns.tx_bytes),
    };
  });
}
