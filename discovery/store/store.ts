/**
 * What every store of registrations does, whichever database is beneath.
 *
 * Methods are asynchronous because some databases are across a network. Each is atomic. Time is an argument, in unix
 * milliseconds; a record whose `expiresAt` is not after it does not exist for the reader.
 *
 * @module
 */

import type {
  Barred,
  ListedMember,
  MemberRange,
  MembershipNews,
  MembershipOutcome,
} from "./members.ts";

/** What a node is in its mesh. */
export type Role = "colony" | "agent";

/** Where STUN saw a node's WireGuard socket. */
export interface ObservedEndpoint {
  /** Canonical IP literal. */
  readonly ip: string;
  /** 1 to 65535. */
  readonly port: number;
  /** Whether a relay listens there for the node. */
  readonly viaRelay: boolean;
}

/** What a node says of itself: validated and canonical, so that equal registrations are equal values. */
export interface NodeContent {
  /** Mesh id. */
  readonly meshId: string;
  /** WireGuard public key, base64. */
  readonly publicKey: string;
  /** Colony or agent. */
  readonly role: Role;
  /** The agent's id; empty for a colony. */
  readonly agentId: string;
  /** The node's name, a DNS label; empty for none. */
  readonly name: string;
  /** Candidates as `host:port`, canonical. */
  readonly endpoints: readonly string[];
  /** Where STUN saw the node's sockets. */
  readonly observedEndpoints: readonly ObservedEndpoint[];
  /** NatHint, 0 to 3. */
  readonly nat: number;
  /** Address inside the mesh; empty for none. */
  readonly meshIpv4: string;
  /** Address inside the mesh; empty for none. */
  readonly meshIpv6: string;
  /** Port of a colony's control service; 0 for none. */
  readonly connectPort: number;
  /** A colony's public HTTPS port; 0 for none. */
  readonly publicPort: number;
  /** A colony's PublicEndpointInfo in its JSON form; empty for none. */
  readonly publicEndpoint: string;
  /** Free text of the owner's, keys in order. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Whether it wants no relay between itself and others. */
  readonly noRelay: boolean;
  /** Whether whoever registered it proved to hold the key: then only such a one may change it. */
  readonly proven: boolean;
  /** The record that it signed: a SignedStatement in base64; empty for none. */
  readonly statement: string;
  /** The sequence of that; 0 for none. */
  readonly sequence: number;
  /** How an agent that is no member yet shows its invite; empty for none. */
  readonly admission: string;
}

/** A registration. */
export interface NodeRecord extends NodeContent {
  /** When this life of the registration began. */
  readonly registeredAt: number;
  /** When it was last made or refreshed. */
  readonly lastSeenAt: number;
  /** When it ends unless refreshed. */
  readonly expiresAt: number;
  /** Grows with every change of the content, also across removal. */
  readonly generation: number;
}

/** How a registration went. */
export type RegisterOutcome =
  | {
    readonly kind: "registered";
    /** The record as stored. */
    readonly record: NodeRecord;
    /** Whether the content is new or changed; false for a mere refresh. */
    readonly changed: boolean;
    /** Records of other nodes that this one displaced. */
    readonly displaced: readonly NodeRecord[];
  }
  /** Another key holds the mesh, or the key is the colony's and an agent asked. */
  | { readonly kind: "held" }
  /** Another key, which was proven, lives under the agent's id. */
  | { readonly kind: "taken" }
  /** The key, or the mesh, belongs to somebody who proved it; this registration proved nothing. */
  | { readonly kind: "unproven" }
  /** The living registration has a signed record, this one has none. */
  | { readonly kind: "unsigned" }
  /** The living registration has a signed record with this sequence, which is later, or is another record's. */
  | { readonly kind: "older"; readonly sequence: number }
  /** The key was given up for another. */
  | { readonly kind: "retired" }
  /** An agent may not be in the mesh. */
  | { readonly kind: "barred"; readonly why: Barred }
  /** The mesh, or the store, has as many nodes as it may have. */
  | { readonly kind: "full" };

/** A key that is given up for another: who asks for it has proven both. */
export interface StoredRotation {
  /** Mesh id. */
  readonly meshId: string;
  /** The key that goes, base64. */
  readonly oldKey: string;
  /** The key that comes, base64. */
  readonly newKey: string;
  /** Greater than that of the rotation which led to `oldKey`. */
  readonly sequence: number;
}

/** How giving up a key went. */
export type RotateOutcome =
  /** The binding is the new key's, and the old registration is gone. */
  | { readonly kind: "rotated" }
  /** It was given up for this one before: nothing is changed. */
  | { readonly kind: "repeated" }
  /** It was given up for another before, or for this one, which was given up since. */
  | { readonly kind: "retired" }
  /** The mesh does not know the old key. */
  | { readonly kind: "unknown" }
  /** The sequence is not after that of the rotation before. */
  | { readonly kind: "older" }
  /** The new key is, or was, somebody's in this mesh. */
  | { readonly kind: "taken" };

/** Time and life of a registration. */
export interface RegisterOptions {
  /** Now, unix milliseconds. */
  readonly now: number;
  /** Life in milliseconds. */
  readonly ttlMs: number;
}

/** Time and life of a session. */
export interface SessionOptions extends RegisterOptions {
  /** Whether the node is none of the mesh: half of what a mesh may have is kept for those that are. @default false */
  readonly stranger?: boolean;
}

/** What a registration says of closed meshes. */
export interface AccessOptions {
  /** A colony's: whether its mesh is open to every node from now on. @default it stays as it is */
  readonly open?: boolean;
  /** An agent's: the public key of the invite that it has shown to hold. @default none */
  readonly invite?: string;
}

/**
 * What a node is to a mesh: one that is registered there, its colony, or whom its colony has named; one that was thrown out; one that a closed
 * mesh hides from; anybody else, where the mesh is open or there is none.
 */
export type Standing = "member" | "revoked" | "outsider" | "newcomer";

/** Names a node. */
export interface NodeKey {
  /** Mesh id. */
  readonly meshId: string;
  /** WireGuard public key, base64. */
  readonly publicKey: string;
}

/** Names one relay of one node. */
export interface SessionKey extends NodeKey {
  /** The relay's id. */
  readonly relayId: string;
}

/** A node's permission to use a relay. */
export interface PeerSession extends SessionKey {
  /** The session's id: who knows it may give it back. */
  readonly sessionId: string;
  /** The agent that it was asked for, base64; empty for none. */
  readonly agentKey: string;
  /** The colony that it was asked for, base64; empty for any. */
  readonly colonyKey: string;
  /** When it was opened. */
  readonly createdAt: number;
  /** When it ends unless renewed. */
  readonly expiresAt: number;
  /** Bytes that the relay took from the node. */
  readonly rxBytes: number;
  /** Bytes that the relay sent to the node. */
  readonly txBytes: number;
}

/** Names a session that somebody gives back. */
export interface SessionName {
  /** The session's id. */
  readonly sessionId: string;
  /** Mesh id. */
  readonly meshId: string;
  /** The node that gives it back, where it proved its key. */
  readonly publicKey?: string;
}

/** What is asked for; `sessionId` is for a new session, and unused where there is one. */
export type SessionRequest = Omit<
  PeerSession,
  "createdAt" | "expiresAt" | "rxBytes" | "txBytes"
>;

/** How asking for a session went. */
export type SessionOutcome =
  | {
    readonly kind: "opened";
    /** The session as stored. */
    readonly session: PeerSession;
    /** Whether it lived already, and lives longer now. */
    readonly renewed: boolean;
  }
  /** The node, the mesh or the store has as many sessions as it may have. */
  | { readonly kind: "full"; readonly of: "node" | "mesh" | "store" };

/** What a session carried since the last time. */
export interface SessionUsage {
  /** The session's id. */
  readonly sessionId: string;
  /** Bytes from the node, a whole number. */
  readonly rxBytes: number;
  /** Bytes to the node, a whole number. */
  readonly txBytes: number;
}

/** A registration that was made, changed or ended. */
export interface NodeChange extends NodeKey {
  /** Colony or agent. */
  readonly role: Role;
  /** Generation of the record; of the one that was removed. */
  readonly generation: number;
  /** The record. Absent where another replica may have made it: it is to be read. */
  readonly record?: NodeRecord;
}

/** What those who listen to a store are told, in the order in which it happened. */
export type StoreEvent =
  /** A registration is new, or its content has changed. */
  | { readonly kind: "upserted"; readonly change: NodeChange }
  /** A registration is gone. */
  | { readonly kind: "removed"; readonly change: NodeChange }
  /** What a replica said to all. */
  | { readonly kind: "said"; readonly text: string }
  /** Events of other replicas may have been missed. */
  | { readonly kind: "gap" };

/** Part of a list that may be long. */
export interface OverviewPage {
  /** Entries before it. */
  readonly offset: number;
  /** Entries in it at most. */
  readonly limit: number;
}

/** Meshes with live nodes, by id. */
export interface MeshPage {
  /** How many there are. */
  readonly total: number;
  /** Those of the page. */
  readonly meshes: readonly {
    /** Mesh id. */
    readonly meshId: string;
    /** Live colonies: one, or none. */
    readonly colonies: number;
    /** Live agents. */
    readonly agents: number;
    /** When any of them last registered or refreshed. */
    readonly lastSeenAt: number;
  }[];
}

/** What nodes are listed by; where that is the same, by mesh and key. */
export type NodeOrder = "name" | "mesh" | "nat" | "seen";

/** Live nodes of a role behind a kind of NAT. */
export interface NodeCount {
  /** Colony or agent. */
  readonly role: Role;
  /** NatHint, 0 to 3. */
  readonly nat: number;
  /** How many. */
  readonly nodes: number;
}

/** A registration as an operator sees it: without addresses. */
export type NodeSummary = Pick<
  NodeRecord,
  | "meshId"
  | "publicKey"
  | "role"
  | "agentId"
  | "name"
  | "nat"
  | "proven"
  | "lastSeenAt"
  | "expiresAt"
>;

/** Live nodes. */
export interface NodePage {
  /** How many there are, by role and NAT. */
  readonly counts: readonly NodeCount[];
  /** Those of the page. */
  readonly nodes: readonly NodeSummary[];
}

/** What the live sessions of a relay come to. */
export interface RelayTotal {
  /** The relay's id. */
  readonly relayId: string;
  /** Live sessions. */
  readonly sessions: number;
  /** Bytes that the relay took from their nodes. */
  readonly rxBytes: number;
  /** Bytes that the relay sent to their nodes. */
  readonly txBytes: number;
}

/** What using something up came to: it was the first time, it was not, or no more can be remembered. */
export type SpendOutcome = "spent" | "reused" | "full";

/** Names that are not before `from`, and before `before`. */
export interface NameRange {
  /** The first that belongs to it, if there is one of this name. */
  readonly from: string;
  /** The first that does not. */
  readonly before: string;
}

/** Longest text of {@linkcode Store.say}, in UTF-8 bytes. */
export const SAID_BYTES_MAX = 7000;

/**
 * Registrations and relay sessions. Every method rejects with `MorayError`: `diskFull`, `corrupt`, `permission`, `unreachable`,
 * `closed` or `internal`.
 */
export interface Store {
  /** Whether other replicas use it too. */
  readonly shared: boolean;
  /** How far the clock that replicas go by is ahead of this machine's, in milliseconds. */
  readonly clockAheadMs: number;
  /**
   * Has `listener` called with every change, whoever made it, and with what replicas say. One listener; it must not throw.
   * Changes of this process's own file come before the method that made them resolves.
   */
  listen(listener: (event: StoreEvent) => void): void;
  /** Says something to every replica, this one too; they do not keep it. At most {@linkcode SAID_BYTES_MAX} bytes. */
  say(text: string): Promise<void>;
  /**
   * Registers a node or refreshes its registration.
   *
   * A colony is `held` off while another key's registration of the mesh lives, and once another key has proven itself there: the
   * first proven one binds the mesh id, until {@linkcode Store.sweepMeshes} ends that. An agent displaces one with the same id and another key, unless that
   * one is proven and lives.
   *
   * In a closed mesh an agent has to be a member, or to take an open invite, which nobody else can take then. Who is no member is
   * displaced when a mesh closes.
   */
  register(
    content: NodeContent,
    options: RegisterOptions & AccessOptions,
  ): Promise<RegisterOutcome>;
  /** The colony of a mesh. */
  colony(meshId: string, now: number): Promise<NodeRecord | undefined>;
  /** The agents of a mesh, at most {@linkcode NODES_PER_MESH_MAX}. */
  agents(meshId: string, now: number): Promise<NodeRecord[]>;
  /** A node by key. */
  node(key: NodeKey, now: number): Promise<NodeRecord | undefined>;
  /** Agents with an id, in one mesh or (`meshId` absent) in all of them; at most {@linkcode AGENTS_BY_ID_MAX}. */
  agentsById(agentId: string, options: { meshId?: string; now: number }): Promise<NodeRecord[]>;
  /** Removes a node's registration, live or not, if the node has this role. Returns what was removed. */
  remove(key: NodeKey, role: Role): Promise<NodeRecord | undefined>;
  /** Removes at most `max` expired registrations and returns them. */
  sweep(now: number, max: number): Promise<NodeRecord[]>;
  /** Number of live colonies. */
  colonyCount(now: number): Promise<number>;
  /** Opens a node's session of a relay, or renews the one that lives. */
  openSession(request: SessionRequest, options: SessionOptions): Promise<SessionOutcome>;
  /** A node's sessions, by relay id. */
  sessions(key: NodeKey, now: number): Promise<PeerSession[]>;
  /**
   * Removes a session of a mesh, live or not, of this node or (`publicKey` absent) of one that never proved its key. Returns
   * what was removed.
   */
  closeSession(session: SessionName): Promise<PeerSession | undefined>;
  /** Removes every session of a node. Returns what was removed. */
  closeSessions(key: NodeKey): Promise<PeerSession[]>;
  /** Adds to what sessions of a relay carried; unknown ones and other relays' are left out. Returns how many it knew. */
  addUsage(relayId: string, usage: readonly SessionUsage[]): Promise<number>;
  /** Removes at most `max` expired sessions and returns them. */
  sweepSessions(now: number, max: number): Promise<PeerSession[]>;
  /** Number of live sessions. */
  sessionCount(now: number): Promise<number>;
  /** The key that a mesh id is bound to; `undefined` while no colony has proven one. */
  boundKey(meshId: string): Promise<string | undefined>;
  /**
   * Gives up a key for another. A mesh id that is bound to the old one is bound to the new one then; the old one's registration
   * ends, and it registers no more.
   */
  rotate(rotation: StoredRotation, now: number): Promise<RotateOutcome>;
  /** What a node is to a mesh. */
  standing(key: NodeKey, now: number): Promise<Standing>;
  /** Whether a mesh is closed to this node: the node is not its colony, no member, and not registered in it. */
  hides(key: NodeKey, now: number): Promise<boolean>;
  /** What {@linkcode Store.colony} and {@linkcode Store.hides} say to the node with this key, asked for together. */
  colonyFor(
    key: NodeKey,
    now: number,
  ): Promise<{ readonly record: NodeRecord | undefined; readonly hidden: boolean }>;
  /** Stores what the colony of a mesh says of its members and invites, and removes whom it revokes. */
  publishMembers(news: MembershipNews): Promise<MembershipOutcome>;
  /** Members of a mesh, in the order of their keys. */
  members(meshId: string, range: MemberRange): Promise<ListedMember[]>;
  /** What the colony called the list of members that it published last; 0 for none. */
  membersRevision(meshId: string): Promise<number>;
  /** Uses an id up, across replicas and restarts. It is remembered until `expiresAt`. */
  spend(id: string, expiresAt: number): Promise<SpendOutcome>;
  /** Forgets at most `max` used ids whose time is over. Returns how many. */
  sweepSpent(now: number, max: number): Promise<number>;
  /**
   * Ends at most `max` bindings of mesh ids whose colony was not seen for {@linkcode MESH_LIFE_MS} and that have no registration, with
   * members, invites and rotations of those meshes; forgets as many invites whose time is over, and as many rotations of that age
   * in meshes that are bound to nobody. Returns how many of the three it removed.
   */
  sweepMeshes(now: number, max: number): Promise<number>;
  /** The server's secret of this name, one for all replicas: `fresh` where there was none. */
  secret(name: string, fresh: Uint8Array<ArrayBuffer>): Promise<Uint8Array>;
  /** Forgets the secrets whose names lie in this range, by the bytes of the names. Returns how many. */
  forgetSecrets(range: NameRange): Promise<number>;
  /** Meshes with live nodes. Reads as many rows as there are nodes: for operators, not for requests of nodes. */
  meshPage(now: number, page: OverviewPage): Promise<MeshPage>;
  /** Live nodes, of one mesh or (`meshId` absent) of all. As slow as {@linkcode Store.meshPage} for all of them. */
  nodePage(
    now: number,
    page: OverviewPage & { readonly meshId?: string; readonly order: NodeOrder },
  ): Promise<NodePage>;
  /** What the live sessions of relays come to, by relay id, of at most so many relays. */
  relayTotals(now: number, limit: number): Promise<RelayTotal[]>;
  /** Ends the store. Safe to call twice. */
  close(): Promise<void>;
}

/** Nodes that one mesh may have, colony included. Further ones are refused. */
export const NODES_PER_MESH_MAX = 10_000;
/** Sessions that one node may have at once, each of another relay. Further ones are refused. */
export const SESSIONS_PER_NODE_MAX = 8;
/** Sessions that one mesh may have. Further ones are refused. */
export const SESSIONS_PER_MESH_MAX = 20_000;
/** Mesh ids that may be bound. Further ones are refused. */
export const MESHES_MAX = 1_000_000;
/** How long a mesh id stays bound to a colony that is not seen. */
export const MESH_LIFE_MS = 400 * 86_400_000;
/** Keys of one mesh that are remembered as given up. Beyond, the one that was given up first is forgotten. */
export const ROTATIONS_PER_MESH_MAX = 10_000;
/** Used ids that are remembered at once. Further ones cannot be used. */
export const SPENT_MAX = 2_000_000;
/** Sessions in a store. Further ones are refused. */
export const SESSIONS_MAX = 1_000_000;
/** Agents that a look-up by id alone finds: more than one shows that the id is not enough. */
export const AGENTS_BY_ID_MAX = 2;
/** Nodes in a store. Further ones are refused; by replicas as soon as they have counted what others added. */
export const NODES_MAX = 1_000_000;
