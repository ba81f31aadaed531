/**
 * What every store of registrations does, whichever database is beneath.
 *
 * Methods are asynchronous because some databases are across a network. Each is atomic. Time is an argument, in unix
 * milliseconds; a record whose `expiresAt` is not after it does not exist for the reader.
 *
 * @module
 */

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
  /** The mesh, or the store, has as many nodes as it may have. */
  | { readonly kind: "full" };

/** Time and life of a registration. */
export interface RegisterOptions {
  /** Now, unix milliseconds. */
  readonly now: number;
  /** Life in milliseconds. */
  readonly ttlMs: number;
}

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

/** What using something up came to: it was the first time, it was not, or no more can be remembered. */
export type SpendOutcome = "spent" | "reused" | "full";

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
   * A colony is `held` off while another key's registration of the mesh lives, and for ever once another key has proven itself
   * there: the first proven one binds the mesh id. An agent displaces one with the same id and another key, unless that
   * one is proven and lives.
   */
  register(content: NodeContent, options: RegisterOptions): Promise<RegisterOutcome>;
  /** The colony of a mesh. */
  colony(meshId: string, now: number): Promise<NodeRecord | undefined>;
  /** The agents of a mesh, at most {@linkcode NODES_PER_MESH_MAX}. */
  agents(meshId: string, now: number): Promise<NodeRecord[]>;
  /** A node by key. */
  node(key: NodeKey, now: number): Promise<NodeRecord | undefined>;
  /** Agents with an id, in one mesh or (`meshId` absent) in all of them; at most two, which shows an ambiguity. */
  agentsById(agentId: string, options: { meshId?: string; now: number }): Promise<NodeRecord[]>;
  /** Removes a node's registration, live or not, if the node has this role. Returns what was removed. */
  remove(key: NodeKey, role: Role): Promise<NodeRecord | undefined>;
  /** Removes at most `max` expired registrations and returns them. */
  sweep(now: number, max: number): Promise<NodeRecord[]>;
  /** Number of live colonies. */
  colonyCount(now: number): Promise<number>;
  /** Opens a node's session of a relay, or renews the one that lives. */
  openSession(request: SessionRequest, options: RegisterOptions): Promise<SessionOutcome>;
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
  /** Uses an id up, across replicas and restarts. It is remembered until `expiresAt`. */
  spend(id: string, expiresAt: number): Promise<SpendOutcome>;
  /** Forgets at most `max` used ids whose time is over. Returns how many. */
  sweepSpent(now: number, max: number): Promise<number>;
  /** The server's secret of this name, one for all replicas: `fresh` where there was none. */
  secret(name: string, fresh: Uint8Array<ArrayBuffer>): Promise<Uint8Array>;
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
/** Used ids that are remembered at once. Further ones cannot be used. */
export const SPENT_MAX = 2_000_000;
/** Sessions in a store. Further ones are refused. */
export const SESSIONS_MAX = 1_000_000;
/** Nodes in a store. Further ones are refused; by replicas as soon as they have counted what others added. */
export const NODES_MAX = 1_000_000;
