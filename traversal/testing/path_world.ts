/**
 * Two path agents in a seeded world: NATs, a LAN that both may share, IPv6, a relay, links that fail. Virtual time; WireGuard in
 * shape only: fresh initiations, replays dropped, the initiator remembers two, sessions, probes inside them. For tests.
 *
 * @module
 */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import {
  after,
  earlier,
  formatSocketAddress,
  type Instant,
  sameAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import type { Candidate } from "../candidate.ts";
import type { NatHint } from "../nat.ts";
import { formatPath, OWN_SOCKETS, type Path } from "../path.ts";
import { PathAgent } from "../path_agent.ts";
import type { PathAgentOptions, PathEvent } from "../path_report.ts";
import { OUTER_BYTES } from "../path_mtu.ts";
import { seeded, type SeededRng } from "./fuzz.ts";

/** How the toy NAT maps and gives out ports; it always filters by address and port. */
export type ToyNat = "cone" | "symmetric" | "sequential";

/** The networks between the sides. `v4` has the NATs in it. */
export type Network = "lan" | "v6" | "v4" | "relay";

/** What becomes of datagrams of one network, by the side that sends them. */
export interface Fault {
  /** Nothing passes. */
  down: [boolean, boolean];
  /** Share that is lost. */
  loss: number;
  /** One way, in milliseconds. */
  delayMs: number;
  /** Largest IP packet; larger ones vanish. */
  mtu: number;
}

/** Options of {@linkcode PathWorld}. */
export interface WorldOptions {
  /** The NATs of both sides. @default ["cone", "cone"] */
  readonly nats?: readonly [ToyNat, ToyNat];
  /** Networks besides `v4`. @default [] */
  readonly networks?: readonly Network[];
  /** Highest share of loss, percent; drawn. @default 0 */
  readonly lossMax?: number;
  /** Delay one way, in milliseconds. @default drawn, 5 to 80 */
  readonly delayMs?: number;
  /** Whether the engines answer probes. @default true */
  readonly probes?: boolean;
  /** Time that doubts take to make Discovery tell both sides of their present mappings and punch. Absent: there is none. */
  readonly discoveryMs?: number;
  /** Share of the datagrams that an attacker copies and delivers first, from an address of his own. @default 0 */
  readonly racing?: number;
  /** For both agents. */
  readonly agent?: Omit<PathAgentOptions, "now" | "rng">;
}

type Message =
  | { readonly kind: "initiation"; readonly id: number }
  | { readonly kind: "response"; readonly id: number }
  | { readonly kind: "data"; readonly session: number; readonly id: number }
  | { readonly kind: "probe" | "reply"; readonly session: number; readonly sequence: number };

interface Packet {
  readonly at: Instant;
  readonly from: Side;
  readonly to: Side;
  readonly network: Network;
  readonly source: SocketAddress;
  readonly destination: SocketAddress;
  readonly message: Message;
}

/** Bytes of IP packets that carry no padded probe: fit everywhere. */
const SMALL_BYTES = 200;
/** Steps after which a world is taken for one in which a storm rages. */
const STEPS_MAX = 2_000_000;

/** One node, its toy engine, and the NAT in front of it. */
export class Side {
  readonly agent: PathAgent;
  readonly n: 0 | 1;
  readonly nat: ToyNat;
  /** Addresses by network; `v4` is the one inside. */
  readonly addresses: Readonly<Record<Network, SocketAddress>>;
  publicHost: string;
  /** NAT: by inside end and, where the mapping depends on it, destination. */
  readonly #mappings = new Map<string, number>();
  #insideOf = new Map<number, number>();
  #permitted = new Set<string>();
  #nextPort: number;
  #rng: SeededRng;
  /** Extra ends that are open. */
  readonly locals = new Set<number>([OWN_SOCKETS]);
  #nextLocal = 1;
  /** What a server saw of fresh ends last. */
  sampled: readonly SocketAddress[] = [];
  latest = -1;
  mine: number[] = [];
  seen = -1;
  readonly sessions = new Set<number>();
  readonly unconfirmed = new Set<number>();
  #received = new Set<number>();
  readonly events: { readonly at: Instant; readonly event: PathEvent }[] = [];
  /** Until when its process does nothing. */
  asleepUntil: Instant | undefined;
  /** When data last arrived for the first time. */
  dataAt: Instant | undefined;
  sent = { initiations: 0, datagrams: 0, probes: 0, copies: 0, replies: 0 };

  /** A side that knows nothing of the other. */
  constructor(n: 0 | 1, { nat, rng, agent }: {
    readonly nat: ToyNat;
    readonly rng: SeededRng;
    readonly agent: Omit<PathAgentOptions, "now">;
  }) {
    this.n = n;
    this.nat = nat;
    this.#rng = rng;
    this.agent = new PathAgent({ now: 0 as Instant, rng, ...agent });
    this.publicHost = `203.0.113.${n + 1}`;
    this.#nextPort = 20_000 + rng.below(20_000);
    this.addresses = {
      lan: { hostname: `192.168.7.${n + 1}`, port: 51820 },
      v4: { hostname: `10.${n}.0.2`, port: 51820 },
      v6: { hostname: `2001:db8::${n + 1}`, port: 51820 },
      relay: { hostname: "198.51.100.7", port: 40_000 + n },
    };
  }

  /** The address that the NAT gives a datagram on its way out. */
  translate(local: number, destination: SocketAddress): SocketAddress {
    const key = this.nat === "cone" ? `${local}` : `${local} ${formatSocketAddress(destination)}`;
    let port = this.#mappings.get(key);
    if (port === undefined) {
      do port = this.nat === "symmetric"
        ? 1024 + this.#rng.below(64_512)
        : this.#nextPort++; while (
        this.#insideOf.has(port)
      );
      this.#mappings.set(key, port);
      this.#insideOf.set(port, local);
    }
    this.#permitted.add(`${port} ${formatSocketAddress(destination)}`);
    return { hostname: this.publicHost, port };
  }

  /** The end that a datagram from outside reaches; `undefined` where the NAT drops it. */
  admit({ source, destination }: Packet): number | undefined {
    if (destination.hostname !== this.publicHost) return undefined;
    if (!this.#permitted.has(`${destination.port} ${formatSocketAddress(source)}`)) {
      return undefined;
    }
    const local = this.#insideOf.get(destination.port);
    return local !== undefined && this.locals.has(local) ? local : undefined;
  }

  /** Whether a datagram that another side sends now over a path would come in. */
  admits(from: Side, { local, remote }: Path): boolean {
    if (remote.hostname !== this.publicHost) return false;
    const source = from.translate(local, remote);
    return this.#permitted.has(`${remote.port} ${formatSocketAddress(source)}`);
  }

  /** What a STUN server sees: another address for each server, where the mapping depends on it. */
  observe(servers: number): SocketAddress[] {
    return Array.from(
      { length: servers },
      (_, i) => this.translate(OWN_SOCKETS, { hostname: `198.51.100.${i + 1}`, port: 3478 }),
    );
  }

  /** The NAT forgets everything. */
  rebootNat(): void {
    this.#mappings.clear();
    this.#insideOf = new Map();
    this.#permitted = new Set();
    this.#nextPort += 1000;
  }

  /** Whether a data packet is no copy of one that came before. */
  first(id: number): boolean {
    if (this.#received.has(id)) return false;
    this.#received.add(id);
    return true;
  }

  /** Opens or closes extra ends. */
  serveLocals(now: Instant): void {
    for (let request; (request = this.agent.pollLocal()) !== undefined;) {
      if (request.kind === "close") {
        for (const local of request.locals) this.locals.delete(local);
      } else if (request.kind === "sample") {
        const server = { hostname: "198.51.100.1", port: 3478 };
        this.sampled = [this.#nextLocal++, this.#nextLocal++].map((local) =>
          this.translate(local, server)
        );
      } else {
        const opened = Array.from({ length: request.count }, () => this.#nextLocal++);
        for (const local of opened) this.locals.add(local);
        this.agent.handleLocals(now, opened);
      }
    }
  }

  /** Forgets every session: the process was started again, or keys expired. */
  forgetSessions(): void {
    this.sessions.clear();
    this.unconfirmed.clear();
    this.mine = [];
  }

  /** Events of one kind. */
  count(kind: PathEvent["kind"]): number {
    return this.events.filter(({ event }) => event.kind === kind).length;
  }
}

/** The network between two sides, and what the outside does to them. */
export class PathWorld {
  readonly sides: readonly [Side, Side];
  readonly rng: SeededRng;
  readonly faults: Readonly<Record<Network, Fault>>;
  readonly #networks: ReadonlySet<Network>;
  readonly #probes: boolean;
  readonly #discoveryMs: number | undefined;
  /** As {@linkcode WorldOptions.racing}, from now on. */
  racing: number;
  #wire: Packet[] = [];
  #plans: { at: Instant; run: (now: Instant) => void }[] = [];
  readonly trace: string[] = [];
  #nextId = 0;
  #nextData = 0;
  now = 0 as Instant;

  /** A world in which nobody knows of anybody. */
  constructor(seed: number, options: WorldOptions = {}) {
    const { nats = ["cone", "cone"], networks = [], lossMax = 0, probes = true } = options;
    this.rng = seeded(seed);
    this.#networks = new Set<Network>([...networks, "v4"]);
    this.#probes = probes;
    this.#discoveryMs = options.discoveryMs;
    this.racing = options.racing ?? 0;
    const loss = this.rng.below(lossMax + 1) / 100;
    const delayMs = options.delayMs ?? 5 + this.rng.below(75);
    const fault = (ms: number): Fault => ({ down: [false, false], loss, delayMs: ms, mtu: 1500 });
    this.faults = { lan: fault(1), v6: fault(delayMs), v4: fault(delayMs), relay: fault(delayMs) };
    const side = (n: 0 | 1): Side =>
      new Side(n, { nat: nats[n], rng: this.rng, agent: options.agent ?? {} });
    this.sides = [side(0), side(1)];
  }

  /** The candidates that one side would publish. */
  candidates(side: Side, servers = 2): Candidate[] {
    const found: Candidate[] = side.observe(servers)
      .concat(side.sampled).map((address) => ({ kind: "serverReflexive", address }));
    found.push({ kind: "host", address: side.addresses.v4 });
    if (this.#networks.has("lan")) found.push({ kind: "host", address: side.addresses.lan });
    if (this.#networks.has("v6")) found.push({ kind: "host", address: side.addresses.v6 });
    if (this.#networks.has("relay")) found.push({ kind: "relayed", address: side.addresses.relay });
    return found;
  }

  /** Both learn of each other within 300 ms, and punch if asked. */
  meet({ punch = false, nat = false }: { punch?: boolean; nat?: boolean } = {}): void {
    const [a, b] = this.sides;
    const published = new Map([[a, this.candidates(a)], [b, this.candidates(b)]]);
    for (const [side, other] of [[a, b], [b, a]] as const) {
      this.plan(this.rng.below(300), (now) => {
        side.agent.setCandidates(now, published.get(other) ?? []);
        if (nat) this.tellNat(now, side, other);
        side.agent.connect(now);
        if (punch) side.agent.punch(now, 5000);
      });
    }
  }

  /** Tells one side of both NATs. */
  tellNat(now: Instant, side: Side, other: Side): void {
    const hint = (nat: ToyNat): NatHint => nat === "cone" ? "NAT_RESTRICTED" : "NAT_SYMMETRIC";
    side.agent.setNat(now, {
      own: {
        mapping: side.nat === "cone" ? "endpointIndependent" : "addressAndPortDependent",
        filtering: "addressAndPortDependent",
        hint: hint(side.nat),
      },
      peer: hint(other.nat),
      udpBlocked: false,
    });
  }

  /** Has something done after `ms`. */
  plan(ms: number, run: (now: Instant) => void): void {
    this.#plans.push({ at: after(this.now, ms), run });
    this.#plans.sort((a, b) => a.at - b.at);
  }

  /** One side sends data every `intervalMs`, for ever. */
  chat(side: Side, intervalMs: number): void {
    this.plan(intervalMs, (now) => {
      this.sendData(now, side);
      this.chat(side, intervalMs);
    });
  }

  /** Sends one data packet as the engine would. */
  sendData(now: Instant, side: Side): void {
    const session = [...side.sessions].at(-1);
    if (session === undefined || !this.#awake(side)) return;
    side.agent.handleSent(now);
    const { primary, also } = side.agent.route(now);
    if (primary === undefined) return;
    const message: Message = { kind: "data", session, id: this.#nextData++ };
    for (const path of [primary, ...also]) this.#send(side, path, message, SMALL_BYTES);
    side.sent.copies += also.length;
    this.#drain(side);
  }

  /** Runs until `done` or for `ms`; returns whether it was done. */
  run(ms: number, done: () => boolean = () => false): boolean {
    const deadline = after(this.now, ms);
    for (let step = 0; !done(); step++) {
      assert(step < STEPS_MAX, "a storm");
      const [a, b] = this.sides;
      const timeout = earlier(this.#wakeAt(a), this.#wakeAt(b));
      const next = earlier(earlier(this.#wire[0]?.at, this.#plans[0]?.at), timeout);
      if (next === undefined || next > deadline) {
        this.now = deadline;
        return false;
      }
      assert(next >= this.now - 1e-6, `time ran back from ${this.now} to ${next}`);
      this.now = next > this.now ? next : this.now;
      if (this.#wire[0]?.at === next) this.#deliver(this.#wire.shift());
      else if (this.#plans[0]?.at === next) this.#plans.shift()?.run(this.now);
      else {
        for (const side of this.sides) if (this.#awake(side)) side.agent.handleTimeout(this.now);
      }
      for (const side of this.sides) if (this.#awake(side)) this.#drain(side);
      for (const side of this.sides) this.#checkRest(side);
    }
    return true;
  }

  /** Whether both have a session. */
  connected(): boolean {
    return this.sides.every(({ agent }) => agent.status(this.now).connected);
  }

  /** Whether both have a session without a relay. */
  direct(): boolean {
    return this.sides.every(({ agent }) => {
      const { connected, relayed } = agent.status(this.now);
      return connected && !relayed;
    });
  }

  /** The network that a side's data takes; `undefined` without a session. */
  networkOf(side: Side): Network | undefined {
    const path = side.agent.status(this.now).path;
    return path === undefined ? undefined : this.#networkTo(this.#other(side), path.remote);
  }

  /** What Discovery does when one side asks for a punch: both learn of the other's candidates, and try. */
  #introduce(now: Instant): void {
    const [a, b] = this.sides;
    const published = [this.candidates(a), this.candidates(b)] as const;
    for (const [side, candidates] of [[a, published[1]], [b, published[0]]] as const) {
      side.agent.setCandidates(now, candidates);
      side.agent.punch(now, 5000);
      this.#drain(side);
    }
  }

  /** Whatever is due at an instant is done in one turn. */
  #checkRest(side: Side): void {
    if (!this.#awake(side)) return;
    const { agent } = side;
    const dueAt = agent.pollTimeout();
    if (dueAt === undefined || dueAt > this.now) return;
    agent.handleTimeout(this.now);
    this.#drain(side);
    const again = agent.pollTimeout();
    assert(again === undefined || again > this.now, `due at ${again} again, now ${this.now}`);
  }

  #awake({ asleepUntil }: Side): boolean {
    return asleepUntil === undefined || asleepUntil <= this.now;
  }

  /** When a side's agent has its next turn. */
  #wakeAt(side: Side): Instant | undefined {
    const at = side.agent.pollTimeout();
    const { asleepUntil } = side;
    return at !== undefined && asleepUntil !== undefined && at < asleepUntil ? asleepUntil : at;
  }

  #other(side: Side): Side {
    return this.sides[side.n === 0 ? 1 : 0];
  }

  #networkTo(to: Side, { hostname }: SocketAddress): Network | undefined {
    const names: readonly Network[] = ["lan", "v6", "relay"];
    for (const name of names) {
      if (to.addresses[name].hostname === hostname && this.#networks.has(name)) return name;
    }
    return hostname === to.publicHost ? "v4" : undefined;
  }

  #deliver(packet: Packet | undefined): void {
    if (packet === undefined) return;
    const { to, message, source } = packet;
    const local = packet.network === "v4" ? to.admit(packet) : OWN_SOCKETS;
    if (local === undefined || !this.#awake(to)) return;
    // The original comes too, and is a replay then.
    if (this.rng.chance(this.racing)) {
      this.#receive(to, { local, remote: PathWorld.ATTACKER }, message);
      if (message.kind === "probe" || message.kind === "reply") return;
    }
    this.#receive(to, { local, remote: source }, message);
  }

  /** An address at which nobody answers and from which copies come. */
  static readonly ATTACKER: SocketAddress = { hostname: "203.0.113.66", port: 6666 };

  #receive(side: Side, path: Path, message: Message): void {
    const { agent } = side;
    const { now } = this;
    switch (message.kind) {
      case "initiation":
        if (message.id <= side.seen) return;
        side.seen = message.id;
        side.unconfirmed.add(message.id);
        return this.#send(side, path, { kind: "response", id: message.id }, SMALL_BYTES);
      case "response":
        if (!side.mine.includes(message.id)) return;
        side.mine = side.mine.filter((id) => id !== message.id);
        side.sessions.add(message.id);
        agent.handleAuthenticated(now, path, "handshake");
        return this.#send(
          side,
          path,
          { kind: "data", session: message.id, id: this.#nextData++ },
          SMALL_BYTES,
        );
      case "data":
      case "probe":
      case "reply": {
        const first = side.unconfirmed.delete(message.session);
        if (!first && !side.sessions.has(message.session)) return;
        side.sessions.add(message.session);
        if (message.kind === "data") {
          if (!side.first(message.id)) return;
          side.dataAt = now;
        }
        agent.handleAuthenticated(now, path, first ? "handshake" : "data");
        if (message.kind === "reply") agent.handleProbeReply(now, path, message.sequence);
        if (message.kind !== "probe" || !this.#probes) return;
        side.sent.replies++;
        return this.#send(side, path, { ...message, kind: "reply" }, SMALL_BYTES);
      }
      default:
        return message satisfies never;
    }
  }

  #drain(side: Side): void {
    const { agent } = side;
    for (let due; (due = agent.pollInitiation()) !== undefined;) {
      const { destinations, fresh } = due;
      assert(destinations.length > 0 && destinations.length <= 64, "receivers of one initiation");
      assertEquals(new Set(destinations.map(formatPath)).size, destinations.length);
      if (fresh || side.latest < 0) {
        side.sent.initiations++;
        side.latest = this.#nextId++;
        side.mine = [side.latest, ...side.mine].slice(0, 2);
      }
      const message: Message = { kind: "initiation", id: side.latest };
      for (const path of destinations) this.#send(side, path, message, SMALL_BYTES);
    }
    for (let probe; (probe = agent.pollProbe()) !== undefined;) {
      const session = [...side.sessions].at(-1);
      if (session === undefined) {
        agent.handleProbeRefused(probe.path, probe.sequence);
        continue;
      }
      side.sent.probes++;
      const family = probe.path.remote.hostname.includes(":") ? 6 : 4;
      const bytes = probe.bytes + OUTER_BYTES[family];
      this.#send(side, probe.path, { kind: "probe", session, sequence: probe.sequence }, bytes);
    }
    const { sampled } = side;
    side.serveLocals(this.now);
    if (side.sampled !== sampled) {
      // The other side hears of it through Discovery.
      const candidates = this.candidates(side);
      const other = this.#other(side);
      this.plan(300, (now) => other.agent.setCandidates(now, candidates));
    }
    for (let event; (event = agent.pollEvent()) !== undefined;) {
      side.events.push({ at: this.now, event });
      if (event.kind === "doubted" && this.#discoveryMs !== undefined) {
        this.plan(this.#discoveryMs, (now) => this.#introduce(now));
      }
      const where = "path" in event ? ` ${formatPath(event.path)}` : "";
      this.trace.push(`${Math.round(this.now)} ${side.n} ${event.kind}${where}`);
    }
  }

  #send(side: Side, path: Path, message: Message, bytes: number): void {
    side.sent.datagrams++;
    if (!side.locals.has(path.local)) return;
    const to = this.#other(side);
    const network = this.#networkTo(to, path.remote);
    const isV4 = !path.remote.hostname.includes(":");
    // What leads nowhere passes the NAT all the same, and takes a port there.
    const isNamed = network === "lan" || network === "relay";
    const mapped = isV4 && !isNamed ? side.translate(path.local, path.remote) : undefined;
    if (network === undefined) return;
    const { down, loss, delayMs, mtu } = this.faults[network];
    if (down[side.n] || bytes > mtu || this.rng.chance(loss)) return;
    const source = network === "v4" && mapped !== undefined ? mapped : side.addresses[network];
    if (network !== "v4" && !sameAddress(path.remote, to.addresses[network])) return;
    const at = after(this.now, delayMs + this.rng.below(delayMs < 5 ? 1 : 5));
    const packet = { at, from: side, to, network, source, destination: path.remote, message };
    // Packets of one instant keep their order.
    let i = this.#wire.length;
    while (i > 0 && (this.#wire[i - 1]?.at ?? 0) > at) i--;
    this.#wire.splice(i, 0, packet);
  }
}
