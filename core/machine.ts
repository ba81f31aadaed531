/**
 * The vocabulary that every protocol machine in this repository speaks.
 *
 * A machine holds protocol state and nothing else. It opens no socket, reads no clock and draws no
 * randomness: time, bytes and entropy are arguments. After each `handle*` call the owner drains
 * `pollEvent` and `pollTransmit`, then sleeps until `pollTimeout`.
 *
 * @module
 */
import type { SocketAddress } from "./address.ts";

/** A point on the node's monotonic clock, in milliseconds since an arbitrary start. Fractions allowed. */
export type Instant = number & { readonly Instant: unique symbol };

/** A UDP payload and where it came from. */
export interface Datagram {
  /** The sender as the socket saw it. */
  readonly source: SocketAddress;
  /** The UDP payload, borrowed for the call. */
  readonly payload: Uint8Array;
}

/** A UDP payload and where it must go. */
export interface Transmit {
  /** The receiver. */
  readonly destination: SocketAddress;
  /** The UDP payload. */
  readonly payload: Uint8Array;
}

/** The source of monotonic time. Read only by the I/O shell. */
export interface Clock {
  /** The current instant; never smaller than one returned before. */
  now(): Instant;
}

/** The source of entropy. Seeded in tests, the system's in production. */
export interface Rng {
  /** Returns `length` fresh random bytes. */
  bytes(length: number): Uint8Array;
}

/** A protocol state machine driven from outside. */
export interface Machine<Event> {
  /** Offers a datagram. Returns whether the machine recognised it as its own. */
  handleInput(now: Instant, datagram: Datagram): boolean;
  /** Advances time. A call before {@linkcode Machine.pollTimeout} is due does nothing. */
  handleTimeout(now: Instant): void;
  /** Takes the next event, until `undefined`. */
  pollEvent(): Event | undefined;
  /** Takes the next datagram to send, until `undefined`. */
  pollTransmit(): Transmit | undefined;
  /** The instant at which `handleTimeout` must be called, or `undefined` for never. */
  pollTimeout(): Instant | undefined;
}

/** Returns the instant `ms` milliseconds after `instant`. */
export function after(instant: Instant, ms: number): Instant {
  return (instant + ms) as Instant;
}

/** Returns the earlier of two optional instants. */
export function earlier(a: Instant | undefined, b: Instant | undefined): Instant | undefined {
  if (a === undefined) return b;
  if (b === undefined) return a;
  return a < b ? a : b;
}
