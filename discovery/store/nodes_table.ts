/** The table of registrations: its statements, and the steps that make and end registrations. @module */
import { accessOf, close, entry } from "./members_table.ts";
import { used } from "./meshes_table.ts";
import { successorOf } from "./rotations_table.ts";
import { bind, keyOf } from "./trust_table.ts";
import {
  type AccessOptions,
  AGENTS_BY_ID_MAX,
  MESHES_MAX,
  type NodeContent,
  type NodeKey,
  type NodeRecord,
  NODES_MAX,
  NODES_PER_MESH_MAX,
  type ObservedEndpoint,
  type RegisterOptions,
  type RegisterOutcome,
  type Role,
} from "./store.ts";
import {
  countOf,
  parameters,
  type Query,
  query,
  type Row,
  rowsOf,
  type Steps,
  type Transaction,
  type Value,
} from "./sql.ts";

/** How many nodes there may be. */
export interface NodeLimits {
  /** In one mesh. @default {@linkcode NODES_PER_MESH_MAX} */
  readonly nodesPerMeshMax?: number;
  /** In all. @default {@linkcode NODES_MAX} */
  readonly nodesMax?: number;
  /** Bound mesh ids. @default {@linkcode MESHES_MAX} */
  readonly meshesMax?: number;
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
  "proven",
  "statement",
  "sequence",
  "admission",
] as const;
const COLUMNS = [...CONTENT, "registered_at", "last_seen_at", "expires_at", "generation"] as const;

const ROLE_NUMBER = { colony: 1, agent: 2 } as const satisfies Record<Role, number>;

const ALL = COLUMNS.join(", ");
const BESIDE = COLUMNS.map((name) => `nodes.${name}`).join(", ");
const PUT = COLUMNS.filter((name) => name !== "mesh_id" && name !== "pubkey")
  .map((name) => `${name} = excluded.${name}`).join(", ");
const SQL = {
  colony: `SELECT ${ALL} FROM nodes WHERE mesh_id = ? AND role = 1 AND expires_at > ?`,
  agents: `SELECT ${ALL} FROM nodes WHERE mesh_id = ? AND role = 2 AND expires_at > ? LIMIT ?`,
  node: `SELECT ${ALL} FROM nodes WHERE mesh_id = ? AND pubkey = ? AND expires_at > ?`,
  agentById: `SELECT ${ALL} FROM nodes
    WHERE role = 2 AND agent_id = ? AND mesh_id = ? AND expires_at > ?`,
  agentsById: `SELECT ${ALL} FROM nodes WHERE role = 2 AND agent_id = ? AND expires_at > ?
    LIMIT ${AGENTS_BY_ID_MAX}`,
  put: `INSERT INTO nodes (${ALL}) VALUES (${parameters(COLUMNS.length)})
    ON CONFLICT (mesh_id, pubkey) DO UPDATE SET ${PUT}`,
  refresh: `UPDATE nodes SET last_seen_at = ?, expires_at = ?
    WHERE ${CONTENT.map((name) => `${name} = ?`).join(" AND ")} AND expires_at > ?
    RETURNING registered_at, generation`,
  remove: `DELETE FROM nodes WHERE mesh_id = ? AND pubkey = ? AND role = ? RETURNING ${ALL}`,
  // The second condition holds for what a refresh has changed since the first was looked at.
  sweep: `DELETE FROM nodes WHERE (mesh_id, pubkey) IN
    (SELECT mesh_id, pubkey FROM nodes WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
    AND expires_at <= ? RETURNING ${ALL}`,
  sweepMesh: `DELETE FROM nodes WHERE mesh_id = ? AND expires_at <= ? RETURNING ${ALL}`,
  expel: `DELETE FROM nodes WHERE mesh_id = ? AND role = 2 AND NOT EXISTS (SELECT 1 FROM members
    WHERE members.mesh_id = nodes.mesh_id AND members.pubkey = nodes.pubkey AND members.state <> 2)
    RETURNING ${ALL}`,
  // The sign keeps SQLite from going through every node by its expiry: colonies have an index of their own, and are few.
  colonyCount: "SELECT count(*) FROM nodes WHERE role = 1 AND +expires_at > ?",
  meshCount: "SELECT count(*) FROM nodes WHERE mesh_id = ?",
} as const;

/** The table. `rows` says how many nodes there are, expired ones too, and how many bound mesh ids. */
export class NodesTable {
  readonly #perMeshMax: number;
  readonly #max: number;
  readonly #meshesMax: number;
  readonly #rows: Readonly<Record<"nodes" | "meshes", () => number>>;

  /** A table with these limits. */
  constructor(
    { nodesPerMeshMax = NODES_PER_MESH_MAX, nodesMax = NODES_MAX, meshesMax = MESHES_MAX }:
      NodeLimits,
    rows: Readonly<Record<"nodes" | "meshes", () => number>>,
  ) {
    this.#perMeshMax = nodesPerMeshMax;
    this.#max = nodesMax;
    this.#meshesMax = meshesMax;
    this.#rows = rows;
  }

  /** The colony of a mesh. */
  *colony(meshId: string, now: number): Steps<NodeRecord | undefined> {
    return one(yield* rowsOf(SQL.colony, meshId, now));
  }

  /** The agents of a mesh. */
  *agents(meshId: string, now: number): Steps<NodeRecord[]> {
    return many(yield* rowsOf(SQL.agents, meshId, now, this.#perMeshMax));
  }

  /** A node by key. */
  *node({ meshId, publicKey }: NodeKey, now: number): Steps<NodeRecord | undefined> {
    return one(yield* rowsOf(SQL.node, meshId, publicKey, now));
  }

  /** Agents with an id, at most {@linkcode AGENTS_BY_ID_MAX}. */
  *agentsById(agentId: string, { meshId, now }: { meshId?: string; now: number }): Steps<
    NodeRecord[]
  > {
    return many(
      meshId === undefined
        ? yield* rowsOf(SQL.agentsById, agentId, now)
        : yield* rowsOf(SQL.agentById, agentId, meshId, now),
    );
  }

  /** Number of live colonies. */
  *colonyCount(now: number): Steps<number> {
    return countOf(yield* rowsOf(SQL.colonyCount, now));
  }

  /**
   * Refreshes a registration that lives and is the same, which most are, with one statement; `undefined` where it must be
   * made with {@linkcode NodesTable.register}. One that lives is nobody else's: whoever may take its mesh or id removes it.
   */
  *refresh(
    content: NodeContent,
    { now, ttlMs }: RegisterOptions,
  ): Steps<NodeRecord | undefined> {
    const expiresAt = now + ttlMs;
    const [row] = yield* rowsOf(SQL.refresh, now, expiresAt, ...contentValues(content), now);
    if (row === undefined) return undefined;
    return {
      ...content,
      registeredAt: Number(row["registered_at"]),
      lastSeenAt: now,
      expiresAt,
      generation: Number(row["generation"]),
    };
  }

  /** Makes or changes a registration. */
  *register(
    said: NodeContent,
    { now, ttlMs, open, invite = "" }: RegisterOptions & AccessOptions,
    transaction: Transaction,
  ): Steps<RegisterOutcome> {
    const { meshId, publicKey, role, agentId, proven } = said;
    const [, colonies = [], namesakes = [], own = [], bound = [], states = [], successors = []] =
      yield [
        { lock: `mesh ${meshId}` },
        query(SQL.colony, meshId, 0),
        query(SQL.agentById, agentId, meshId, 0),
        query(SQL.node, meshId, publicKey, 0),
        ...accessOf(said),
        successorOf(said),
      ];
    if (successors.length > 0) return { kind: "retired" };
    const displaced: NodeRecord[] = [];
    const owner = keyOf(bound);
    const owns = owner === publicKey;
    if (owner !== undefined && owns !== (role === "colony") && (owns || role === "colony")) {
      return { kind: "held" };
    }
    const allowed = role === "colony"
      ? { uses: false }
      : yield* entry(said, { access: bound, states, invite, now });
    if ("barred" in allowed) return { kind: "barred", why: allowed.barred };
    // Whoever is a member has nothing to show any more.
    const content = allowed.uses ? said : { ...said, admission: "" };
    const before = one(own);
    const guarded = before?.proven === true && before.expiresAt > now;
    if (!proven && (owns || guarded)) return { kind: "unproven" };
    if (before !== undefined && before.expiresAt > now && before.statement !== "") {
      if (content.statement === "") return { kind: "unsigned" };
      const { sequence } = before;
      const other = content.statement !== before.statement;
      if (content.sequence < sequence || content.sequence === sequence && other) {
        return { kind: "older", sequence };
      }
    }
    const colony = one(colonies);
    if (colony !== undefined && (colony.publicKey === publicKey) !== (role === "colony")) {
      if (colony.expiresAt > now) return { kind: "held" };
      displaced.push(...yield* this.#take(colony, transaction));
    }
    const namesake = role === "agent" ? one(namesakes) : undefined;
    if (namesake !== undefined && namesake.publicKey !== publicKey) {
      if (namesake.proven && namesake.expiresAt > now) return { kind: "taken" };
      displaced.push(...yield* this.#take(namesake, transaction));
    }
    const taken = displaced.some((record) => record.publicKey === publicKey);
    const present = taken ? undefined : one(own);
    if (
      present === undefined && !(yield* this.#makeRoom(meshId, { now, displaced, transaction }))
    ) {
      return { kind: "full" };
    }

    if (role === "colony" && proven && owner === undefined) {
      if (this.#rows.meshes() >= this.#meshesMax) return { kind: "full" };
      yield* bind(content, { now, transaction });
    }
    if (role === "colony" && proven && open !== undefined && (yield* close(meshId, !open))) {
      displaced.push(...yield* removed(yield* rowsOf(SQL.expel, meshId), transaction));
    }
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
    yield [query(SQL.put, ...values, registeredAt, lastSeenAt, expiresAt, generation)];
    if (present === undefined) transaction.count("nodes", 1);
    if (!same) transaction.tell({ kind: "upserted", change: changeOf(record) });
    return { kind: "registered", record, changed: !same, displaced };
  }

  /** Removes a node of a role. */
  *remove(
    { meshId, publicKey }: NodeKey,
    role: Role,
    transaction: Transaction,
  ): Steps<NodeRecord | undefined> {
    const rows = yield* rowsOf(SQL.remove, meshId, publicKey, ROLE_NUMBER[role]);
    return (yield* removed(rows, transaction))[0];
  }

  /** Removes expired registrations. */
  *sweep(now: number, max: number, transaction: Transaction): Steps<NodeRecord[]> {
    return yield* removed(yield* rowsOf(SQL.sweep, now, max, now), transaction);
  }

  /** Removes a record; nothing if another replica's sweep was faster. */
  *#take({ meshId, publicKey, role }: NodeRecord, transaction: Transaction): Steps<NodeRecord[]> {
    const rows = yield* rowsOf(SQL.remove, meshId, publicKey, ROLE_NUMBER[role]);
    return yield* removed(rows, transaction);
  }

  /** Whether one more node fits. Expired ones of the mesh make room first and count as displaced. */
  *#makeRoom(
    meshId: string,
    { now, displaced, transaction }: {
      readonly now: number;
      readonly displaced: NodeRecord[];
      readonly transaction: Transaction;
    },
  ): Steps<boolean> {
    if (this.#rows.nodes() - displaced.length >= this.#max) return false;
    if (countOf(yield* rowsOf(SQL.meshCount, meshId)) < this.#perMeshMax) return true;
    const expired = yield* removed(yield* rowsOf(SQL.sweepMesh, meshId, now), transaction);
    displaced.push(...expired);
    return expired.length > 0;
  }
}

/**
 * Asks for the colony of a mesh and whether another question has an answer, in one statement that looks for both, whatever it finds;
 * {@linkcode nodeBeside} and {@linkcode isThere} read the answer.
 */
export function colonyBeside(
  other: { readonly sql: string; readonly values: readonly Value[] },
  { meshId, now }: { readonly meshId: string; readonly now: number },
): Query {
  const sql = `SELECT CASE WHEN EXISTS (${other.sql}) THEN 1 ELSE 0 END AS there, ${BESIDE}
    FROM (SELECT 1 AS one) AS always
    LEFT JOIN nodes ON nodes.mesh_id = ? AND nodes.role = 1 AND nodes.expires_at > ?`;
  return query(sql, ...other.values, meshId, now);
}

/** The colony that {@linkcode colonyBeside} found. */
export function nodeBeside([row]: readonly Row[]): NodeRecord | undefined {
  return row === undefined || row["mesh_id"] === null ? undefined : toRecord(row);
}

/** Whether the other question of {@linkcode colonyBeside} has an answer. */
export function isThere([row]: readonly Row[]): boolean {
  return Number(row?.["there"] ?? 0) === 1;
}

/** What a transaction that deleted these rows notes and tells of them. */
function* removed(rows: readonly Row[], transaction: Transaction): Steps<NodeRecord[]> {
  const records = many(rows);
  const notes = used(records);
  if (notes.length > 0) yield notes;
  transaction.count("nodes", -records.length);
  for (const record of records) {
    transaction.tell({ kind: "removed", change: changeOf(record) });
  }
  return records;
}

function changeOf(record: NodeRecord): { meshId: string; publicKey: string; role: Role } & {
  generation: number;
  record: NodeRecord;
} {
  const { meshId, publicKey, role, generation } = record;
  return { meshId, publicKey, role, generation, record };
}

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
    content.proven ? 1 : 0,
    content.statement,
    content.sequence,
    content.admission,
  ];
}

function one(rows: readonly Row[]): NodeRecord | undefined {
  return rows[0] && toRecord(rows[0]);
}

function many(rows: readonly Row[]): NodeRecord[] {
  return rows.map(toRecord);
}

function toRecord(row: Row): NodeRecord {
  const columns = row as Readonly<Record<(typeof COLUMNS)[number], unknown>>;
  const observed = JSON.parse(String(columns.observed_endpoints)) as [string, number, boolean][];
  return {
    meshId: String(columns.mesh_id),
    publicKey: String(columns.pubkey),
    role: Number(columns.role) === ROLE_NUMBER.colony ? "colony" : "agent",
    agentId: String(columns.agent_id),
    name: String(columns.name),
    endpoints: JSON.parse(String(columns.endpoints)),
    observedEndpoints: observed.map(([ip, port, viaRelay]): ObservedEndpoint => ({
      ip,
      port,
      viaRelay,
    })),
    nat: Number(columns.nat),
    meshIpv4: String(columns.mesh_ipv4),
    meshIpv6: String(columns.mesh_ipv6),
    connectPort: Number(columns.connect_port),
    publicPort: Number(columns.public_port),
    publicEndpoint: String(columns.public_endpoint),
    metadata: JSON.parse(String(columns.metadata)),
    noRelay: Number(columns.no_relay) === 1,
    proven: Number(columns.proven) === 1,
    statement: String(columns.statement),
    sequence: Number(columns.sequence),
    admission: String(columns.admission),
    registeredAt: Number(columns.registered_at),
    lastSeenAt: Number(columns.last_seen_at),
    expiresAt: Number(columns.expires_at),
    generation: Number(columns.generation),
  };
}
