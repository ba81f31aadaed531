/** How much the relay gives to whom. @module */
import { assert, type Instant } from "../../core/mod.ts";

/** A limit in rate. 0 is none. */
export interface RelayRate {
  /** Payload relayed in both directions together. */
  readonly bytesPerSecond: number;
  /** Datagrams relayed in both directions together. */
  readonly packetsPerSecond: number;
}

/** Whom a limit is for: one session, all sessions of a key, all of a mesh, everybody. */
export type ScopeKind = "session" | "key" | "mesh" | "total";

/** What one of these may have. */
export interface ScopeLimits extends RelayRate {
  /** Allocations at once. */
  readonly allocationsMax: number;
}

/** Every limit of a relay. */
export interface RelayLimits {
  /** By whom they are for. */
  readonly scopes: Readonly<Record<ScopeKind, ScopeLimits>>;
  /** Peers' addresses that one allocation may have permissions for. */
  readonly permissionsMax: number;
  /** Channels that one allocation may have bound. */
  readonly channelsMax: number;
  /** Ports held for RESERVATION-TOKENs. */
  readonly reservationsMax: number;
  /** Answers per second to one source that has not proven that it receives them. */
  readonly unprovenPerSecond: number;
  /** The same, at once after a rest. */
  readonly unprovenBurst: number;
  /** Requests per second on one allocation. */
  readonly requestsPerSecond: number;
}

const NO_RATE: RelayRate = { bytesPerSecond: 0, packetsPerSecond: 0 };

/** What holds where nothing else is asked for. A node needs one allocation, and a second one while it moves. */
export const RELAY_LIMITS: RelayLimits = {
  scopes: {
    session: { ...NO_RATE, allocationsMax: 8 },
    key: { ...NO_RATE, allocationsMax: 32 },
    mesh: { ...NO_RATE, allocationsMax: 4096 },
    total: { ...NO_RATE, allocationsMax: 8192 },
  },
  permissionsMax: 1024,
  channelsMax: 1024,
  reservationsMax: 256,
  unprovenPerSecond: 200,
  unprovenBurst: 1000,
  requestsPerSecond: 100,
};

/** What a rate allows at once: a quarter of a second, but at least a train of datagrams. */
const BURST_SECONDS = 0.25;
const BURST_BYTES_MIN = 128 << 10;
const BURST_PACKETS_MIN = 128;

/** Holds a rate. */
export class RateGate {
  readonly #rate: RelayRate;
  readonly #burst: RelayRate;
  #bytes: number;
  #packets: number;
  #countedAt: Instant;

  /** Full at first. */
  constructor(now: Instant, rate: RelayRate) {
    this.#rate = rate;
    this.#burst = {
      bytesPerSecond: Math.max(BURST_BYTES_MIN, rate.bytesPerSecond * BURST_SECONDS),
      packetsPerSecond: Math.max(BURST_PACKETS_MIN, rate.packetsPerSecond * BURST_SECONDS),
    };
    this.#bytes = this.#burst.bytesPerSecond;
    this.#packets = this.#burst.packetsPerSecond;
    this.#countedAt = now;
  }

  /** Whether anything is limited. */
  get isLimited(): boolean {
    return this.#rate.bytesPerSecond > 0 || this.#rate.packetsPerSecond > 0;
  }

  /** Whether so much may pass now; {@linkcode RateGate.take} takes it. */
  admits(now: Instant, bytes: number, packets: number): boolean {
    const seconds = Math.max(0, now - this.#countedAt) / 1000;
    this.#countedAt = now;
    const { bytesPerSecond, packetsPerSecond } = this.#rate;
    this.#bytes = Math.min(this.#burst.bytesPerSecond, this.#bytes + seconds * bytesPerSecond);
    this.#packets = Math.min(
      this.#burst.packetsPerSecond,
      this.#packets + seconds * packetsPerSecond,
    );
    return (bytesPerSecond === 0 || this.#bytes >= bytes) &&
      (packetsPerSecond === 0 || this.#packets >= packets);
  }

  /** Takes what was admitted. */
  take(bytes: number, packets: number): void {
    this.#bytes -= bytes;
    this.#packets -= packets;
  }
}

/** One session, key or mesh with allocations, or all. */
export class Scope {
  /** Which kind. */
  readonly kind: ScopeKind;
  /** Its name among its kind. */
  readonly name: string;
  /** What it may relay. */
  readonly gate: RateGate;
  /** Allocations that it has. */
  allocations = 0;

  /** Without allocations. */
  constructor(now: Instant, { kind, name, rate }: {
    readonly kind: ScopeKind;
    readonly name: string;
    readonly rate: RelayRate;
  }) {
    this.kind = kind;
    this.name = name;
    this.gate = new RateGate(now, rate);
  }
}

/** Everybody with allocations; bounded by the allocations, of which each is in at most four scopes. */
export class ScopeTable {
  readonly #limits: RelayLimits["scopes"];
  readonly #scopes = new Map<string, Scope>();

  /** Empty. */
  constructor(limits: RelayLimits["scopes"]) {
    this.#limits = limits;
  }

  /** The scopes of a session for one more allocation, or which kind of them is full. */
  enter(now: Instant, session: string): readonly Scope[] | ScopeKind {
    const scopes = scopeNames(session).map(([kind, name]) => this.#scope(now, kind, name));
    const full = scopes.find(({ kind, allocations }) =>
      allocations >= this.#limits[kind].allocationsMax
    );
    if (full !== undefined) {
      for (const scope of scopes) this.#drop(scope);
      return full.kind;
    }
    for (const scope of scopes) scope.allocations++;
    return scopes;
  }

  /** Gives back what {@linkcode ScopeTable.enter} has given. */
  leave(scopes: readonly Scope[]): void {
    for (const scope of scopes) {
      assert(scope.allocations > 0, "an allocation leaves the scopes that it has entered, once");
      scope.allocations--;
      this.#drop(scope);
    }
  }

  #scope(now: Instant, kind: ScopeKind, name: string): Scope {
    const key = `${kind} ${name}`;
    const known = this.#scopes.get(key);
    if (known !== undefined) return known;
    const scope = new Scope(now, { kind, name, rate: this.#limits[kind] });
    this.#scopes.set(key, scope);
    return scope;
  }

  #drop(scope: Scope): void {
    if (scope.allocations === 0) this.#scopes.delete(`${scope.kind} ${scope.name}`);
  }
}

/**
 * The scopes that a session is in. `mesh.key.random` tells its mesh and key by tags, which Discovery writes and the relay only
 * compares; any other session is by itself.
 */
export function scopeNames(session: string): readonly (readonly [ScopeKind, string])[] {
  const parts = session.split(".");
  const own = [["session", session], ["total", ""]] as const;
  const [mesh, key] = parts;
  if (parts.length !== 3) return own;
  return [...own, ["key", `${mesh}.${key}`], ["mesh", mesh ?? ""]];
}

/** Whether a session is of the mesh with this tag. */
export function isOfMesh(session: string, tag: string): boolean {
  return scopeNames(session).some(([kind, name]) => kind === "mesh" && name === tag);
}
