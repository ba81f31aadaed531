/** The store over a SQL database, whichever it is. @module */
import type {
  ListedMember,
  MemberLimits,
  MemberRange,
  MembershipNews,
  MembershipOutcome,
} from "./members.ts";
import { MembersTable } from "./members_table.ts";
import { sweepMeshes } from "./meshes_table.ts";
import { colonyBeside, isThere, nodeBeside, type NodeLimits, NodesTable } from "./nodes_table.ts";
import { meshPage, nodePage, relayTotals } from "./overview_table.ts";
import { rotate } from "./rotations_table.ts";
import { type SessionLimits, SessionsTable } from "./sessions_table.ts";
import { SpendBatch } from "./spend_batch.ts";
import {
  type CountedTable,
  countOf,
  type Database,
  query,
  type Steps,
  type Transaction,
} from "./sql.ts";
import { bindingOf, forgetSecrets, keyOf, secretOf, SpentTable } from "./trust_table.ts";
import type {
  AccessOptions,
  MeshPage,
  NameRange,
  NodeContent,
  NodeKey,
  NodeOrder,
  NodePage,
  NodeRecord,
  OverviewPage,
  PeerSession,
  RegisterOptions,
  RegisterOutcome,
  RelayTotal,
  Role,
  RotateOutcome,
  SessionName,
  SessionOptions,
  SessionOutcome,
  SessionRequest,
  SessionUsage,
  SpendOutcome,
  Standing,
  Store,
  StoredRotation,
  StoreEvent,
} from "./store.ts";

/** How much a store may hold. */
export interface StoreLimits extends NodeLimits, MemberLimits {
  /** Used ids remembered at once. @default SPENT_MAX */
  readonly spentMax?: number;
  /** Given up keys remembered of one mesh. @default ROTATIONS_PER_MESH_MAX */
  readonly rotationsPerMeshMax?: number;
  /** Limits of relay sessions. @default those of store.ts */
  readonly sessionLimits?: SessionLimits;
}

/** How often the rows of a database that others write to are counted again, in milliseconds. */
const RECOUNT_MS = 60_000;

/** Rows of each counted table. */
export type RowCounts = Readonly<Record<CountedTable, number>>;

/** Counts the rows of a database. */
export function* countRows(): Steps<RowCounts> {
  const [nodes = [], sessions = [], meshes = [], spent = [], members = []] = yield [
    query("SELECT count(*) FROM nodes"),
    query("SELECT count(*) FROM peer_sessions"),
    query("SELECT count(*) FROM meshes"),
    query("SELECT count(*) FROM spent"),
    query("SELECT count(*) FROM members"),
  ];
  return {
    nodes: countOf(nodes),
    peer_sessions: countOf(sessions),
    meshes: countOf(meshes),
    spent: countOf(spent),
    members: countOf(members),
  };
}

/** Registrations and relay sessions in a database. */
export class SqlStore implements Store {
  readonly #database: Database;
  readonly #nodes: NodesTable;
  readonly #sessions: SessionsTable;
  readonly #spent: SpentTable;
  readonly #spends: SpendBatch;
  readonly #rotationsMax: number | undefined;
  readonly #members: MembersTable;
  /** Rows of each table, kept here because counting them is slow. */
  #rows: RowCounts;
  #countedAt: number | undefined;

  /** A store over a database, whose owner it is from now on, with the rows that {@linkcode countRows} counted. */
  constructor(database: Database, rows: RowCounts, { sessionLimits, ...limits }: StoreLimits) {
    this.#database = database;
    this.#rows = rows;
    this.#rotationsMax = limits.rotationsPerMeshMax;
    this.#nodes = new NodesTable(limits, {
      nodes: () => this.#rows.nodes,
      meshes: () => this.#rows.meshes,
    });
    this.#spent = new SpentTable(() => this.#rows.spent, limits.spentMax);
    this.#spends = new SpendBatch((batch) => database.put(() => this.#spent.spendAll(batch)));
    this.#members = new MembersTable(limits, () => this.#rows.members);
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

  async register(
    content: NodeContent,
    options: RegisterOptions & AccessOptions,
  ): Promise<RegisterOutcome> {
    // What is not just a refresh: access to the mesh is looked at.
    const refreshes = options.open === undefined && content.admission === "";
    const record = refreshes
      ? await this.#database.put(() => this.#nodes.refresh(content, options))
      : undefined;
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

  openSession(request: SessionRequest, options: SessionOptions): Promise<SessionOutcome> {
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

  rotate(rotation: StoredRotation, now: number): Promise<RotateOutcome> {
    const nodes = this.#nodes;
    const rotationsMax = this.#rotationsMax;
    return this.#write((transaction) =>
      rotate(rotation, { now, nodes, transaction, rotationsMax })
    );
  }

  standing(key: NodeKey, now: number): Promise<Standing> {
    return this.#database.run(() => this.#members.standing(key, now));
  }

  hides(key: NodeKey, now: number): Promise<boolean> {
    return this.#database.run(() => this.#members.hides(key, now));
  }

  colonyFor(
    key: NodeKey,
    now: number,
  ): Promise<{ readonly record: NodeRecord | undefined; readonly hidden: boolean }> {
    const members = this.#members;
    return this.#database.run(function* (): Steps<
      { readonly record: NodeRecord | undefined; readonly hidden: boolean }
    > {
      const [rows = []] = yield [
        colonyBeside(members.hidden(key, now), { meshId: key.meshId, now }),
      ];
      return { record: nodeBeside(rows), hidden: isThere(rows) };
    });
  }

  publishMembers(news: MembershipNews): Promise<MembershipOutcome> {
    const members = this.#members;
    const nodes = this.#nodes;
    return this.#write(function* (transaction): Steps<MembershipOutcome> {
      const outcome = yield* members.publish(news, transaction);
      if (outcome.kind !== "published") return outcome;
      const { meshId } = news;
      for (const publicKey of outcome.revoked) {
        yield* nodes.remove({ meshId, publicKey }, "agent", transaction);
      }
      return outcome;
    });
  }

  members(meshId: string, range: MemberRange): Promise<ListedMember[]> {
    return this.#database.run(() => this.#members.list(meshId, range));
  }

  membersRevision(meshId: string): Promise<number> {
    return this.#database.run(() => this.#members.revision(meshId));
  }

  async spend(id: string, expiresAt: number): Promise<SpendOutcome> {
    const outcome = this.shared
      ? await this.#spends.spend({ id, expiresAt })
      : await this.#database.put(() => this.#spent.spend(id, expiresAt));
    if (outcome === "spent") this.#count("spent", 1);
    return outcome;
  }

  sweepSpent(now: number, max: number): Promise<number> {
    return this.#write((transaction) => this.#spent.sweep(now, max, transaction));
  }

  sweepMeshes(now: number, max: number): Promise<number> {
    return this.#write((transaction) => sweepMeshes(now, max, transaction));
  }

  secret(name: string, fresh: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
    return this.#write(() => secretOf(name, fresh));
  }

  forgetSecrets(range: NameRange): Promise<number> {
    return this.#database.run(() => forgetSecrets(range));
  }

  meshPage(now: number, page: OverviewPage): Promise<MeshPage> {
    return this.#database.run(() => meshPage(now, page));
  }

  nodePage(
    now: number,
    page: OverviewPage & { readonly meshId?: string; readonly order: NodeOrder },
  ): Promise<NodePage> {
    return this.#database.run(() => nodePage(now, page));
  }

  relayTotals(now: number, limit: number): Promise<RelayTotal[]> {
    return this.#database.run(() => relayTotals(now, limit));
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
