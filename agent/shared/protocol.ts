/**
 * What the main thread and the datapath Worker say to each other, as JSON in the arena's frame rings.
 *
 * Every command gets exactly one `reply`; the main thread relies on it to retry what did not fit in the command
 * ring. Keys are base64 text, addresses `host:port` with IPv6 in brackets, instants milliseconds since 1970.
 *
 * @module
 */
import type { ErrorCode } from "../../core/mod.ts";
import type { Log } from "../options.ts";
import type { StunServerReport } from "../netcheck/report.ts";
import type { SetPolicyCommand } from "./policy_protocol.ts";
import type { NatStatus, PathDetail, RefusedStatus } from "../status.ts";
import type {
  RelayConnectEvent,
  RelayFailedCommand,
  RelaysChangedEvent,
  RelayStatus,
  SetRelaysCommand,
} from "./relay_protocol.ts";
import type {
  RegatherCommand,
  SetMemberCommand,
  SetProbedCommand,
  SetStunServersCommand,
  StunRefusedEvent,
  StunSilentEvent,
  VouchedEvent,
} from "./stun_protocol.ts";

export * from "./policy_protocol.ts";
export * from "./relay_protocol.ts";
export * from "./stun_protocol.ts";

/** An address under which a node may be reached. */
export interface CandidateInfo {
  /** `host`, `serverReflexive`, `portMapped`, `configured`, `relayed` or `peerReflexive`. */
  readonly kind: string;
  /** Where it is, `host:port`. */
  readonly address: string;
}

/** Most blocks of one peer: the whole of a geographic routing list. A command with more is refused. */
export const ALLOWED_IPS_MAX = 16_384;

/** Adds a peer, or changes the one with this key. */
export interface AddPeerCommand {
  /** Which command this is. */
  readonly kind: "addPeer";
  /** The peer's WireGuard key. */
  readonly publicKey: string;
  /** The preshared key of the pair. Absent: none. */
  readonly presharedKey?: string;
  /** Address blocks routed to the peer, as CIDRs; at most {@linkcode ALLOWED_IPS_MAX}. */
  readonly allowedIps: readonly string[];
  /** Persistent keepalive in seconds; 0 for none. */
  readonly keepaliveSeconds: number;
  /** Where the peer is, if configured. */
  readonly endpoint?: string;
  /** Whether the peer is a moray node of our mesh, which answers probes; `false` for a plain WireGuard peer. */
  readonly mesh: boolean;
  /** The peer's name, for log lines. */
  readonly name?: string;
  /** Whether relays may be used to reach it. @default true */
  readonly relay?: boolean;
}

/** Forgets a peer; its streams fail with `closed`. */
export interface RemovePeerCommand {
  /** Which command this is. */
  readonly kind: "removePeer";
  /** The peer's WireGuard key. */
  readonly publicKey: string;
}

/** Replaces what is known of where a peer may be reached. */
export interface SetCandidatesCommand {
  /** Which command this is. */
  readonly kind: "setCandidates";
  /** The peer's WireGuard key. */
  readonly publicKey: string;
  /** All its candidates, best first. */
  readonly candidates: readonly CandidateInfo[];
  /** Discovery does not know the peer any more. @default false */
  readonly gone?: boolean;
  /** The NAT in front of it, as it found out: the RFC's NatHint. Absent: not known. */
  readonly nat?: string;
  /** Whether relays may be used to reach it. Absent: as it was. */
  readonly relay?: boolean;
}

/** Starts to connect to a peer without waiting for traffic. */
export interface ConnectPeerCommand {
  /** Which command this is. */
  readonly kind: "connectPeer";
  /** The peer's WireGuard key. */
  readonly publicKey: string;
}

/** Sends handshakes to a peer's candidates now, because the peer does the same towards us. */
export interface PunchCommand {
  /** Which command this is. */
  readonly kind: "punch";
  /** The peer's WireGuard key. */
  readonly publicKey: string;
  /** How long the other side will try, milliseconds. */
  readonly windowMs: number;
  /** A number from 0 to 1 that the other side is told as well: what both decide by it they decide alike. */
  readonly coin: number;
  /** The candidates that the other side proved. */
  readonly candidates: readonly CandidateInfo[];
  /** As in {@linkcode SetCandidatesCommand}. */
  readonly nat?: string;
  /** As in {@linkcode SetCandidatesCommand}. */
  readonly relay?: boolean;
}

/** Replaces the addresses that gateways forward to our port: candidates of the kind `portMapped`. */
export interface SetMappedCommand {
  /** Which command this is. */
  readonly kind: "setMapped";
  /** `host:port` each. */
  readonly addresses: readonly string[];
}

/** The system's network interfaces have changed, or it has slept: gather candidates again. */
export interface LinkChangedCommand {
  /** Which command this is. */
  readonly kind: "linkChanged";
}

/** Replaces this node's own mesh addresses. */
export interface SetAddressesCommand {
  /** Which command this is. */
  readonly kind: "setAddresses";
  /** Addresses as CIDRs. */
  readonly addresses: readonly string[];
}

/** Opens a TCP connection. Its slot gets ESTABLISHED or FAILED later. */
export interface ConnectStreamCommand {
  /** Which command this is. */
  readonly kind: "connectStream";
  /** Mesh address and port. */
  readonly remote: string;
}

/**
 * Joins an established stream to a kernel socket, and replies when that has ended. From the command to the reply the
 * socket and both rings of the slot belong to the Worker, which carries what they hold first; the main thread sets ABORT
 * to break it off. Afterwards the main thread closes the socket and sets RELEASED.
 */
export interface SpliceStreamCommand {
  /** Which command this is. */
  readonly kind: "spliceStream";
  /** Number of the stream's slot. */
  readonly slot: number;
  /** The socket: connected, and read and written by nobody else. It stays the main thread's to close. */
  readonly fd: number;
}

/** Accepts TCP connections on a port of every own mesh address. */
export interface ListenCommand {
  /** Which command this is. */
  readonly kind: "listen";
  /** 1 to 65535. */
  readonly port: number;
}

/** Accepts no more on a port. Connections already announced stay. */
export interface UnlistenCommand {
  /** Which command this is. */
  readonly kind: "unlisten";
  /** 1 to 65535. */
  readonly port: number;
}

/** Opens a UDP port on every own mesh address. Datagrams go through a slot that all UDP ports share. */
export interface BindDatagramsCommand {
  /** Which command this is. */
  readonly kind: "bindDatagrams";
  /** 1 to 65535. */
  readonly port: number;
}

/** Closes a UDP port. */
export interface CloseDatagramsCommand {
  /** Which command this is. */
  readonly kind: "closeDatagrams";
  /** 1 to 65535. */
  readonly port: number;
}

/** Asks how long a datagram to an address may be. */
export interface DatagramLimitCommand {
  /** Which command this is. */
  readonly kind: "datagramLimit";
  /** Mesh address and port. */
  readonly remote: string;
}

/** Sends one ICMP echo. */
export interface PingCommand {
  /** Which command this is. */
  readonly kind: "ping";
  /** Mesh address, without a port. */
  readonly address: string;
  /** Sequence number of the echo. */
  readonly sequence: number;
  /** How long to wait for the answer. */
  readonly timeoutMs: number;
}

/** Asks for the present state. */
export interface StatusCommand {
  /** Which command this is. */
  readonly kind: "status";
}

/** Ends every stream with `closed`, closes the sockets and ends the Worker after the reply. */
export interface StopCommand {
  /** Which command this is. */
  readonly kind: "stop";
}

/** A command without its id. */
export type CommandBody =
  | AddPeerCommand
  | RemovePeerCommand
  | SetCandidatesCommand
  | ConnectPeerCommand
  | PunchCommand
  | SetStunServersCommand
  | SetProbedCommand
  | SetMemberCommand
  | SetMappedCommand
  | LinkChangedCommand
  | RegatherCommand
  | SetPolicyCommand
  | SetAddressesCommand
  | ConnectStreamCommand
  | SpliceStreamCommand
  | ListenCommand
  | UnlistenCommand
  | BindDatagramsCommand
  | CloseDatagramsCommand
  | DatagramLimitCommand
  | PingCommand
  | SetRelaysCommand
  | RelayFailedCommand
  | StatusCommand
  | StopCommand;

/** A command as it stands in the ring. */
export type Command = CommandBody & {
  /** Names the command in its reply; never used twice by one arena. */
  readonly id: number;
};

/** The names of all commands. */
export type CommandKind = CommandBody["kind"];

/** The `value` of the reply to `connectStream`. */
export interface ConnectedStream {
  /** Number of the stream's slot. */
  readonly slot: number;
  /** Our end, `host:port`. */
  readonly local: string;
}

/** The `value` of the reply to `bindDatagrams`. */
export interface DatagramSlot {
  /** Number of the slot that all UDP ports share; its rings hold frames (`datagram_ring.ts`). */
  readonly slot: number;
}

/** The `value` of the reply to `spliceStream`. */
export interface SplicedStream {
  /** Bytes that went from the socket into the mesh. */
  readonly toMesh: number;
  /** Bytes that went from the mesh into the socket. */
  readonly toSocket: number;
  /** `complete`: both directions reached their end. `failed`: the stream or the socket broke. `aborted`: by ABORT. */
  readonly end: "complete" | "failed" | "aborted";
  /** What broke, for a person, where `end` is `failed`. */
  readonly reason?: string;
}

/** The `value` of the reply to each command that has one; the others' replies have none. */
export interface CommandValues extends Record<CommandKind, unknown> {
  /** Nothing. */
  readonly addPeer: undefined;
  /** Nothing. */
  readonly removePeer: undefined;
  /** Nothing. */
  readonly setCandidates: undefined;
  /** Nothing. */
  readonly connectPeer: undefined;
  /** Nothing. */
  readonly punch: undefined;
  /** Nothing. */
  readonly setStunServers: undefined;
  /** Nothing. */
  readonly setProbed: undefined;
  /** Nothing. */
  readonly setMember: undefined;
  /** Nothing. */
  readonly setMapped: undefined;
  /** Nothing. */
  readonly linkChanged: undefined;
  /** Nothing. */
  readonly regather: undefined;
  /** Nothing. */
  readonly setPolicy: undefined;
  /** Nothing. */
  readonly setAddresses: undefined;
  /** The slot. */
  readonly connectStream: ConnectedStream;
  /** How it went. */
  readonly spliceStream: SplicedStream;
  /** Nothing. */
  readonly listen: undefined;
  /** Nothing. */
  readonly unlisten: undefined;
  /** The slot. */
  readonly bindDatagrams: DatagramSlot;
  /** Nothing. */
  readonly closeDatagrams: undefined;
  /** Bytes of payload, for the path that the address's peer is reached by now. */
  readonly datagramLimit: number;
  /** Round trip in milliseconds; `null` if no answer came in time. */
  readonly ping: number | null;
  /** Nothing. */
  readonly setRelays: undefined;
  /** Nothing. */
  readonly relayFailed: undefined;
  /** The state. */
  readonly status: DatapathStatus;
  /** Nothing. */
  readonly stop: undefined;
}

/** A peer in {@linkcode DatapathStatus}. */
export interface DatapathPeerStatus {
  /** The peer's WireGuard key. */
  readonly publicKey: string;
  /** The outer address that packets go to, `host:port`; `null` without one. */
  readonly endpoint: string | null;
  /** When the last handshake completed; `null` before the first. */
  readonly lastHandshakeAtMs: number | null;
  /** Bytes of inner packets received. */
  readonly rxBytes: number;
  /** Bytes of inner packets sent. */
  readonly txBytes: number;
  /** Whether there is a live session. */
  readonly connected: boolean;
  /** Why the path is what it is, where it is not direct: one sentence for a person. */
  readonly reason: string | null;
  /** Smoothed round trip in milliseconds; `null` until measured. */
  readonly rttMs: number | null;
  /** Whether a relay is in between. Absent: no. */
  readonly relayed?: boolean;
  /** Largest inner packet in bytes that the path carries; absent where it is not known. */
  readonly mtu?: number;
  /** What of it the policy has refused here. Absent: nothing. */
  readonly refused?: RefusedStatus;
  /** Every way to it that is known, the one in use first. Absent for a plain WireGuard peer. */
  readonly paths?: readonly PathDetail[];
}

/** The `value` of the reply to `status`. */
export interface DatapathStatus {
  /** UDP port of WireGuard and STUN. */
  readonly wgPort: number;
  /** `portable` or `fast`, and why where it was not chosen freely. */
  readonly driver: string;
  /** `native`, or `wasm` and why where it was not chosen. */
  readonly cipher: string;
  /** The kernel's interface that leads into the tunnel; `null` for none. */
  readonly tun: string | null;
  /** The addresses that the UDP sockets are bound to, `host:port`, one per family. */
  readonly localEndpoints: readonly string[];
  /** The NAT in front of this node. */
  readonly nat: NatStatus;
  /** Our own candidates, best first. */
  readonly candidates: readonly CandidateInfo[];
  /** Every server and peer that is asked by STUN. */
  readonly stunServers: readonly StunServerReport[];
  /** Every relay. */
  readonly relays: readonly RelayStatus[];
  /** Every peer. */
  readonly peers: readonly DatapathPeerStatus[];
  /** Packets dropped and other events, by name; only what is not zero. */
  readonly counters: Readonly<Record<string, number>>;
}

/** A command's success. */
export interface OkReply {
  /** Which event this is. */
  readonly kind: "reply";
  /** The command's id. */
  readonly id: number;
  /** It worked. */
  readonly ok: true;
  /** As {@linkcode CommandValues} says. */
  readonly value?: unknown;
}

/** A command's failure. */
export interface FailedReply {
  /** Which event this is. */
  readonly kind: "reply";
  /** The command's id. */
  readonly id: number;
  /** It did not work. */
  readonly ok: false;
  /** What kind of failure. */
  readonly code: ErrorCode;
  /**
   * The reason in one line, for a person, as a clause without the command's subject: "no peer has this address".
   * The main thread puts "Cannot connect to 10.42.0.7:80: " in front.
   */
  readonly message: string;
}

/** The one answer to a command. */
export type Reply = OkReply | FailedReply;

/** A listener's port got a connection. Its slot has ESTABLISHED already. */
export interface AcceptedEvent {
  /** Which event this is. */
  readonly kind: "accepted";
  /** The port listened on. */
  readonly port: number;
  /** Number of the stream's slot. */
  readonly slot: number;
  /** The other end. */
  readonly remote: string;
  /** Our end. */
  readonly local: string;
}

/** Our own candidates or the NAT classification have changed. */
export interface CandidatesChangedEvent {
  /** Which event this is. */
  readonly kind: "candidatesChanged";
  /** All of our own, best first. */
  readonly candidates: readonly CandidateInfo[];
  /** The NAT in front of this node. */
  readonly nat: NatStatus;
}

/** A valid handshake initiation came from a key that is no peer. */
export interface UnknownPeerEvent {
  /** Which event this is. */
  readonly kind: "unknownPeer";
  /** The key. */
  readonly publicKey: string;
  /** Where it came from. */
  readonly source: string;
}

/** A session with a peer began. */
export interface PeerConnectedEvent {
  /** Which event this is. */
  readonly kind: "peerConnected";
  /** The peer's key. */
  readonly publicKey: string;
  /** The outer address in use. */
  readonly remote: string;
  /** Whether a relay is in between. Absent: no. */
  readonly relayed?: boolean;
}

/** The session with a peer ended without another. */
export interface PeerLostEvent {
  /** Which event this is. */
  readonly kind: "peerLost";
  /** The peer's key. */
  readonly publicKey: string;
}

/** Packets to a peer go elsewhere now. */
export interface PeerMovedEvent {
  /** Which event this is. */
  readonly kind: "peerMoved";
  /** The peer's key. */
  readonly publicKey: string;
  /** The outer address in use. */
  readonly remote: string;
  /** Whether a relay is in between. Absent: no. */
  readonly relayed?: boolean;
}

/** Nothing is heard from a connected peer although there is reason to: its path may be dead. */
export interface PeerDoubtedEvent {
  /** Which event this is. */
  readonly kind: "peerDoubted";
  /** The peer's key. */
  readonly publicKey: string;
}

/** A peer that was doubted is heard from again. */
export interface PeerTrustedEvent {
  /** Which event this is. */
  readonly kind: "peerTrusted";
  /** The peer's key. */
  readonly publicKey: string;
}

/** The system has told of a change of its interfaces, addresses or default routes. The main thread decides what follows. */
export interface LinksChangedEvent {
  /** Which event this is. */
  readonly kind: "linksChanged";
}

/** A line for the node's log. */
export interface LogEvent {
  /** Which event this is. */
  readonly kind: "log";
  /** As in {@linkcode Log}. */
  readonly level: Parameters<Log>[0];
  /** One line without secrets. */
  readonly message: string;
  /** Values that go with it, without secrets. */
  readonly fields?: Readonly<Record<string, string | number | boolean | null>>;
}

/** The Worker cannot go on; it is the last event. */
export interface FatalEvent {
  /** Which event this is. */
  readonly kind: "fatal";
  /** Why, in one line. */
  readonly message: string;
}

/** What the Worker says, as it stands in the ring. */
export type DatapathEvent =
  | Reply
  | AcceptedEvent
  | CandidatesChangedEvent
  | StunSilentEvent
  | StunRefusedEvent
  | VouchedEvent
  | UnknownPeerEvent
  | PeerConnectedEvent
  | PeerLostEvent
  | PeerMovedEvent
  | PeerDoubtedEvent
  | PeerTrustedEvent
  | LinksChangedEvent
  | RelaysChangedEvent
  | RelayConnectEvent
  | LogEvent
  | FatalEvent;
