/** What the main thread and the datapath Worker say to each other about relays. Part of `protocol.ts`. @module */

/** How a relay is spoken to. */
export type RelayTransportKind = "udp" | "tcp" | "tls" | "websocket";

/** TURN over UDP, TCP or TLS. */
export interface RelaySocketInfo {
  /** Which. */
  readonly kind: "udp" | "tcp" | "tls";
  /** Its literal address, `host:port`: names are resolved before. */
  readonly address: string;
  /** The name in the certificate, for `tls`. Absent: the address. */
  readonly serverName?: string;
}

/** TURN inside a WebSocket. */
export interface RelayWebSocketInfo {
  /** Which. */
  readonly kind: "websocket";
  /** `ws:` or `wss:`; the name stays a name, since a proxy may resolve it. */
  readonly url: string;
}

/** One way to speak to a relay. */
export type RelayTransportInfo = RelaySocketInfo | RelayWebSocketInfo;

/** A relay and what opens it. */
export interface RelayInfo {
  /** Names the relay among those of a node. */
  readonly id: string;
  /** The session at Discovery, for `ReleaseRelay`. */
  readonly sessionId: string;
  /** Best first. */
  readonly transports: readonly RelayTransportInfo[];
  /** What USERNAME says. */
  readonly username: string;
  /** A secret: in no log, error or status. */
  readonly password: string;
  /** Until when the credentials count, milliseconds since 1970. */
  readonly expiresAtMs: number;
  /** Most bytes per second that are sent through it. Absent or 0: not limited. */
  readonly bandwidthBytesPerSecond?: number;
}

/**
 * Replaces the relays, best first; those over `RELAYS_MAX` are left out. A relay known by its id keeps its allocation, and signs with
 * the new credentials when the old ones are refused.
 */
export interface SetRelaysCommand {
  /** Which command this is. */
  readonly kind: "setRelays";
  /** All of them. None: every allocation is given back. */
  readonly relays: readonly RelayInfo[];
}

/** How a relay does. */
export interface RelayStatus {
  /** As in {@linkcode RelayInfo}. */
  readonly id: string;
  /** `ready`: it carries. `failed`: it is tried again later. */
  readonly state: "connecting" | "ready" | "failed";
  /** What carries, or was tried last; `null` before the first. */
  readonly transport: RelayTransportKind | null;
  /** The relayed addresses of this node, `host:port`, at most one per family. */
  readonly relayed: readonly string[];
  /** Round trip to the relay in milliseconds; `null` until measured. */
  readonly rttMs: number | null;
  /** Whether it is about to end, though it still carries: another is to be taken. Absent: no. */
  readonly draining?: boolean;
  /** What it says that a limit of its did not let through, either way, since the allocation was made. Absent: nothing. */
  readonly limited?: { readonly scope: string; readonly packets: number };
  /** The local ends that it is. Absent: none. */
  readonly locals?: readonly number[];
  /** Why it is not ready, for a person. */
  readonly reason?: string;
}

/** How the relays do has changed. Their addresses are in `candidatesChanged` too, as candidates of the kind `relayed`. */
export interface RelaysChangedEvent {
  /** Which event this is. */
  readonly kind: "relaysChanged";
  /** All of them, in the order of `setRelays`. */
  readonly relays: readonly RelayStatus[];
}

/**
 * Asks the main thread for a connection to a relay. Its bytes go through a slot of the arena as those of a stream do: the main
 * thread closes the slot when the connection has ended or cannot be had, the Worker when it wants it no more.
 */
export interface RelayConnectEvent {
  /** Which event this is. */
  readonly kind: "relayConnect";
  /** Number of the slot. */
  readonly slot: number;
  /** Where to, and how. */
  readonly transport: RelayTransportInfo;
}

/** Says why the connection in a slot has ended or cannot be had, before the slot is closed. */
export interface RelayFailedCommand {
  /** Which command this is. */
  readonly kind: "relayFailed";
  /** Number of the slot. */
  readonly slot: number;
  /** In one line, for a person. */
  readonly reason: string;
}
