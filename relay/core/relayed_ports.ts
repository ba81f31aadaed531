/** Which relayed ports are open, and the choice of the next one: at random, so that nobody can guess it (RFC 8656 section 7.2). @module */
import { after, type Family, formatHex, type Instant, type Rng } from "../../core/mod.ts";
import type { RelaySink } from "./flow.ts";

/** Ports that are tried before there counts as none: others on this machine may hold some. */
const ATTEMPTS_MAX = 64;
/** How long a port is held for whoever has its RESERVATION-TOKEN (RFC 8656 section 7.2 wants at least 30 s). */
export const RESERVATION_MS = 30_000;
const TOKEN_BYTES = 8;

/** An open port. */
export interface OpenPort {
  /** Its number at the sockets. */
  readonly number: number;
  /** The port. */
  readonly port: number;
  /** Its family. */
  readonly family: Family;
}

/** A range of ports, both ends included. */
export interface PortRange {
  /** The lowest. */
  readonly first: number;
  /** The highest. */
  readonly last: number;
}

/** Options of {@linkcode RelayedPorts}. */
export interface RelayedPortsOptions {
  /** Opens and closes the sockets. */
  readonly sink: RelaySink;
  /** Chooses. */
  readonly rng: Rng;
  /** Where from. */
  readonly range: PortRange;
  /** Ports held for tokens at most. */
  readonly reservationsMax: number;
}

/** The ports of a relay. */
export class RelayedPorts {
  readonly #options: RelayedPortsOptions;
  readonly #open = { 4: new Set<number>(), 6: new Set<number>() } as const;
  /** By token. */
  readonly #reserved = new Map<string, OpenPort & { readonly until: Instant }>();

  /** None open. */
  constructor(options: RelayedPortsOptions) {
    this.#options = options;
  }

  /** Ports that are open, reserved ones included. */
  get size(): number {
    return this.#open[4].size + this.#open[6].size;
  }

  /** Opens a port of a family; `undefined` if none can be had. */
  take(family: Family): OpenPort | undefined {
    for (const port of this.#candidates(family, 1)) {
      const open = this.#tryOpen(family, port);
      if (open !== undefined) return open;
    }
    return undefined;
  }

  /** Opens an even port, and with `reserve` the next higher one too, which the token then gives. */
  takeEven(
    now: Instant,
    family: Family,
    reserve: boolean,
  ): { readonly port: OpenPort; readonly token: Uint8Array | undefined } | undefined {
    if (reserve && this.#reserved.size >= this.#options.reservationsMax) return undefined;
    for (const number of this.#candidates(family, 2)) {
      const port = this.#tryOpen(family, number);
      if (port === undefined) continue;
      if (!reserve) return { port, token: undefined };
      const next = this.#tryOpen(family, number + 1);
      if (next === undefined) {
        this.close(port);
        continue;
      }
      const token = this.#options.rng.bytes(TOKEN_BYTES);
      this.#reserved.set(formatHex(token), { ...next, until: after(now, RESERVATION_MS) });
      return { port, token };
    }
    return undefined;
  }

  /** The port that a token stands for, which is then no longer reserved. */
  redeem(now: Instant, token: Uint8Array): OpenPort | undefined {
    const key = formatHex(token);
    const reserved = this.#reserved.get(key);
    if (reserved === undefined || now >= reserved.until) return undefined;
    this.#reserved.delete(key);
    return reserved;
  }

  /** Closes a port. */
  close({ family, port, number }: OpenPort): void {
    this.#open[family].delete(port);
    this.#options.sink.closeRelayed(number);
  }

  /** Gives up reservations that nobody came for. */
  sweep(now: Instant): void {
    for (const [token, reserved] of this.#reserved) {
      if (now < reserved.until) continue;
      this.#reserved.delete(token);
      this.close(reserved);
    }
  }

  /** Every port of the range that is a multiple of `step`, from a random one on, {@linkcode ATTEMPTS_MAX} at most that are not ours. */
  *#candidates(family: Family, step: 1 | 2): Generator<number, void> {
    const first = Math.ceil(this.#options.range.first / step) * step;
    const count = Math.floor((this.#options.range.last - first) / step) + 1;
    if (count <= 0) return;
    const [a = 0, b = 0, c = 0] = this.#options.rng.bytes(3);
    const start = (a << 16 | b << 8 | c) % count;
    let attempts = 0;
    for (let i = 0; i < count && attempts < ATTEMPTS_MAX; i++) {
      const port = first + (start + i) % count * step;
      if (this.#open[family].has(port)) continue;
      attempts++;
      yield port;
    }
  }

  #tryOpen(family: Family, port: number): OpenPort | undefined {
    if (port > this.#options.range.last || this.#open[family].has(port)) return undefined;
    const number = this.#options.sink.openRelayed(family, port);
    if (number === undefined) return undefined;
    this.#open[family].add(port);
    return { number, port, family };
  }
}
