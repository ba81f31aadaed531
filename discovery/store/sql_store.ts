/** The store over a SQL database, whichever it is. @module */
import { type NodeLimits, NodesTable } from "./nodes_table.ts";
import { type SessionLimits, SessionsTable } from "./sessions_table.ts";
import {
  type CountedTable,
  countOf,
  type Database,
  query,
  type Steps,
  type Transaction,
} from "./sql.ts";
import { bindingOf, keyOf, secretOf, SpentTable } from "./trust_table.ts";
import type {
  NodeContent,
  NodeKey,
  NodeRecord,
  PeerSession,
  RegisterOptions,
  RegisterOutcome,
  Role,
  SessionName,
  SessionOutcome,
  SessionRequest,
  SessionUsage,
  SpendOutcome,
  Store,
  StoreEvent,
} from "./store.ts";

/** How much a store may hold. */
export interface StoreLimits extends NodeLimits {
  /** Used ids remembered at once. @default SPENT_MAX */
  readonly spentMax?: number;
  /** Limits of relay sessions. @default those of store.ts */
  readonly sessionLimits?: SessionLimits;
}

/** How often the rows of a database that others write to are counted again, in milliseconds. */
const RECOUNT_MS = 60_000;

/** Rows of each counted table. */
export type RowCounts = Readonly<Record<CountedTable, number>>;

/** Counts the rows of a database. */
export function* countRows(): Steps<RowCounts> {
  const [nodes = [], sessions = [], meshes = [], spent = []] = yield [
    query("SELECT count(*) FROM nodes"),
    query("SELECT count(*) FROM peer_sessions"),
    query("SELECT count(*) FROM meshes"),
    query("SELECT count(*) FROM spent"),
  ];
  return {
    nodes: countOf(nodes),
    peer_sessions: countOf(sessions),
    meshes: countOf(meshes),
    spent: countOf(spent),
  };
}

/** Registrations and relay sessions in a database. */
export class SqlStore implements Store {
  readonly #database: Database;
  readonly #nodes: NodesTable;
  readonly #sessions: SessionsTable;
  readonly #spent: SpentTable;
  /** Rows of each table, kept here because counting them is slow. */
  #rows: RowCounts;
  #countedAt: number | undefined;

  /** A store over a database, whose owner it is from now on, with the rows that {@linkcode countRows} counted. */
  constructor(database: Database, rows: RowCounts, { sessionLimits, ...limits }: StoreLimits) {
    this.#database = database;
    this.#rows = rows;
    this.#nodes = new NodesTable(limits, {
      nodes: () => this.#rows.nodes,
      meshes: () => this.#rows.meshes,
    });
    this.#spent = new SpentTable(() => this.#rows.spent, limits.spentMax);
    this.#sessions = new SessionsTable(sessionLimits, () => this.#rows.peer_sessions);
  }

  get shared(): boolean {
    return this.#database.shared;
  }

  get clockAheadMs(): number {
    return this.#database.clockAheadMs;
  }

  listen(listener: (event: StoreEvent) => void): void {
    this.#database.listen(listener);
  }

  say(text: string): Promise<void> {
    return this.#database.say(text);
  }

  async register(content: NodeContent, options: RegisterOptions): Promise<RegisterOutcome> {
    const record = await this.#database.run(() => this.#nodes.refresh(content, options));
    if (record !== undefined) return { kind: "registered", record, changed: false, displaced: [] };
    return await this.#write((transaction) => this.#nodes.register(content, options, transaction));
  }

  colony(meshId: string, now: number): Promise<NodeRecord | undefined> {
    return this.#database.run(() => this.#nodes.colony(meshId, now));
  }

  agents(meshId: string, now: number): Promise<NodeRecord[]> {
    return this.#database.run(() => this.#nodes.agents(meshId, now));
  }

  node(key: NodeKey, now: number): Promise<NodeRecord | undefined> {
    return this.#database.run(() => this.#nodes.node(key, now));
  }

  agentsById(agentId: string, options: { meshId?: string; now: number }): Promise<NodeRecord[]> {
    return this.#database.run(() => this.#nodes.agentsById(agentId, options));
  }

  remove(key: NodeKey, role: Role): Promise<NodeRecord | undefined> {
    return this.#write((transaction) => this.#nodes.remove(key, role, transaction));
  }

  async sweep(now: number, max: number): Promise<NodeRecord[]> {
    if (this.shared && !(now < (this.#countedAt ?? -Infinity) + RECOUNT_MS)) {
      this.#countedAt = now;
      this.#rows = await this.#database.run(countRows);
    }
    return await this.#write((transaction) => this.#nodes.sweep(now, max, transaction));
  }

  colonyCount(now: number): Promise<number> {
    return this.#database.run(() => this.#nodes.colonyCount(now));
  }

  openSession(request: SessionRequest, options: RegisterOptions): Promise<SessionOutcome> {
    return this.#write((transaction) => this.#sessions.open(request, options, transaction));
  }

  sessions(key: NodeKey, now: number): Promise<PeerSession[]> {
    return this.#database.run(() => this.#sessions.of(key, now));
  }

  closeSession(session: SessionName): Promise<PeerSession | undefined> {
    return this.#write((transaction) => this.#sessions.close(session, transaction));
  }

  closeSessions(key: NodeKey): Promise<PeerSession[]> {
    return this.#write((transaction) => this.#sessions.closeAll(key, transaction));
  }

  addUsage(relayId: string, usage: readonly SessionUsage[]): Promise<number> {
    return this.#write(() => this.#sessions.addUsage(relayId, usage));
  }

  sweepSessions(now: number, max: number): Promise<PeerSession[]> {
    return this.#write((transaction) => this.#sessions.sweep(now, max, transaction));
  }

  sessionCount(now: number): Promise<number> {
    return this.#database.run(() => this.#sessions.live(now));
  }

  boundKey(meshId: string): Promise<string | undefined> {
    return this.#database.run(function* (): Steps<string | undefined> {
      const [rows = []] = yield [bindingOf(meshId)];
      return keyOf(rows);
    });
  }

  async spend(id: string, expiresAt: number): Promise<SpendOutcome> {
    const outcome = await this.#database.run(() => this.#spent.spend(id, expiresAt));
    if (outcome === "spent") this.#count("spent", 1);
    return outcome;
  }

  sweepSpent(now: number, max: number): Promise<number> {
    return this.#write((transaction) => this.#spent.sweep(now, max, transaction));
  }

  secret(name: string, fresh: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
    return this.#write(() => secretOf(name, fresh));
  }

  close(): Promise<void> {
    return this.#database.close();
  }

  #write<T>(steps: (transaction: Transaction) => Steps<T>): Promise<T> {
    return this.#database.write(steps, { counted: (table, rows) => this.#count(table, rows) });
  }

  #count(table: CountedTable, rows: number): void {
    this.#rows = { ...this.#rows, [table]: Math.max(0, this.#rows[table] + rows) };
  }
}
