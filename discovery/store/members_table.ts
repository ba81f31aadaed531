/** The tables behind closed meshes: who belongs to one, and which invites may be used. @module */
import {
  countOf,
  type Query,
  query,
  type Row,
  rowsOf,
  type Steps,
  type Transaction,
  type Value,
} from "./sql.ts";
import type { NodeContent, NodeKey, Standing } from "./store.ts";
import {
  type Barred,
  INVITES_PER_MESH_MAX,
  type ListedMember,
  type MemberLimits,
  type MemberRange,
  MEMBERS_MAX,
  MEMBERS_PER_MESH_MAX,
  type MembershipNews,
  type MembershipOutcome,
} from "./members.ts";

const ADMITTED = 1;
const REVOKED = 2;
/** Admitted, and was revoked before: who heard of that must hear of this. */
const READMITTED = 3;

const hasState = (condition: string): string =>
  `EXISTS (SELECT 1 FROM members
  WHERE members.mesh_id = ? AND members.pubkey = ? AND members.state ${condition})`;
const [IS_MEMBER, IS_REVOKED] = [hasState(`<> ${REVOKED}`), hasState(`= ${REVOKED}`)];

const SQL = {
  access: "SELECT pubkey, closed FROM meshes WHERE mesh_id = ?",
  revision: "SELECT members_revision FROM meshes WHERE mesh_id = ?",
  state: "SELECT state FROM members WHERE mesh_id = ? AND pubkey = ?",
  invite: "SELECT used_by FROM invites WHERE mesh_id = ? AND invite = ? AND expires_at > ?",
  take: "UPDATE invites SET used_by = ? WHERE mesh_id = ? AND invite = ?",
  close: "UPDATE meshes SET closed = ? WHERE mesh_id = ? AND closed <> ? RETURNING closed",
  // A row where the asker is neither the mesh's colony nor registered in it, and was thrown out of it, or is no member while it is closed.
  hidden: `SELECT 1 FROM meshes WHERE mesh_id = ? AND pubkey <> ?
    AND (closed = 1 AND NOT ${IS_MEMBER} OR ${IS_REVOKED})
    AND NOT EXISTS (SELECT 1 FROM nodes
      WHERE nodes.mesh_id = ? AND nodes.pubkey = ? AND nodes.expires_at > ?)`,
  // A row where the asker is registered in the mesh, or is its colony or a member of it and has registered nowhere yet.
  own: `SELECT 1 FROM nodes WHERE mesh_id = ? AND pubkey = ? AND expires_at > ?
    UNION ALL SELECT 1 FROM meshes WHERE mesh_id = ? AND (pubkey = ? OR ${IS_MEMBER})`,
  count: "SELECT count(*) FROM members WHERE mesh_id = ?",
  put: `INSERT INTO members (mesh_id, pubkey, state, sequence, statement) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (mesh_id, pubkey) DO UPDATE SET
      state = CASE WHEN excluded.state = ${ADMITTED} AND members.state <> ${ADMITTED}
        THEN ${READMITTED} ELSE excluded.state END,
      sequence = excluded.sequence, statement = excluded.statement
    WHERE members.sequence < excluded.sequence RETURNING state`,
  list: `SELECT pubkey, statement FROM members WHERE mesh_id = ? AND pubkey > ?
    ORDER BY pubkey LIMIT ?`,
  listNews: `SELECT pubkey, statement FROM members WHERE mesh_id = ? AND pubkey > ?
    AND (state <> ${ADMITTED} AND sequence > ? OR pubkey = ?) ORDER BY pubkey LIMIT ?`,
  closeInvites: "UPDATE invites SET expires_at = 0 WHERE mesh_id = ?",
  putInvite: `INSERT INTO invites (mesh_id, invite, expires_at) VALUES (?, ?, ?)
    ON CONFLICT (mesh_id, invite) DO UPDATE SET expires_at = excluded.expires_at`,
  forgetInvites: "DELETE FROM invites WHERE mesh_id = ? AND expires_at = 0",
  revise: "UPDATE meshes SET members_revision = ? WHERE mesh_id = ?",
} as const;

/** Asks what a mesh and the node are to each other, among other questions; {@linkcode barred} reads the two answers. */
export function accessOf({ meshId, publicKey }: NodeKey): readonly [Query, Query] {
  return [query(SQL.access, meshId), query(SQL.state, meshId, publicKey)];
}

/** Why an agent may not register; `undefined` where it may. `uses`: it has to take the invite that it holds. */
export function* entry(
  { meshId, publicKey }: NodeContent,
  { access: [mesh], states: [member], invite, now }: {
    readonly access: readonly Row[];
    readonly states: readonly Row[];
    /** The public key of the invite that the node has shown; empty for none. */
    readonly invite: string;
    readonly now: number;
  },
): Steps<{ readonly barred: Barred } | { readonly uses: boolean }> {
  const state = Number(member?.["state"] ?? 0);
  const expelled = state === REVOKED;
  const closed = Number(mesh?.["closed"] ?? 0) === 1;
  if (state === ADMITTED || state === READMITTED) return { uses: false };
  // An open mesh asks for no invite. One that is good is used all the same: who holds it is a member when the mesh closes.
  const refused = (why: Barred): { readonly barred: Barred } | { readonly uses: false } =>
    closed || expelled ? { barred: expelled && why !== "used" ? "revoked" : why } : { uses: false };
  if (invite === "") return refused("closed");
  const [row] = yield* rowsOf(SQL.invite, meshId, invite, now);
  if (row === undefined) return refused("invite");
  const usedBy = String(row["used_by"]);
  if (usedBy !== "" && usedBy !== publicKey) return refused("used");
  if (usedBy === "") yield [query(SQL.take, publicKey, meshId, invite)];
  return { uses: true };
}

/** Closes a mesh or opens it. Returns whether it is closed from now on and was not. */
export function* close(meshId: string, closed: boolean): Steps<boolean> {
  const value = closed ? 1 : 0;
  return (yield* rowsOf(SQL.close, value, meshId, value)).length > 0 && closed;
}

/** Who belongs to which mesh. `rows` says how many rows there are in all. */
export class MembersTable {
  readonly #perMeshMax: number;
  readonly #max: number;
  readonly #rows: () => number;

  /** A table with these limits. */
  constructor(
    { membersPerMeshMax = MEMBERS_PER_MESH_MAX, membersMax = MEMBERS_MAX }: MemberLimits,
    rows: () => number,
  ) {
    this.#perMeshMax = membersPerMeshMax;
    this.#max = membersMax;
    this.#rows = rows;
  }

  /** Whether a mesh shows itself to this node not at all. */
  *hides(key: NodeKey, now: number): Steps<boolean> {
    const [rows = []] = yield [this.hidden(key, now)];
    return rows.length > 0;
  }

  /** Asks for a row where a mesh does not show itself to this node, among other questions. */
  hidden(
    { meshId, publicKey }: NodeKey,
    now: number,
  ): { readonly sql: string; readonly values: readonly Value[] } {
    const own = [meshId, publicKey];
    return { sql: SQL.hidden, values: [...own, ...own, ...own, ...own, now] };
  }

  /** What a node is to a mesh. */
  *standing(key: NodeKey, now: number): Steps<Standing> {
    const own = [key.meshId, key.publicKey];
    const [members = [], states = [], hidden = []] = yield [
      query(SQL.own, ...own, now, ...own, ...own),
      query(SQL.state, ...own),
      this.hidden(key, now),
    ];
    if (members.length > 0) return "member";
    if (Number(states[0]?.["state"] ?? 0) === REVOKED) return "revoked";
    return hidden.length > 0 ? "outsider" : "newcomer";
  }

  /** What the colony calls the list that it published last. */
  *revision(meshId: string): Steps<number> {
    return countOf(yield* rowsOf(SQL.revision, meshId));
  }

  /** Members behind a key, in order. */
  *list(meshId: string, { after, max, news }: MemberRange): Steps<ListedMember[]> {
    const rows = news === undefined
      ? yield* rowsOf(SQL.list, meshId, after, max)
      : yield* rowsOf(SQL.listNews, meshId, after, news.since, news.of, max);
    return rows.map((row) => ({
      publicKey: String(row["pubkey"]),
      statement: String(row["statement"]),
    }));
  }

  /** Stores what a colony says; the nodes that it revokes are for the caller to remove. */
  *publish(news: MembershipNews, transaction: Transaction): Steps<MembershipOutcome> {
    const { meshId, colonyKey, members, invites, revision } = news;
    const [, [mesh] = [], counted = []] = yield [
      { lock: `mesh ${meshId}` },
      query(SQL.access, meshId),
      query(SQL.count, meshId),
    ];
    if (mesh?.["pubkey"] !== colonyKey) return { kind: "notColony" };
    const room = Math.min(this.#perMeshMax - countOf(counted), this.#max - this.#rows());
    if (invites.length > INVITES_PER_MESH_MAX) return { kind: "full" };
    const known = yield members.map(({ publicKey }) => query(SQL.state, meshId, publicKey));
    const added = known.filter((rows) => rows.length === 0).length;
    if (added > room) return { kind: "full" };
    const stored = yield members.map(({ publicKey, state, sequence, statement }) => {
      const number = state === "admitted" ? ADMITTED : REVOKED;
      const values: Value[] = [meshId, publicKey, number, sequence, statement];
      return query(SQL.put, ...values);
    });
    // An invite stays whose it is: it is closed by its end, and only then forgotten.
    yield [
      query(SQL.closeInvites, meshId),
      ...invites.map(({ key, expiresAt }) => query(SQL.putInvite, meshId, key, expiresAt)),
      query(SQL.forgetInvites, meshId),
      ...revision > 0 ? [query(SQL.revise, revision, meshId)] : [],
    ];
    transaction.count("members", added);
    const keysOf = (is: number): readonly string[] =>
      members.filter((_, at) => Number(stored[at]?.[0]?.["state"]) === is)
        .map(({ publicKey }) => publicKey);
    return {
      kind: "published",
      admitted: keysOf(ADMITTED),
      readmitted: keysOf(READMITTED),
      revoked: keysOf(REVOKED),
    };
  }
}
