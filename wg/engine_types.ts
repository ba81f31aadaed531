/** What the engine's binding takes and gives. @module */
import type { Instant, SocketAddress } from "../core/mod.ts";
import type { TunWriter } from "./tun_exchange.ts";
import type { UdpTaker } from "./udp_exchange.ts";

/** A peer's number inside one engine. Reused after removal. */
export type PeerId = number & { readonly PeerId: unique symbol };
/** A stream's number inside one engine. Reused after release. */
export type StreamId = number & { readonly StreamId: unique symbol };

/** An address, and the local end that datagrams to it leave from. */
export interface EnginePath {
  /** Which socket of the host's: 0 for the node's own, at most 65,535. */
  readonly local: number;
  /** The other end. */
  readonly remote: SocketAddress;
}

/** How an engine is started. */
export interface EngineOptions {
  /** The time of the start. */
  readonly now: Instant;
  /** Our static private key, 32 bytes; copied, and cleared inside where it is not needed. */
  readonly privateKey: Uint8Array;
  /** Largest inner packet in bytes, at least 1280. @default 1280 */
  readonly mtu?: number;
}

/** A peer to add. */
export interface PeerOptions {
  /** Static public key, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Preshared key, 32 bytes. Absent: none. */
  readonly presharedKey?: Uint8Array;
  /** Persistent keepalive in seconds, 0 for none. */
  readonly keepaliveSeconds: number;
  /** True: the endpoint moves as told only, except where there is none yet. False: as the WireGuard paper says. */
  readonly hostRoams: boolean;
}

/** Datagrams of equal size to one address. */
export interface TransmitRun {
  /** All of them, one after another. Valid during the call only. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Size of each but the last. */
  readonly segment: number;
  /** Whom they are for; `undefined` for an answer to a stranger. */
  readonly peer: PeerId | undefined;
  /** Whether this is one handshake initiation, whose destinations the caller may choose. */
  readonly initiation: boolean;
  /** Whether this is one probe, which must not be split on its way. */
  readonly probe: boolean;
  /** Where to; `undefined` only for an initiation to a peer without endpoint. */
  readonly to: SocketAddress | undefined;
  /** The local end that it leaves from; 0 for the node's own sockets. */
  readonly local: number;
}

/** What the engine reports. */
export type EngineEvent =
  /** A session exists and the peer holds it too. */
  | {
    readonly kind: "handshake";
    readonly peer: PeerId;
    readonly from: SocketAddress;
    readonly local: number;
  }
  /** A packet was authenticated; at most every 500 ms for one path. */
  | {
    readonly kind: "heard";
    readonly peer: PeerId;
    readonly from: SocketAddress;
    readonly local: number;
  }
  /** The peer has answered a probe; the answer came from there. */
  | {
    readonly kind: "probeReply";
    readonly peer: PeerId;
    readonly sequence: number;
    readonly from: SocketAddress;
    readonly local: number;
  }
  /** The peer has sent its first probe of a session from there: it knows probes. */
  | {
    readonly kind: "probed";
    readonly peer: PeerId;
    readonly from: SocketAddress;
    readonly local: number;
  }
  /** A valid initiation from a key that is no peer. */
  | {
    readonly kind: "unknownPeer";
    readonly publicKey: Uint8Array;
    readonly from: SocketAddress;
    readonly local: number;
  }
  /** A stream may have bytes, room or another state. */
  | { readonly kind: "stream"; readonly stream: StreamId }
  /** A connection arrived at a port listened on. */
  | {
    readonly kind: "accepted";
    readonly stream: StreamId;
    readonly port: number;
    readonly remote: SocketAddress;
  }
  /** The policy has refused a peer's packet to one of our ports; at most one a second for each peer. */
  | {
    readonly kind: "policyRefused";
    readonly peer: PeerId;
    /** IP protocol number. */
    readonly protocol: number;
    /** Destination port; 0 where there is none. */
    readonly port: number;
  }
  /** An echo reply. */
  | { readonly kind: "echoReply"; readonly sequence: number; readonly from: string };

/** Ports of this node that a peer may reach. */
export interface ReachablePorts {
  /** Which protocol; `any` is every one. */
  readonly protocol: "any" | "tcp" | "udp" | "icmp";
  /** The first port, 0 to 65535; without meaning for `any` and `icmp`. */
  readonly first: number;
  /** The last one. */
  readonly last: number;
}

/** How many packets of a peer the policy did not let pass. */
export interface PeerRefusals {
  /** To ports that it may not reach. */
  readonly policy: number;
  /** Fragments of datagrams that did not pass. */
  readonly fragment: number;
  /** Packets whose ports cannot be read. */
  readonly malformed: number;
  /** Answers and ICMP errors that belong to nothing. */
  readonly stray: number;
}

/** Why a stream could not be opened. */
export type ConnectRefusal = "noRoute" | "full" | "noAddress";

/** The state of a stream. */
export interface StreamState {
  /** The handshake is done. */
  readonly established: boolean;
  /** Nothing more will come, and everything was read. */
  readonly receiveFinished: boolean;
  /** The connection is over. */
  readonly closed: boolean;
  /** Why it ended early. */
  readonly error: "refused" | "reset" | "timedOut" | "aborted" | "prohibited" | undefined;
}

/** A peer's figures. */
export interface PeerFigures {
  /** Milliseconds since the last handshake; `undefined` before the first. */
  readonly handshakeAgeMs: number | undefined;
  /** Bytes of inner packets sent. */
  readonly txBytes: number;
  /** Bytes of inner packets received. */
  readonly rxBytes: number;
  /** Where encrypted packets go. */
  readonly endpoint: SocketAddress | undefined;
  /** The local end that they leave from. */
  readonly local: number;
}

/** Receives what {@linkcode Engine.poll} has to say. */
export interface EngineSink {
  /** Sends a run. */
  transmit(run: TransmitRun): void;
  /** Takes an event. */
  event(event: EngineEvent): void;
  /** Writes a packet to the kernel's interface. Absent where there is none. */
  readonly tun?: TunWriter;
  /** Takes what has arrived for UDP ports. Absent where there are none. */
  readonly datagrams?: UdpTaker;
}
