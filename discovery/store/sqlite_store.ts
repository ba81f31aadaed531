/** The store on SQLite: a file, or memory. @module */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { assert } from "../../core/mod.ts";
import {
  type NodeContent,
  type NodeKey,
  type NodeRecord,
  NODES_MAX,
  NODES_PER_MESH_MAX,
  type ObservedEndpoint,
  type PeerSession,
  type RegisterOptions,
  type RegisterOutcome,
  type Role,
  type SessionOutcome,
  type SessionRequest,
  type SessionUsage,
  type Store,
} from "./store.ts";
import { databaseError, type DatabaseOptions, openDatabase, rollback } from "./sqlite_database.ts";
import { type SessionLimits, SqliteSessions } from "./sqlite_sessions.ts";

/** Options of {@linkcode SqliteStore.open}. */
export interface SqliteStoreOptions extends DatabaseOptions {
  /** Nodes that one mesh may have. @default {@linkcode NODES_PER_MESH_MAX} */
  readonly nodesPerMeshMax?: number;
  /** Nodes that the store may hold. @default {@linkcode NODES_MAX} */
  readonly nodesMax?: number;
  /** Limits of relay sessions. @default those of store.ts */
  readonly sessionLimits?: SessionLimits;
}

/** Content columns, in the order of {@linkcode contentValues}; equal values mean an equal registration. */
const CONTENT = [
  "mesh_id",
  "pubkey",
  "role",
  "agent_id",
  "name",
  "endpoints",
  "observed_endpoints",
  "nat",
  "mesh_ipv4",
  "mesh_ipv6",
  "connect_port",
  "public_port",
  "public_endpoint",
  "metadata",
  "no_relay",
] as const;
const COLUMNS = [...CONTENT, "registered_at", "last_seen_at", "expires_at", "generation"] as const;

type Row = Readonly<Record<(typeof COLUMNS)[number], string | number>>;
type Value = string | number;

const ROLE_NUMBER = { colony: 1, agent: 2 } as const satisfies Record<Role, number>;

/** Registrations and relay sessions in SQLite. */
export class SqliteStore implements Store {
  readonly #database: DatabaseSync;
  readonly #path: string;
  readonly #nodesPerMeshMax: number;
  readonly #nodesMax: number;
  readonly #statements: ReturnType<typeof prepare>;
  readonly #sessions: SqliteSessions;
  /** Rows in the table, kept here because counting them is slow. */
  #rows: number;
  #open = true;

  private constructor(
    database: DatabaseSync,
    path: string,
    { nodesPerMeshMax = NODES_PER_MESH_MAX, nodesMax = NODES_MAX, sessionLimits }:
      SqliteStoreOptions,
  ) {
    this.#database = database;
    this.#path = path;
    this.#nodesPerMeshMax = nodesPerMeshMax;
    this.#nodesMax = nodesMax;
    this.#statements = prepare(database);
    this.#sessions = new SqliteSessions(database, sessionLimits);
    this.#rows = count(this.#statements.rows.get());
  }

  /** Opens or creates the store in a file, or in memory for `:memory:`. Throws as {@linkcode openDatabase} does. */
  static open(path: string, options: SqliteStoreOptions = {}): SqliteStore {
    const database = openDatabase(path, options);
    try {
      return new SqliteStore(database, path, options);
    } catch (error) {
      database.close();
      throw databaseError(error, path);
    }
  }

  register(content: NodeContent, options: RegisterOptions): Promise<RegisterOutcome> {
    return this.#write(() => this.#register(content, options));
  }

  colony(meshId: string, now: number): Promise<NodeRecord | undefined> {
    return this.#run(() => one(this.#statements.colony.get(meshId, now)));
  }

  agents(meshId: string, now: number): Promise<NodeRecord[]> {
    return this.#run(() => many(this.#statements.agents.all(meshId, now, this.#nodesPerMeshMax)));
  }

  node({ meshId, publicKey }: NodeKey, now: number): Promise<NodeRecord | undefined> {
    return this.#run(() => one(this.#statements.node.get(meshId, publicKey, now)));
  }

  agentsById(agentId: string, { meshId, now }: { meshId?: string; now: number }): Promise<
    NodeRecord[]
  > {
    return this.#run(() =>
      many(
        meshId === undefined
          ? this.#statements.agentsById.all(agentId, now)
          : this.#statements.agentById.all(agentId, meshId, now),
      )
    );
  }

  remove({ meshId, publicKey }: NodeKey, role: Role): Promise<NodeRecord | undefined> {
    return this.#write(() => {
      const removed = one(this.#statements.remove.get(meshId, publicKey, ROLE_NUMBER[role]));
      if (removed !== undefined) this.#rows--;
      return removed;
    });
  }

  sweep(now: number, max: number): Promise<NodeRecord[]> {
    return this.#write(() => {
      const removed = many(this.#statements.sweep.all(now, max));
      this.#rows -= removed.length;
      return removed;
    });
  }

  colonyCount(now: number): Promise<number> {
    return this.#run(() => count(this.#statements.colonyCount.get(now)));
  }

  openSession(request: SessionRequest, options: RegisterOptions): Promise<SessionOutcome> {
    return this.#write(() => this.#sessions.open(request, options));
  }

  sessions(key: NodeKey, now: number): Promise<PeerSession[]> {
    return this.#run(() => this.#sessions.of(key, now));
  }

  closeSession(sessionId: string, meshId: string): Promise<PeerSession | undefined> {
    return this.#write(() => this.#sessions.close(sessionId, meshId));
  }

  closeSessions(key: NodeKey): Promise<PeerSession[]> {
    return this.#write(() => this.#sessions.closeAll(key));
  }

  addUsage(relayId: string, usage: readonly SessionUsage[]): Promise<number> {
    return this.#write(() => this.#sessions.addUsage(relayId, usage));
  }

  sweepSessions(now: number, max: number): Promise<PeerSession[]> {
    return this.#write(() => this.#sessions.sweep(now, max));
  }

  sessionCount(now: number): Promise<number> {
    return this.#run(() => this.#sessions.count(now));
  }

  close(): Promise<void> {
    if (this.#open) {
      this.#open = false;
      this.#database.close();
    }
    return Promise.resolve();
  }

  #register(content: NodeContent, { now, ttlMs }: RegisterOptions): RegisterOutcome {
    const { meshId, publicKey, role, agentId } = content;
    const displaced: NodeRecord[] = [];
    const colony = one(this.#statements.colony.get(meshId, 0));
    if (colony !== undefined && (colony.publicKey === publicKey) !== (role === "colony")) {
      if (colony.expiresAt > now) return { kind: "held" };
      displaced.push(...this.#take(colony));
    }
    if (role === "agent") {
      const [namesake] = many(this.#statements.agentById.all(agentId, meshId, 0));
      if (namesake !== undefined && namesake.publicKey !== publicKey) {
        displaced.push(...this.#take(namesake));
      }
    }
    const present = one(this.#statements.node.get(meshId, publicKey, 0));
    if (present === undefined && !this.#hasRoom(meshId, now, displaced)) return { kind: "full" };

    const values = contentValues(content);
    const live = present !== undefined && present.expiresAt > now;
    const same = live && contentValues(present).every((value, i) => value === values[i]);
    const previous = Math.max(0, ...[...displaced, present].map((r) => r?.generation ?? 0));
    const record: NodeRecord = {
      ...content,
      registeredAt: live ? present.registeredAt : now,
      lastSeenAt: now,
      expiresAt: now + ttlMs,
      generation: same ? present.generation : Math.max(now, previous + 1),
    };
    const { registeredAt, lastSeenAt, expiresAt, generation } = record;
    if (same) {
      this.#statements.refresh.run(lastSeenAt, expiresAt, meshId, publicKey);
    } else {
      this.#statements.put.run(...values, registeredAt, lastSeenAt, expiresAt, generation);
      if (present === undefined) this.#rows++;
    }
    return { kind: "registered", record, changed: !same, displaced };
  }

  #take({ meshId, publicKey, role }: NodeRecord): NodeRecord[] {
    const taken = one(this.#statements.remove.get(meshId, publicKey, ROLE_NUMBER[role]));
    assert(taken !== undefined, "a record that was just read is there");
    this.#rows--;
    return [taken];
  }

  /** Whether one more node fits. Expired ones of the mesh make room first and count as displaced. */
  #hasRoom(meshId: string, now: number, displaced: NodeRecord[]): boolean {
    if (this.#rows >= this.#nodesMax) return false;
    if (count(this.#statements.meshCount.get(meshId)) < this.#nodesPerMeshMax) return true;
    const expired = many(this.#statements.sweepMesh.all(meshId, now));
    this.#rows -= expired.length;
    displaced.push(...expired);
    return expired.length > 0;
  }

  /** Runs `body` in a transaction. */
  #write<T>(body: () => T): Promise<T> {
    return this.#run(() => {
      const rows = this.#rows;
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        const result = body();
        this.#database.exec("COMMIT");
        return result;
      } catch (error) {
        rollback(this.#database);
        this.#rows = rows;
        this.#sessions.recount();
        throw error;
      }
    });
  }

  #run<T>(body: () => T): Promise<T> {
    try {
      return Promise.resolve(body());
    } catch (error) {
      return Promise.reject(databaseError(error, this.#path));
    }
  }
}

function prepare(database: DatabaseSync): Readonly<Record<StatementName, StatementSync>> {
  return Object.fromEntries(
    Object.entries(STATEMENTS).map(([name, sql]) => [name, database.prepare(sql)]),
  ) as Record<StatementName, StatementSync>;
}

type StatementName = keyof typeof STATEMENTS;

const ALL = COLUMNS.join(", ");
const STATEMENTS = {
  colony: `SELECT ${ALL} FROM nodes WHERE mesh_id = ? AND role = 1 AND expires_at > ?`,
  agents: `SELECT ${ALL} FROM nodes WHERE mesh_id = ? AND role = 2 AND expires_at > ? LIMIT ?`,
  node: `SELECT ${ALL} FROM nodes WHERE mesh_id = ? AND pubkey = ? AND expires_at > ?`,
  agentById: `SELECT ${ALL} FROM nodes
    WHERE role = 2 AND agent_id = ? AND mesh_id = ? AND expires_at > ?`,
  agentsById: `SELECT ${ALL} FROM nodes WHERE role = 2 AND agent_id = ? AND expires_at > ? LIMIT 2`,
  put: `INSERT OR REPLACE INTO nodes (${ALL}) VALUES (${COLUMNS.map(() => "?").join(", ")})`,
  refresh: "UPDATE nodes SET last_seen_at = ?, expires_at = ? WHERE mesh_id = ? AND pubkey = ?",
  remove: `DELETE FROM nodes WHERE mesh_id = ? AND pubkey = ? AND role = ? RETURNING ${ALL}`,
  sweep: `DELETE FROM nodes WHERE rowid IN
    (SELECT rowid FROM nodes WHERE expires_at <= ? ORDER BY expires_at LIMIT ?) RETURNING ${ALL}`,
  sweepMesh: `DELETE FROM nodes WHERE mesh_id = ? AND expires_at <= ? RETURNING ${ALL}`,
  colonyCount: "SELECT count(*) FROM nodes WHERE role = 1 AND expires_at > ?",
  meshCount: "SELECT count(*) FROM nodes WHERE mesh_id = ?",
  rows: "SELECT count(*) FROM nodes",
} as const;

function contentValues(content: NodeContent): Value[] {
  return [
    content.meshId,
    content.publicKey,
    ROLE_NUMBER[content.role],
    content.agentId,
    content.name,
    JSON.stringify(content.endpoints),
    JSON.stringify(content.observedEndpoints.map(({ ip, port, viaRelay }) => [ip, port, viaRelay])),
    content.nat,
    content.meshIpv4,
    content.meshIpv6,
    content.connectPort,
    content.publicPort,
    content.publicEndpoint,
    JSON.stringify(content.metadata),
    content.noRelay ? 1 : 0,
  ];
}

function one(row: unknown): NodeRecord | undefined {
  return row === undefined ? undefined : toRecord(row as Row);
}

function many(rows: readonly unknown[]): NodeRecord[] {
  return rows.map((row) => toRecord(row as Row));
}

function count(row: unknown): number {
  return Number(Object.values(row ?? {})[0]);
}

function toRecord(row: Row): NodeRecord {
  const observed = JSON.parse(String(row.observed_endpoints)) as [string, number, boolean][];
  return {
    meshId: String(row.mesh_id),
    publicKey: String(row.pubkey),
    role: row.role === ROLE_NUMBER.colony ? "colony" : "agent",
    agentId: String(row.agent_id),
    name: String(row.name),
    endpoints: JSON.parse(String(row.endpoints)),
    observedEndpoints: observed.map(([ip, port, viaRelay]): ObservedEndpoint => ({
      ip,
      port,
      viaRelay,
    })),
    nat: Number(row.nat),
    meshIpv4: String(row.mesh_ipv4),
    meshIpv6: String(row.mesh_ipv6),
    connectPort: Number(row.connect_port),
    publicPort: Number(row.public_port),
    publicEndpoint: String(row.public_endpoint),
    metadata: JSON.parse(String(row.metadata)),
    noRelay: row.no_relay === 1,
    registeredAt: Number(row.registered_at),
    lastSeenAt: Number(row.last_seen_at),
    expiresAt: Number(row.expires_at),
    generation: Number(row.generation),
  };
}
