/** Clients that speak UDP, and what carries their datagrams. @module */
import { type Family, formatSocketAddress, type SocketAddress } from "../../core/mod.ts";
import type { Flow, Train } from "../core/flow.ts";

/** Flows remembered per listener, so that a datagram costs no text; when full, all are forgotten. */
const FLOWS_MAX = 4096;

/** A client of a UDP listener. */
export interface UdpFlow extends Flow {
  readonly protocol: "udp";
  /** Number of the listener. */
  readonly listener: number;
}

/** Takes what UDP sockets receive. Datagrams are of `segment` bytes each, the last maybe shorter, borrowed for the call. */
export interface UdpTaker {
  /** Datagrams of a client. */
  onClient(flow: UdpFlow, bytes: Uint8Array, segment: number): void;
  /** Datagrams that came to a relayed address. */
  onPeer(relayed: number, source: SocketAddress, bytes: Uint8Array, segment: number): void;
}

/** The UDP sockets of a relay: listeners, and one socket for each relayed address. */
export interface UdpSockets {
  /** Which kind: `fast`, or `portable` with the reason where it was not chosen. */
  readonly name: string;
  /** Where clients are listened to, with the ports that the system chose. */
  readonly listening: readonly SocketAddress[];
  /** Whether a datagram can be sent so that nobody splits it. */
  readonly canForbidSplitting: boolean;
  /** Resolves once they are closed; rejects if they broke. */
  readonly finished: Promise<void>;
  /** Sends one datagram to a client. */
  sendMessage(flow: UdpFlow, message: Uint8Array): void;
  /** Sends datagrams to a client, each behind a ChannelData header. */
  sendChannelData(flow: UdpFlow, channel: number, train: Train): void;
  /** Sends datagrams to a peer. */
  sendToPeer(relayed: number, peer: SocketAddress, train: Train, whole: boolean): void;
  /** Opens a relayed address; `undefined` if the port cannot be had. */
  openRelayed(family: Family, port: number): number | undefined;
  /** Closes one. */
  closeRelayed(relayed: number): void;
  /** Closes all. Safe to call twice. */
  close(): Promise<void>;
}

/** Options of both kinds of {@linkcode UdpSockets}. */
export interface UdpSocketsOptions {
  /** Where to listen for clients. */
  readonly listen: readonly SocketAddress[];
  /** What relayed sockets are bound to, by family. */
  readonly relayedIps: Readonly<Record<Family, string>>;
  /** Takes what comes. */
  readonly taker: UdpTaker;
}

/** The flows of one listener. */
export class UdpFlows {
  readonly #listener: number;
  readonly #flows = new Map<SocketAddress, UdpFlow>();

  /** The flows of the listener of this number. */
  constructor(listener: number) {
    this.#listener = listener;
  }

  /** The flow of a source; the same object as long as the source is. */
  find(source: SocketAddress): UdpFlow {
    const known = this.#flows.get(source);
    if (known !== undefined) return known;
    if (this.#flows.size >= FLOWS_MAX) this.#flows.clear();
    const key = `udp${this.#listener} ${formatSocketAddress(source)}`;
    const flow: UdpFlow = { key, protocol: "udp", listener: this.#listener, source };
    this.#flows.set(source, flow);
    return flow;
  }
}
