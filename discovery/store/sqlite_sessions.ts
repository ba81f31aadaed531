/** The table of relay sessions: what {@linkcode SqliteStore} runs in its transactions. @module */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import {
  type NodeKey,
  type PeerSession,
  type RegisterOptions,
  type SessionOutcome,
  type SessionRequest,
  SESSIONS_MAX,
  SESSIONS_PER_MESH_MAX,
  SESSIONS_PER_NODE_MAX,
  type SessionUsage,
} from "./store.ts";

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

type Row = Readonly<Record<(typeof COLUMNS)[number], string | number>>;

const ALL = COLUMNS.join(", ");
const STATEMENTS = {
  find: `SELECT ${ALL} FROM peer_sessions WHERE mesh_id = ? AND pubkey = ? AND relay_id = ?`,
  of: `SELECT ${ALL} FROM peer_sessions WHERE mesh_id = ? AND pubkey = ? AND expires_at > ?
    ORDER BY relay_id`,
  nodeCount:
    "SELECT count(*) FROM peer_sessions WHERE mesh_id = ? AND pubkey = ? AND expires_at > ?",
  meshCount: "SELECT count(*) FROM peer_sessions WHERE mesh_id = ?",
  sweepMesh: "DELETE FROM peer_sessions WHERE mesh_id = ? AND expires_at <= ?",
  put: `INSERT OR REPLACE INTO peer_sessions (${ALL})
    VALUES (${COLUMNS.map(() => "?").join(", ")})`,
  close: `DELETE FROM peer_sessions WHERE session_id = ? AND mesh_id = ? RETURNING ${ALL}`,
  closeAll: `DELETE FROM peer_sessions WHERE mesh_id = ? AND pubkey = ? RETURNING ${ALL}`,
  addUsage: `UPDATE peer_sessions SET rx_bytes = min(rx_bytes + ?, ${Number.MAX_SAFE_INTEGER}),
    tx_bytes = min(tx_bytes + ?, ${Number.MAX_SAFE_INTEGER}) WHERE session_id = ? AND relay_id = ?`,
  sweep: `DELETE FROM peer_sessions WHERE rowid IN (SELECT rowid FROM peer_sessions
    WHERE expires_at <= ? ORDER BY expires_at LIMIT ?) RETURNING ${ALL}`,
  count: "SELECT count(*) FROM peer_sessions WHERE expires_at > ?",
  rows: "SELECT count(*) FROM peer_sessions",
} as const;
type StatementName = keyof typeof STATEMENTS;

/** The table. Methods are synchronous, and the caller's to run in a transaction where they write. */
export class SqliteSessions {
  readonly #statements: Readonly<Record<StatementName, StatementSync>>;
  readonly #limits: SessionLimits;
  /** Rows in the table, kept here because counting them is slow. */
  #rows = 0;

  /** The table of a database that has it. */
  constructor(database: DatabaseSync, limits: SessionLimits = LIMITS) {
    this.#statements = Object.fromEntries(
      Object.entries(STATEMENTS).map(([name, sql]) => [name, database.prepare(sql)]),
    ) as Record<StatementName, StatementSync>;
    this.#limits = limits;
    this.recount();
  }

  /** Counts the rows: a transaction was rolled back. */
  recount(): void {
    this.#rows = count(this.#statements.rows.get());
  }

  /** As {@linkcode Store.openSession}. */
  open(request: SessionRequest, { now, ttlMs }: RegisterOptions): SessionOutcome {
    const { meshId, publicKey, relayId } = request;
    const present = one(this.#statements.find.get(meshId, publicKey, relayId));
    const renewed = present !== undefined && present.expiresAt > now;
    const full = renewed
      ? undefined
      : this.#full(request, { now, replaces: present !== undefined });
    if (full !== undefined) return { kind: "full", of: full };
    const expiresAt = now + ttlMs;
    const { agentKey, colonyKey } = request;
    const session: PeerSession = renewed
      ? { ...present, agentKey, colonyKey, expiresAt }
      : { ...request, createdAt: now, expiresAt, rxBytes: 0, txBytes: 0 };
    this.#statements.put.run(
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
    );
    if (present === undefined) this.#rows++;
    return { kind: "opened", session, renewed };
  }

  /** As {@linkcode Store.sessions}. */
  of({ meshId, publicKey }: NodeKey, now: number): PeerSession[] {
    return many(this.#statements.of.all(meshId, publicKey, now));
  }

  /** As {@linkcode Store.closeSession}. */
  close(sessionId: string, meshId: string): PeerSession | undefined {
    const closed = one(this.#statements.close.get(sessionId, meshId));
    if (closed !== undefined) this.#rows--;
    return closed;
  }

  /** As {@linkcode Store.closeSessions}. */
  closeAll({ meshId, publicKey }: NodeKey): PeerSession[] {
    return this.#removed(this.#statements.closeAll.all(meshId, publicKey));
  }

  /** As {@linkcode Store.addUsage}. */
  addUsage(relayId: string, usage: readonly SessionUsage[]): number {
    let known = 0;
    for (const { sessionId, rxBytes, txBytes } of usage) {
      known += Number(this.#statements.addUsage.run(rxBytes, txBytes, sessionId, relayId).changes);
    }
    return known;
  }

  /** As {@linkcode Store.sweepSessions}. */
  sweep(now: number, max: number): PeerSession[] {
    return this.#removed(this.#statements.sweep.all(now, max));
  }

  /** As {@linkcode Store.sessionCount}. */
  count(now: number): number {
    return count(this.#statements.count.get(now));
  }

  /** What has no room for one more session. Expired ones of the mesh make room first. */
  #full(
    { meshId, publicKey }: SessionRequest,
    { now, replaces }: { readonly now: number; readonly replaces: boolean },
  ): "node" | "mesh" | "store" | undefined {
    const { perNode, perMesh, inAll } = this.#limits;
    if (count(this.#statements.nodeCount.get(meshId, publicKey, now)) >= perNode) return "node";
    if (replaces) return undefined;
    if (this.#rows >= inAll) return "store";
    if (count(this.#statements.meshCount.get(meshId)) < perMesh) return undefined;
    const swept = Number(this.#statements.sweepMesh.run(meshId, now).changes);
    this.#rows -= swept;
    return swept > 0 ? undefined : "mesh";
  }

  #removed(rows: readonly unknown[]): PeerSession[] {
    this.#rows -= rows.length;
    return many(rows);
  }
}

function one(row: unknown): PeerSession | undefined {
  return row === undefined ? undefined : toSession(row as Row);
}

function many(rows: readonly unknown[]): PeerSession[] {
  return rows.map((row) => toSession(row as Row));
}

function count(row: unknown): number {
  return Number(Object.values(row ?? {})[0]);
}

function toSession(row: Row): PeerSession {
  return {
    sessionId: String(row.session_id),
    meshId: String(row.mesh_id),
    publicKey: String(row.pubkey),
    agentKey: String(row.agent_pubkey),
    colonyKey: String(row.colony_pubkey),
    relayId: String(row.relay_id),
    createdAt: Number(row.created_at),
    expiresAt: Number(row.expires_at),
    rxBytes: Number(row.rx_bytes),
    txBytes: Number(row.tx_bytes),
  };
}
