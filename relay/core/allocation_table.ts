/** The allocations of a relay, found by their clients and by their relayed addresses. @module */
import { after, type Family, type Instant, type SocketAddress } from "../../core/mod.ts";
import type { Allocation, RelayedAddress, Traffic } from "./allocation.ts";
import type { Counters } from "./counters.ts";
import type { Flow } from "./flow.ts";
import type { ScopeTable } from "./limits.ts";
import type { OpenPort, RelayedPorts } from "./relayed_ports.ts";

/** Sessions whose traffic waits to be asked for; beyond, the oldest is forgotten and counted. */
const USAGE_MAX = 16_384;

/** How often expired permissions and channels are forgotten, which nobody heeds any more in between. */
const THOROUGH_MS = 30_000;

/** What a session has relayed since somebody last asked. */
export interface SessionUsage {
  /** The session, as its user name has it. */
  readonly sessionId: string;
  /** Bytes of payload from the client. */
  readonly rxBytes: number;
  /** Bytes of payload to the client. */
  readonly txBytes: number;
}

/** A relayed address and whose it is. */
export interface RelayedEntry {
  /** The allocation. */
  readonly allocation: Allocation;
  /** Its relayed address. */
  readonly relayed: RelayedAddress;
}

/** Options of {@linkcode AllocationTable}. */
export interface AllocationTableOptions {
  /** Where ports go back to. */
  readonly ports: RelayedPorts;
  /** Who has how many. */
  readonly scopes: ScopeTable;
  /** The addresses under which peers see the relay. */
  readonly externalIps: readonly string[];
  /** Counts. */
  readonly counters: Counters;
}

/** All allocations; the limits of {@linkcode ScopeTable} bound them. */
export class AllocationTable {
  readonly #options: AllocationTableOptions;
  readonly #byFlow = new Map<string, Allocation>();
  readonly #byNumber = new Map<number, RelayedEntry>();
  readonly #byPort = { 4: new Map<number, RelayedEntry>(), 6: new Map<number, RelayedEntry>() };
  readonly #externalIps: ReadonlySet<string>;
  /** By session, oldest first. */
  readonly #usage = new Map<string, { rxBytes: number; txBytes: number }>();
  #thoroughAt = 0 as Instant;
  /** Datagrams of one client come in bunches. */
  #last: { readonly flow: Flow; readonly allocation: Allocation | undefined } | undefined;

  /** Empty. */
  constructor(options: AllocationTableOptions) {
    this.#options = options;
    this.#externalIps = new Set(options.externalIps);
  }

  /** How many there are. */
  get size(): number {
    return this.#byFlow.size;
  }

  /** All of them. */
  all(): Iterable<Allocation> {
    return this.#byFlow.values();
  }

  /** The allocation of a client while it lives; one whose time is over ends here. */
  of(now: Instant, flow: Flow): Allocation | undefined {
    if (this.#last?.flow !== flow) {
      this.#last = { flow, allocation: this.#byFlow.get(flow.key) };
    }
    const { allocation } = this.#last;
    if (allocation === undefined || now < allocation.expiresAt) return allocation;
    this.remove(allocation);
    return undefined;
  }

  /** Whose relayed address the socket of a number is. */
  ofNumber(number: number): RelayedEntry | undefined {
    return this.#byNumber.get(number);
  }

  /** Whose relayed address this is. */
  ofAddress({ hostname, port }: SocketAddress): RelayedEntry | undefined {
    if (!this.#externalIps.has(hostname)) return undefined;
    return this.#byPort[hostname.includes(":") ? 6 : 4].get(port);
  }

  /** Adds one, whose ports are open and whose scopes are entered. Its flow has none. */
  add(allocation: Allocation): void {
    this.#byFlow.set(allocation.flow.key, allocation);
    for (const relayed of allocation.relayed) {
      const entry = { allocation, relayed };
      this.#byNumber.set(relayed.number, entry);
      this.#byPort[relayed.family].set(relayed.address.port, entry);
    }
    this.#last = undefined;
  }

  /** Closes the relayed address of one family; an allocation without any ends. */
  release(allocation: Allocation, family: Family): void {
    const relayed = allocation.relayedOf(family);
    if (relayed !== undefined) this.#close(relayed);
    allocation.release(family);
    if (allocation.relayed.length === 0) this.remove(allocation);
  }

  /** Ends one. */
  remove(allocation: Allocation): void {
    if (this.#byFlow.get(allocation.flow.key) !== allocation) return;
    this.#byFlow.delete(allocation.flow.key);
    for (const relayed of allocation.relayed) this.#close(relayed);
    this.#options.scopes.leave(allocation.scopes);
    this.#account(allocation);
    this.#last = undefined;
  }

  /** Ends those whose time is over, and forgets what has expired in the others. Returns those that ended. */
  sweep(now: Instant): readonly Allocation[] {
    const ended: Allocation[] = [];
    const isThorough = now >= this.#thoroughAt;
    if (isThorough) this.#thoroughAt = after(now, THOROUGH_MS);
    for (const allocation of [...this.#byFlow.values()]) {
      if (now >= allocation.expiresAt) {
        this.remove(allocation);
        ended.push(allocation);
      } else if (isThorough) allocation.sweep(now);
    }
    return ended;
  }

  /** Takes what sessions have relayed since it was last taken, `max` sessions at most; the rest waits. */
  takeUsage(max: number): readonly SessionUsage[] {
    for (const allocation of this.#byFlow.values()) this.#account(allocation);
    const taken: SessionUsage[] = [];
    for (const [sessionId, usage] of this.#usage) {
      if (taken.length >= max) break;
      taken.push({ sessionId, ...usage });
      this.#usage.delete(sessionId);
    }
    return taken;
  }

  #close({ number, family, address: { port } }: RelayedAddress): void {
    const open: OpenPort = { number, family, port };
    this.#byNumber.delete(number);
    this.#byPort[family].delete(port);
    this.#options.ports.close(open);
  }

  #account({ traffic, owner: { session } }: Allocation): void {
    const { receivedBytes, sentBytes } = traffic;
    if (receivedBytes === 0 && sentBytes === 0) return;
    clear(traffic);
    let usage = this.#usage.get(session);
    if (usage === undefined) {
      if (this.#usage.size >= USAGE_MAX) this.#forgetOldest();
      usage = { rxBytes: 0, txBytes: 0 };
      this.#usage.set(session, usage);
    }
    usage.rxBytes += receivedBytes;
    usage.txBytes += sentBytes;
  }

  #forgetOldest(): void {
    const [oldest] = this.#usage.keys();
    if (oldest !== undefined) this.#usage.delete(oldest);
    this.#options.counters.add("usageForgotten");
  }
}

function clear(traffic: Traffic): void {
  traffic.receivedBytes = 0;
  traffic.sentBytes = 0;
}
