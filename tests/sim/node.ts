/** A node of the world: a machine that sleeps, moves and restarts, and the program that runs on it. @module */
import { after, type Instant, type SocketAddress } from "../../core/mod.ts";
import type { NodeEvent } from "../../agent/shared/mod.ts";
import type { Role } from "../../agent/mesh_peers.ts";
import type { DiscoveredPeer } from "../../discovery/mod.ts";
import type { SimDiscovery } from "./discovery.ts";
import { Host } from "./net/host.ts";
import type { Wire } from "./net/network.ts";
import type { Packet } from "./net/packet.ts";
import type { Topology } from "./net/topology.ts";
import { Process } from "./process.ts";
import { chanceOf } from "./random.ts";
import { EPOCH_MS } from "./wall_clock.ts";

/** What a node is made of. */
export interface NodeOptions {
  /** Its name; unique. */
  readonly name: string;
  /** Colony or agent. */
  readonly role: Role;
  /** Its UDP port. */
  readonly port: number;
  /** Whether its system tells of changed interfaces at once (Linux does). */
  readonly watchesLinks: boolean;
  /** Whether its administrator wants no relay. */
  readonly noRelay: boolean;
  /** Where it is at first. */
  readonly site: string;
  /** Seed of the world. */
  readonly seed: number;
  /** The compiled engine. */
  readonly module: WebAssembly.Module;
  /** Time and order. */
  readonly wire: Wire;
  /** The networks. */
  readonly topology: Topology;
  /** The service. */
  readonly discovery: SimDiscovery;
  /** What happens to it. */
  readonly watcher: NodeWatcher;
}

/** Hears what a node does. */
export interface NodeWatcher {
  /** Its datapath told something. */
  event(node: SimNode, event: NodeEvent): void;
  /** Its control logged something. */
  log(node: SimNode, level: string, message: string): void;
  /** A datagram is about to leave its datapath. */
  sent(node: SimNode, bytes: Uint8Array, to: SocketAddress): void;
  /** A datagram reached its datapath. */
  received(node: SimNode, packet: Packet): void;
  /** Something that must never happen. */
  fault(node: SimNode, what: string): void;
}

/** How a node is asleep: frozen with its clock and deaf, or stopped while kernel and clocks go on. */
export type Sleep = "suspended" | "stopped";

/** Packets that the kernel keeps for a program that does not read: its socket buffer, in small datagrams. */
const BACKLOG_MAX = 2048;
/** Turns at one instant. More mean that it spins. */
const TURNS_AT_ONCE_MAX = 2000;

/** The engine counts whole microseconds, cut off: a clock that stands still must be past the instant, not at it. */
const CLOCK_STEP_MS = 0.001;

/** A node. */
export class SimNode {
  /** Its name. */
  readonly name: string;
  /** Colony or agent. */
  readonly role: Role;
  /** Its machine's network. */
  readonly host: Host;
  readonly #options: NodeOptions;
  readonly #privateKey: Uint8Array;
  readonly #backlog: (() => void)[] = [];
  /** Where its cards are, in their order. */
  #sites: readonly string[] = [];
  #process: Process | undefined;
  #publicKey: string | undefined;
  #runs = 0;
  #cards = 0;
  #sleep: { readonly kind: Sleep; readonly since: Instant } | undefined;
  /** How far the monotonic clock is behind the world's. */
  #frozenMs = 0;
  #armedAt: Instant | undefined;
  #spins = { at: -1, turns: 0 };
  #lost = 0;

  /** A machine that is off. */
  constructor(options: NodeOptions) {
    const { name, role, seed, site, wire } = options;
    this.name = name;
    this.role = role;
    this.#options = options;
    this.#privateKey = chanceOf(seed, `key ${name}`).bytes(32);
    this.host = new Host(name, wire);
    this.#plug(site);
  }

  /** The site that its packets leave by. */
  get site(): string {
    const [site] = this.#sites;
    if (site === undefined) throw new RangeError(`${this.name} is in no site`);
    return site;
  }

  /** The program; `undefined` while it does not run. */
  get process(): Process | undefined {
    return this.#process;
  }

  /** Whether it runs and is awake. */
  get awake(): boolean {
    return this.#process !== undefined && this.#sleep === undefined;
  }

  /** Its key; throws before the first start. */
  get publicKey(): string {
    if (this.#publicKey === undefined) throw new RangeError(`${this.name} has never run`);
    return this.#publicKey;
  }

  /** Whether its administrator wants no relay. */
  get noRelay(): boolean {
    return this.#options.noRelay;
  }

  /** Whether it has a key: it has run, and does now or will again. */
  owns(publicKey: string): boolean {
    return this.#publicKey === publicKey;
  }

  /** Its monotonic clock. */
  now(): Instant {
    return (this.#options.wire.now() - this.#frozenMs) as Instant;
  }

  /** Starts its program. */
  start(cached: readonly DiscoveredPeer[] = []): void {
    const { name, role, port, seed, module, wire, discovery, watcher, watchesLinks, noRelay } =
      this.#options;
    this.#runs++;
    this.#process = new Process({
      name,
      seed,
      run: this.#runs,
      role,
      privateKey: this.#privateKey.slice(),
      port,
      module,
      host: this.host,
      now: () => this.now(),
      wallClockMs: () => EPOCH_MS + wire.now(),
      discovery,
      access: { rttMs: () => this.#rttMs(), epoch: () => this.#epoch() },
      watchesLinks,
      noRelay,
      cached,
      listener: {
        event: (event) => watcher.event(this, event),
        log: (level, message) => watcher.log(this, level, message),
        sent: (bytes, to) => watcher.sent(this, bytes, to),
        received: (packet) => {
          watcher.received(this, packet);
          this.wake();
        },
        fault: (what) => watcher.fault(this, what),
        wanted: () => this.wake(),
        enter: (happening, droppable) => this.#enter(happening, droppable),
      },
    });
    this.#publicKey = this.#process.publicKey;
    this.wake();
  }

  /** Ends its program at once and starts it again after `ms`, with the peers that it had kept on disk. */
  reboot(ms: number): void {
    const cached = this.#process?.control.peers.all.map(({ record }) => record) ?? [];
    this.#process?.kill();
    this.#process = undefined;
    this.#sleep = undefined;
    this.#backlog.length = 0;
    const { wire } = this.#options;
    wire.at(after(wire.now(), ms), () => this.#process ?? this.start(cached));
  }

  /** Puts it to sleep for `ms`. */
  sleep(kind: Sleep, ms: number): void {
    if (!this.awake) return;
    const { wire } = this.#options;
    const since = wire.now();
    const sleep = { kind, since };
    this.#sleep = sleep;
    wire.at(after(since, ms), () => {
      if (this.#sleep === sleep) this.rise();
    });
  }

  /** Ends its sleep, if it sleeps. */
  rise(): void {
    if (this.#sleep === undefined) return;
    const { kind, since } = this.#sleep;
    this.#sleep = undefined;
    if (kind === "suspended") this.#frozenMs += this.#options.wire.now() - since;
    for (const happening of this.#backlog.splice(0)) happening();
    this.wake();
  }

  /** Carries it into another network. */
  move(site: string): void {
    for (const { name } of this.host.cards) this.host.unplug(name);
    this.#sites = [];
    this.#plug(site);
  }

  /** Plugs a further card into a network; packets go on leaving by the first. Does nothing where there are two. */
  attach(site: string): void {
    if (this.#sites.length === 1) this.#plug(site);
  }

  /** Pulls the first card out, so that the second one takes over. Does nothing where there is no second. */
  handOver(): void {
    const [first] = this.host.cards;
    if (first === undefined || this.#sites.length === 1) return;
    this.host.unplug(first.name);
    this.#sites = this.#sites.slice(1);
    this.#process?.noticeLinks();
  }

  /** Has it take a turn now. */
  wake(): void {
    this.#arm(this.#options.wire.now());
  }

  /** Lets something from outside in, now or once it is awake. */
  #enter(happening: () => void, droppable: boolean): void {
    if (this.#process === undefined) return;
    if (this.#sleep === undefined) return happening();
    const full = this.#backlog.length >= BACKLOG_MAX;
    const deaf = this.#sleep.kind === "suspended" && droppable;
    if (full || deaf) this.#lost++;
    else this.#backlog.push(happening);
  }

  #arm(at: Instant): void {
    const { wire } = this.#options;
    if (this.#armedAt !== undefined && this.#armedAt <= at) return;
    this.#armedAt = at;
    wire.at(at, () => {
      if (this.#armedAt !== at) return;
      this.#armedAt = undefined;
      this.#turn();
    });
  }

  #turn(): void {
    if (!this.awake || this.#process === undefined) return;
    const { wire, watcher } = this.#options;
    const now = wire.now();
    if (this.#spins.at !== now) this.#spins = { at: now, turns: 0 };
    if (++this.#spins.turns > TURNS_AT_ONCE_MAX) return watcher.fault(this, "it spins");
    const dueAt = this.#process.turn();
    if (dueAt === undefined) return;
    this.#arm(Math.max(now, dueAt + this.#frozenMs + CLOCK_STEP_MS) as Instant);
  }

  #plug(site: string): void {
    this.#options.topology.plug(this.host, site, `eth${this.#cards++}`);
    this.#sites = [...this.#sites, site];
    this.#process?.noticeLinks();
  }

  /** Round trip to Discovery; `undefined` while nothing gets through. */
  #rttMs(): number | undefined {
    if (this.#sleep?.kind === "suspended" || this.host.cards.length === 0) return undefined;
    let ms = 2;
    for (const { dead, quality } of this.#options.topology.linksOf(this.site)) {
      if (dead.size > 0) return undefined;
      ms += 2 * quality.delayMs + quality.jitterMs;
    }
    return ms;
  }

  #epoch(): string {
    const [card] = this.host.cards;
    return `${this.#runs} ${card?.name} ${this.#options.topology.epochOf(this.site)}`;
  }
}
