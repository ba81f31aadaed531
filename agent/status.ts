/** What a node says of itself and its peers: the shape behind `moray status --json`. @module */

import type { MembershipHandle } from "./membership/handle.ts";
import type { NetcheckReport } from "./netcheck/report.ts";

/** How packets reach a peer. */
export type PathKind = "direct" | "relayed" | "none";

/** The path to a peer. */
export interface PathStatus {
  /** Whether and how the peer is reached. */
  readonly kind: PathKind;
  /** The peer's outer address as `host:port`; `null` without a path. */
  readonly remote: string | null;
  /** While relayed, the relay: its id where it is this node's, else its address. */
  readonly relay: string | null;
  /** Smoothed round trip in milliseconds; `null` until measured. */
  readonly rttMs: number | null;
  /** Largest inner packet in bytes that the path carries. */
  readonly mtu: number | null;
}

/** One way to a peer, in use or not. */
export interface PathDetail {
  /** The peer's address at its other end, `host:port`. */
  readonly remote: string;
  /** This node's end of it; 0 for its own sockets. */
  readonly local: number;
  /** How the address was found: `host`, `serverReflexive`, `portMapped`, `configured`, `relayed` or `peerReflexive`. */
  readonly kind: string;
  /** How far it is known to work: `unknown`, `heard`, `proven` or `silent`. */
  readonly state: string;
  /** Smoothed round trip in milliseconds; `null` until measured. */
  readonly rttMs: number | null;
  /** Largest inner packet in bytes; `null` until measured. */
  readonly mtu: number | null;
  /** Probes sent along it. */
  readonly probes: number;
  /** Answers to them. */
  readonly replies: number;
}

/** An address where a node may be reached, and how it was found. */
export interface CandidateStatus {
  /** As in {@linkcode PathDetail}. */
  readonly kind: string;
  /** `host:port`. */
  readonly address: string;
}

/** What the policy has refused of a peer: packets, by reason. */
export interface RefusedStatus {
  /** To ports that it may not reach. */
  readonly policy: number;
  /** Fragments of datagrams that did not pass. */
  readonly fragment: number;
  /** Packets whose ports cannot be read. */
  readonly malformed: number;
  /** Answers and ICMP errors that belong to nothing. */
  readonly stray: number;
  /** What it tried, the latest first: one a second is noted, and the last eight kinds are kept. */
  readonly last: readonly RefusedPort[];
}

/** A port that a peer tried and may not reach. */
export interface RefusedPort {
  /** As the policy file writes it: `tcp/22`, `udp/53`, `icmp`; `ip/132` for another protocol by its number. */
  readonly what: string;
  /** When it was last noted, RFC 3339. */
  readonly at: string;
}

/** The policy that a node keeps to. */
export interface PolicyStatus {
  /** `file`: the colony's own file. `colony`: what the colony told this agent. */
  readonly origin: "file" | "colony";
  /** Rules about what others may reach at this node. */
  readonly rules: number;
}

/** One peer. */
export interface PeerStatus {
  /** The node's name, or the start of its key where it has none. */
  readonly name: string;
  /** WireGuard public key, base64. */
  readonly publicKey: string;
  /** Mesh IPv4 address; `null` if it has none. */
  readonly meshIpv4: string | null;
  /** Mesh IPv6 address. */
  readonly meshIpv6: string | null;
  /** The path in use. */
  readonly path: PathStatus;
  /** Every way to it that is known, the one in use first; empty for a plain WireGuard peer. */
  readonly paths: readonly PathDetail[];
  /** Where it may be reached, as Discovery tells, best first; empty for a plain WireGuard peer. */
  readonly candidates: readonly CandidateStatus[];
  /** Why the path is what it is, where it is not direct: one sentence for a person. */
  readonly reason: string | null;
  /** What the policy has refused of it here. Absent: nothing. */
  readonly refused?: RefusedStatus;
  /** Time of the last completed handshake, RFC 3339; `null` before the first. */
  readonly lastHandshakeAt: string | null;
  /** Bytes of inner packets received. */
  readonly rxBytes: number;
  /** Bytes of inner packets sent. */
  readonly txBytes: number;
}

/** The NAT in front of this node, in the words of RFC 4787. */
export interface NatStatus {
  /** `endpointIndependent`, `addressDependent`, `addressAndPortDependent`, or `unknown`. */
  readonly mapping: string;
  /** As `mapping`. */
  readonly filtering: string;
  /** The RFC's NatHint: `NAT_UNKNOWN`, `NAT_CONE`, `NAT_RESTRICTED` or `NAT_SYMMETRIC`. */
  readonly hint: string;
}

/** What one gateway does for this node: the answer to the question whether peers are let in. */
export interface PortMappingStatus {
  /** 4 or 6. */
  readonly family: 4 | 6;
  /** The gateway's address on our side; `null` where none is known. */
  readonly gateway: string | null;
  /** Who made the mapping: `pcp`, `nat-pmp` or `upnp`; `null` while there is none. */
  readonly protocol: string | null;
  /** The address outside that leads to our port, `host:port`; `null` without a mapping. */
  readonly external: string | null;
  /** Seconds that the mapping lasts unless renewed; `null` without one, or if it lasts until it is deleted. */
  readonly lifetimeSeconds: number | null;
  /** Whether peers are told of it. */
  readonly offered: boolean;
  /** Why peers are told of nothing: one phrase for a person; `null` if they are. */
  readonly reason: string | null;
}

/** One relay of a node. */
export interface RelayStatus {
  /** Its id. */
  readonly id: string;
  /** `connecting`, `ready`, `draining` or `failed`. */
  readonly state: string;
  /** What carries TURN: `udp`, `tcp`, `tls` or `websocket`; `null` before the first attempt. */
  readonly transport: string | null;
  /** Where it listens for this node, `host:port`. */
  readonly relayed: readonly string[];
  /** Round trip to it in milliseconds; `null` until measured. */
  readonly rttMs: number | null;
  /** Why it is not ready: one phrase for a person; `null` if it is. */
  readonly reason: string | null;
  /**
   * What the relay says that a limit did not let through since the allocation was made: whose limit (`session`, `key`, `mesh`, `total`),
   * and how many datagrams, either way. Absent: nothing.
   */
  readonly limited?: { readonly scope: string; readonly packets: number };
}

/** What a node offers as a relay for its mesh. */
export interface RelayOfferStatus {
  /** The relay's id. */
  readonly id: string;
  /** Whether Discovery sends nodes of the mesh to it: it was found to be reachable. */
  readonly offered: boolean;
  /** Why not: one clause for a person; `null` if it does. */
  readonly reason: string | null;
  /** Where it listens for other nodes, `host:port`; empty while it does not run. */
  readonly addresses: readonly string[];
  /** Allocations that it held when it last reported. */
  readonly sessions: number;
  /** Bytes that it has taken from its clients for others. */
  readonly rxBytes: number;
  /** Bytes that it has brought to its clients. */
  readonly txBytes: number;
}

/** A node of the mesh, as the colony says. */
export interface MemberStatus {
  /** Its name, which no other member has. */
  readonly name: string;
  /** WireGuard public key, base64. */
  readonly publicKey: string;
  /** What it is. */
  readonly role: "colony" | "agent";
  /** Mesh IPv4 address. */
  readonly meshIpv4: string;
  /** Mesh IPv6 address. */
  readonly meshIpv6: string;
  /** Whether it is there, as far as the colony knows. */
  readonly present: boolean;
}

/** A node and its peers. */
export interface NodeStatus {
  /** This node. */
  readonly node: {
    /** What it is called in its mesh. */
    readonly name: string;
    /** What it asked to be called, where another node has that name; absent where it has it. */
    readonly askedName?: string;
    readonly publicKey: string;
    readonly meshIpv4: string | null;
    readonly meshIpv6: string | null;
    readonly nat: NatStatus;
    /** Candidates as `host:port`, best first. */
    readonly endpoints: readonly string[];
    /** The same with how each was found. */
    readonly candidates: readonly CandidateStatus[];
    /** What the gateways do for us; absent where nobody was asked. */
    readonly portMapping?: readonly PortMappingStatus[];
    /** `portable` or `fast`, and why where it was not chosen freely. */
    readonly datapath: string;
    /** What seals and opens packets: `native` code with AVX2, or `wasm`, and why where it was not chosen freely. */
    readonly cipher: string;
    /** The kernel's interface that leads into the tunnel; `null` for none. */
    readonly tun: string | null;
  };
  /** The Discovery service; `null` for a plain WireGuard peer. */
  readonly discovery: { readonly url: string; readonly connected: boolean } | null;
  /** The relays that this node holds; absent for a plain WireGuard peer. */
  readonly relays?: readonly RelayStatus[];
  /** Why it has none that carries: one clause for a person; `null` if it has one, or is about to. */
  readonly relayReason?: string | null;
  /** What it offers as a relay itself; absent where it was not told to. */
  readonly relayOffer?: RelayOfferStatus;
  /** The policy; absent where everything passes. */
  readonly policy?: PolicyStatus;
  /** Every peer, connected or not. */
  readonly peers: readonly PeerStatus[];
  /** Everybody in the mesh, this node too, as far as it knows; absent for a plain WireGuard peer. */
  readonly members?: readonly MemberStatus[];
  /** Packets dropped and other events, by name; only what is not zero. */
  readonly counters: Readonly<Record<string, number>>;
}

/** One answer to `moray ping`. */
export interface PingReply {
  /** 1, 2, 3 ... */
  readonly sequence: number;
  /** Round trip through the tunnel in milliseconds; `null` if no answer came in time. */
  readonly rttMs: number | null;
  /** The path when the answer came, or when none had come in time. */
  readonly path: PathStatus;
  /** Why the path is what it is, where it is not direct: one sentence for a person. */
  readonly reason: string | null;
}

/** A change of the path to a peer. */
export interface PathChange {
  /** The peer's name, or the start of its key where it has none. */
  readonly name: string;
  /** Its WireGuard public key, base64. */
  readonly publicKey: string;
  /** How it is reached from now on. */
  readonly kind: PathKind;
  /** Its outer address, `host:port`; `null` without a path. */
  readonly remote: string | null;
}

/** A running node, as the local API and the commands see it. */
export interface NodeHandle {
  /** What is known of the network. Rejects with `unsupported` for a plain WireGuard peer, which asks no STUN server. */
  netcheck(): Promise<NetcheckReport>;
  /** The present state. */
  status(): Promise<NodeStatus>;
  /** Sends one ICMP echo to a peer by name or mesh address. Rejects with `unreachable` if there is no such peer. */
  ping(peer: string, options: { sequence: number; timeoutMs: number }): Promise<PingReply>;
  /** The members of the mesh, for its colony. Absent: the node is none. */
  readonly membership?: MembershipHandle | undefined;
}
