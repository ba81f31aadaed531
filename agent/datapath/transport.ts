/** What carries the datapath's datagrams: the contract that every driver keeps. @module */
import type { SocketAddress } from "../../core/mod.ts";

/** Sends datagrams; receiving is the driver's own business, which calls the datapath. */
export interface Transport {
  /** Name of the driver, for `status`: `fast`, or `portable` with the reason where it was not chosen. */
  readonly name: string;
  /** UDP port of the sockets. */
  readonly port: number;
  /** Addresses that the sockets are bound to, `host:port`. */
  readonly localEndpoints: readonly string[];
  /** True while so much waits to be sent that nothing more should be produced. */
  readonly busy: boolean;
  /**
   * Sends datagrams of `segment` bytes each, the last maybe shorter, that lie one after another in `bytes`, which is
   * borrowed for the call. What cannot be sent is dropped and counted, as the network would.
   */
  send(bytes: Uint8Array, segment: number, to: SocketAddress): void;
  /** What was dropped, by name. */
  counters(): Readonly<Record<string, number>>;
}
