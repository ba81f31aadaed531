/** What a node that relays for its mesh is given. @module */
import type { RelayState, RelayTransport } from "../discovery/mod.ts";
import type { Log } from "./options.ts";

/** `--offer-relay`: what a node with a public address does for the other nodes of its mesh. */
export interface RelayOfferOptions {
  /** Starts a relay: a node has none of its own, so that what relays and what holds keys stay apart. */
  readonly start: (spec: OfferedRelaySpec) => Promise<OfferedRelay>;
  /** UDP and TCP port for the other nodes; 0 lets the system choose. @default 0 */
  readonly port?: number;
  /** UDP ports that are given to them. @default 49152 to 65535 */
  readonly portRange?: { readonly first: number; readonly last: number };
  /** Most that is relayed for all together, both ways, in bytes a second. @default 1000000 */
  readonly bytesPerSecond?: number;
  /** Nodes served at once. @default 16 */
  readonly sessionsMax?: number;
  /** Relays at private addresses and to them too: for networks without an Internet. @default false */
  readonly allowPrivatePeers?: boolean;
}

/** How the relay is started. */
export interface OfferedRelaySpec {
  /** As in {@linkcode RelayOfferOptions}. */
  readonly port: number;
  /** The addresses at which others reach it, one of each family. */
  readonly externalIps: readonly string[];
  /** What the passwords are made of: for this relay alone. */
  readonly secret: string;
  /** What REALM says. */
  readonly realm: string;
  /** The tag of the mesh whose sessions are taken, and no others. */
  readonly onlyMesh: string;
  /** UDP ports of this machine that its clients may send to. */
  readonly ownPorts: readonly number[];
  /** As in {@linkcode RelayOfferOptions}. */
  readonly allowPrivatePeers: boolean;
  /** As in {@linkcode RelayOfferOptions}. */
  readonly bytesPerSecond: number;
  /** As in {@linkcode RelayOfferOptions}. */
  readonly sessionsMax: number;
  /** As in {@linkcode RelayOfferOptions}. */
  readonly portRange?: { readonly first: number; readonly last: number };
  /** Where the log goes. */
  readonly log: Log;
}

/** The relay. */
export interface OfferedRelay {
  /** Ways to it. */
  readonly transports: readonly RelayTransport[];
  /** Every listening address as `key=value`. */
  readonly listening: readonly string[];
  /** Resolves when it has stopped; rejects if it died. */
  readonly finished: Promise<void>;
  /** How it is doing, and what sessions carried since the last call. */
  report(): Promise<RelayState>;
  /** Ends sessions, and takes their credentials no more. */
  revoke(sessions: readonly string[]): void;
  /** Takes nobody new, and resolves when all have gone or after `ms`. */
  drain(ms: number): Promise<void>;
  /** Ends it. Safe to call twice. */
  stop(): Promise<void>;
}
