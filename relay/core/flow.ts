/** What the relay's core and the sockets around it say to each other. @module */
import type { Family, SocketAddress } from "../../core/mod.ts";

/** How a client speaks to the relay. */
export type RelayProtocol = "udp" | "tcp" | "tls" | "websocket";

/** One client's way to the relay: its 5-tuple. The same object for as long as it is in use. */
export interface Flow {
  /** Unlike that of any other flow that is in use. */
  readonly key: string;
  /** What carries it. */
  readonly protocol: RelayProtocol;
  /** The client as the relay sees it. */
  readonly source: SocketAddress;
}

/** Datagrams of equal size, the last maybe shorter, that lie one after another. Borrowed for the call. */
export interface Train {
  /** All of them. */
  readonly bytes: Uint8Array;
  /** Size of each but the last. */
  readonly segment: number;
  /** Bytes at the head of each that are left out when it goes on. */
  readonly skip: number;
}

/** What the core has others do. Each call is over when it returns, and nothing that it is given may be kept. */
export interface RelaySink {
  /** Sends a STUN message to a client. */
  sendMessage(flow: Flow, message: Uint8Array): void;
  /** Sends datagrams to a client, each behind a ChannelData header. */
  sendChannelData(flow: Flow, channel: number, train: Train): void;
  /** Sends datagrams to a peer from a relayed address; `whole`: better lost than split on their way. */
  sendToPeer(relayed: number, peer: SocketAddress, train: Train, whole: boolean): void;
  /** Opens a relayed transport address on a port and returns its number; `undefined` if that port cannot be had. */
  openRelayed(family: Family, port: number): number | undefined;
  /** Closes one. */
  closeRelayed(relayed: number): void;
  /** The relay is done with a flow: a stream may be closed. */
  endFlow(flow: Flow): void;
}

/** How many datagrams a train has. */
export function trainLength({ bytes, segment }: Train): number {
  return segment >= bytes.length ? 1 : Math.ceil(bytes.length / segment);
}
