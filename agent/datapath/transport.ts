/** What carries the datapath's datagrams: the contract that every driver keeps. @module */
import type { SocketAddress } from "../../core/mod.ts";

/** Extra local ends that guesses have open at once, at most. */
export const GUESS_LOCALS_MAX = 256;
/** Extra local ends open at once, at most: two remain for a look at the NAT's ports, whatever guesses are under way. */
export const LOCALS_MAX = GUESS_LOCALS_MAX + 2;
/** The smallest number of a local end that is an allocation on a relay; those of sockets are below. */
export const RELAY_LOCAL_MIN = 0xf000;
/** The largest number of a local end with a socket. */
const LOCAL_MAX = RELAY_LOCAL_MIN - 1;

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
   * borrowed for the call, from the local end `local` (0, which is the default: the node's own). `whole`: they are better lost than
   * split on their way, as far as the driver can say so. What cannot be sent is dropped and counted, as the network would.
   */
  send(
    bytes: Uint8Array,
    segment: number,
    to: SocketAddress,
    local?: number,
    whole?: boolean,
  ): void;
  /**
   * Opens a further local end: a socket on a port of its own, for both families like the node's own. Its number, which is not soon used
   * again; `undefined` when {@linkcode LOCALS_MAX} are open, or where the driver has none to give, which is counted.
   */
  openLocal(): number | undefined;
  /** Closes a local end that was opened. */
  closeLocal(local: number): void;
  /** UDP port of a local end that is open. */
  localPort(local: number): number | undefined;
  /** What was dropped, by name. */
  counters(): Readonly<Record<string, number>>;
}

/** The number for a new local end: the one after `last` that is none of `taken`. */
export function nextLocal(last: number, taken: ReadonlyMap<number, unknown>): number {
  let local = last;
  do local = local % LOCAL_MAX + 1; while (taken.has(local));
  return local;
}
