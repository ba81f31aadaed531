/** What the main thread and the datapath Worker say to each other about STUN. Part of `protocol.ts`. @module */
import type { NatFacts, StunCredentials } from "../../traversal/mod.ts";

/** A STUN server. */
export interface StunServerInfo {
  /** Its literal address, `host:port`. */
  readonly address: string;
  /** Who named it: `configured`, `discovery` or `default`. */
  readonly origin: string;
  /** What the server wants to see signed, beyond telling an address. Absent: it gets no signed request. */
  readonly credentials?: StunCredentials;
}

/** Replaces the STUN servers. */
export interface SetStunServersCommand {
  /** Which command this is. */
  readonly kind: "setStunServers";
  /** The servers: names are resolved before. */
  readonly servers: readonly StunServerInfo[];
}

/** Takes what was found out about the NAT by sockets beside the node's own. */
export interface SetProbedCommand {
  /** Which command this is. */
  readonly kind: "setProbed";
  /** What the NAT does. Absent: it is not known any more. */
  readonly nat?: NatFacts;
  /** How often a mapping has to be used, in milliseconds, at least 1000. Absent: as often as usual. */
  readonly keepaliveMs?: number;
}

/** Gives a node of the mesh what it and we sign STUN requests to each other with. */
export interface SetMemberCommand {
  /** Which command this is. */
  readonly kind: "setMember";
  /** The peer's WireGuard key. */
  readonly publicKey: string;
  /** For our requests to the peer. */
  readonly asks: StunCredentials;
  /** For the peer's requests to us. */
  readonly answers: StunCredentials;
}

/** Asks the STUN servers again: the NAT may have forgotten this node. Peers stay as they are. */
export interface RegatherCommand {
  /** Which command this is. */
  readonly kind: "regather";
  /** Whether what they told before counts on: nothing is known to have happened, but something may have. @default false */
  readonly recheck?: boolean;
}

/** No STUN server has answered for some seconds. */
export interface StunSilentEvent {
  /** Which event this is. */
  readonly kind: "stunSilent";
}

/** A STUN server vouches for an address of ours. */
export interface VouchedEvent {
  /** Which event this is. */
  readonly kind: "vouched";
  /** The address. */
  readonly address: string;
  /** What it vouches with, base64. */
  readonly receipt: string;
}

/** A STUN server does not take the credentials that Discovery gave for it. */
export interface StunRefusedEvent {
  /** Which event this is. */
  readonly kind: "stunRefused";
}
