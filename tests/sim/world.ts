/**
 * Runs a scenario: chaos until the world is healed, then everybody who can must talk, and then nothing may change any more.
 *
 * ```text
 *  0          20 s                              390 s              + LIVENESS_MS        600 s
 *  starts ---- faults, attacks, chatter ---------- healed: pings ---- all that must talk -- quiet
 *  safety: at every datagram and every event, all the time
 * ```
 *
 * @module
 */
import {
  after,
  assert,
  type Instant,
  messageOf,
  parseIp,
  type SocketAddress,
} from "../../core/mod.ts";
import type { NodeEvent } from "../../agent/shared/mod.ts";
import { Attacker } from "./attacker.ts";
import { NodeChecks } from "./checks.ts";
import { SimDiscovery } from "./discovery.ts";
import { EventQueue } from "./event_queue.ts";
import { EXPECTATIONS, type Expectations } from "./expectations.ts";
import { Faults } from "./faults.ts";
import type { Wire } from "./net/network.ts";
import type { Packet } from "./net/packet.ts";
import { Topology } from "./net/topology.ts";
import { type NodeWatcher, SimNode } from "./node.ts";
import { judge, type Verdict } from "./oracle.ts";
import { Pair } from "./pair.ts";
import { BULK_BYTES, PairStreams } from "./pair_streams.ts";
import { chanceOf } from "./random.ts";
import type { Fault, Scenario } from "./scenario.ts";
import { type Print, Trace } from "./trace.ts";
import { type Disturbance, type Recovery, Watchdog } from "./watchdog.ts";

/** What a world is run with. */
export interface WorldOptions {
  /** The compiled engine. */
  readonly module: WebAssembly.Module;
  /** What is expected. @default {@linkcode EXPECTATIONS} */
  readonly expectations?: Expectations;
  /** Prints what happens, for a person. Absent: nothing is printed. */
  readonly print?: Print;
}

/** What became of a pair. */
export interface PairOutcome {
  /** Both names. */
  readonly name: string;
  /** What the oracle says of where they are in the end. */
  readonly verdict: Verdict;
  /** From the later start to the first session; `undefined` if there never was one. */
  readonly connectMs: number | undefined;
  /** From the healing to the first echoes answered at both ends; `undefined` if there were none. */
  readonly healMs: number | undefined;
  /** How soon echoes were answered after each thing that happened to it. */
  readonly recoveries: readonly Recovery[];
  /** Changes of the path at either end. */
  readonly moves: number;
  /** Events in the networks that may have changed it. */
  readonly events: number;
}

/** What became of a world. */
export interface Outcome {
  /** Its seed. */
  readonly seed: number;
  /** The same for the same seed, always. */
  readonly hash: string;
  /** What must not have happened, with the time; empty if all is well. */
  readonly violations: readonly string[];
  /** Every pair. */
  readonly pairs: readonly PairOutcome[];
  /** Things that happened. */
  readonly happenings: number;
}

/** After the healing, when every pair that can must talk: a retry once a minute on each side, and STUN's before it. */
export const LIVENESS_MS = 150_000;
/** Between pings while pairs are waited for, and in the quiet afterwards. */
const PROBE_MS = 1000;
const QUIET_PROBE_MS = 4000;
/** A ping's patience. */
const PING_TIMEOUT_MS = 3000;
/** Between the pings of a pair that needs what the program cannot do yet. */
const HOPELESS_MS = 20_000;
/** Memory of an engine with a handful of peers and streams; it begins with 48 MiB. */
const ENGINE_BYTES_MAX = 64 << 20;
/** Extra local ends that a peer may hold once it is reached: the one that won. */
const LOCALS_PER_PEER_MAX = 1;
/** Silence that a stream need not outlive: TCP gives up after two minutes. */
const STREAM_LIFE_MS = 100_000;
/** How long streams may take once a pair talks. */
const STREAMS_MS = 50_000;
/** The tunnel's largest packet in IPv6, UDP and WireGuard. */
const OUTER_BYTES = 1280 + 80;
/** In the quiet, the longest time between answers: links lose some. */
const QUIET_GAP_MS = 30_000;
/** How often pairs are looked after. */
const WATCH_MS = 1000;
/**
 * How soon a pair that may talk must, by what has happened to it. A side that only answers notices by its keepalive, after
 * 25 s, and what it does then may be lost once.
 */
const RECOVERY_MS: Readonly<Record<Disturbance, number>> = {
  start: 20_000,
  network: 45_000,
  sleep: 35_000,
};
/** Changes of a path beyond one for each event and end: the LAN's answer may come after the Internet's. */
const MOVES_SLACK = 2;
/** Violations that are kept. */
const VIOLATIONS_MAX = 20;
/** Happenings in one world. More mean that something multiplies. */
const HAPPENINGS_MAX = 3_000_000;

/** Runs a world to its end. Never throws: what is thrown inside is a violation. */
export function runWorld(scenario: Scenario, options: WorldOptions): Outcome {
  return new World(scenario, options).run();
}

class World {
  readonly #scenario: Scenario;
  readonly #expectations: Expectations;
  readonly #module: WebAssembly.Module;
  readonly #queue = new EventQueue();
  readonly #trace: Trace;
  readonly #wire: Wire;
  readonly #topology: Topology;
  readonly #discovery: SimDiscovery;
  readonly #attacker: Attacker;
  readonly #faults: Faults;
  readonly #nodes = new Map<string, SimNode>();
  readonly #checks = new Map<SimNode, NodeChecks>();
  readonly #inner: Uint8Array[] = [];
  readonly #pairs: Pair[] = [];
  readonly #watchdogs = new Map<Pair, Watchdog>();
  readonly #streams = new Map<Pair, PairStreams>();
  readonly #violations: string[] = [];
  readonly #verdicts = new Map<string, Verdict>();
  readonly #healMs = new Map<Pair, number>();
  readonly #drops = new Map<string, number>();
  #now = 0 as Instant;

  constructor(scenario: Scenario, { module, print, expectations = EXPECTATIONS }: WorldOptions) {
    const { seed } = scenario;
    this.#scenario = scenario;
    this.#expectations = expectations;
    this.#module = module;
    this.#trace = new Trace(print);
    this.#wire = {
      now: () => this.#now,
      at: (instant, happening) => this.#queue.push(instant, happening),
      dropped: (why) => void this.#drops.set(why, (this.#drops.get(why) ?? 0) + 1),
    };
    this.#topology = new Topology(scenario.topology, this.#wire, seed);
    this.#discovery = new SimDiscovery(this.#wire);
    this.#attacker = new Attacker(this.#topology.internet, this.#wire, {
      chance: chanceOf(seed, "attacker"),
      delivers: this.#expectations.validation,
    });
    this.#topology.internet.tap = (packet) => this.#attacker.see(packet);
    this.#faults = new Faults({
      topology: this.#topology,
      discovery: this.#discovery,
      attacker: this.#attacker,
      nodes: this.#nodes,
      after: (ms, happening) => this.#after(ms, happening),
      disturbed: (which, what) => this.#disturbed(which, what),
    });
    this.#addNodes();
  }

  run(): Outcome {
    const { healAt, endAt, faults } = this.#scenario;
    for (const { at, fault } of faults) this.#at(at, () => this.#happen(fault));
    this.#at(WATCH_MS, () => this.#watch());
    this.#at(healAt, () => this.#heal());
    this.#at(healAt + LIVENESS_MS, () => this.#demand());
    let happenings = 0;
    try {
      for (let at; (at = this.#queue.nextAt) !== undefined && at <= endAt;) {
        assert(at >= this.#now, "time runs forward");
        this.#now = at;
        this.#queue.pop()?.();
        if (++happenings > HAPPENINGS_MAX) {
          this.#violate("so much happens that the world never ends");
          break;
        }
      }
      this.#now = endAt as Instant;
      this.#finish();
    } catch (error) {
      const stack = error instanceof Error ? error.stack ?? "" : "";
      this.#violate(`throws: ${messageOf(error)}${stack.split("\n").slice(1, 4).join(" ")}`);
    }
    return {
      seed: this.#scenario.seed,
      hash: this.#trace.hash,
      violations: this.#violations,
      pairs: this.#pairs.map((pair) => this.#outcomeOf(pair)),
      happenings,
    };
  }

  #addNodes(): void {
    const { seed, nodes } = this.#scenario;
    const watcher: NodeWatcher = {
      event: (node, event) => this.#told(node, event),
      log: (node, level, message) => {
        this.#say(() => `${node.name} ${level}: ${message}`);
        if (level === "error") this.#violate(`${node.name} logs an error: ${message}`);
      },
      sent: (node, bytes, to) => this.#sent(node, bytes, to),
      received: (node, packet) => this.#received(node, packet),
      fault: (node, what) => this.#violate(`${node.name}: ${what}`),
    };
    for (const plan of nodes) {
      const node = new SimNode({
        ...plan,
        seed,
        watcher,
        module: this.#module,
        wire: this.#wire,
        topology: this.#topology,
        discovery: this.#discovery,
      });
      this.#nodes.set(plan.name, node);
      const report = (what: string): void => this.#violate(`${node.name} ${what}`);
      this.#checks.set(node, new NodeChecks(report, this.#inner));
      this.#at(plan.startAt, () => this.#start(node));
    }
    const [colony, ...agents] = [...this.#nodes.values()];
    assert(colony !== undefined, "a world has a colony");
    for (const agent of agents) {
      const pair = new Pair(agent, colony);
      this.#pairs.push(pair);
      this.#streams.set(pair, new PairStreams(pair));
      const { chatterMs = 0 } = nodes.find(({ name }) => name === agent.name) ?? {};
      if (chatterMs > 0) {
        this.#watchdogs.set(pair, new Watchdog());
        this.#chatter(pair, chatterMs);
      }
    }
  }

  #start(node: SimNode): void {
    node.start();
    const inner = parseIp(node.process?.meshIpv6 ?? "");
    if (inner !== undefined) this.#inner.push(inner);
    this.#say(() => `${node.name} starts in ${node.site}`);
    for (const pair of this.#pairs) {
      if (!pair.has(node) || pair.otherOf(node).process === undefined) continue;
      pair.startedAt = this.#now;
      this.#watchdogs.get(pair)?.disturbed(this.#now, "start");
    }
  }

  // ---- what nodes do

  #told(node: SimNode, event: NodeEvent): void {
    this.#say(() => `${node.name} ${describe(event, (key) => this.#nameOf(key))}`);
    if (event.kind !== "peerConnected" && event.kind !== "peerMoved") return;
    const peer = this.#nameOf(event.publicKey);
    this.#checks.get(node)?.moved(peer, event.remote);
    for (const pair of this.#pairs) {
      if (pair.has(node) && pair.otherOf(node).name === peer) pair.take(this.#now, node, event);
    }
  }

  #sent(node: SimNode, bytes: Uint8Array, to: SocketAddress): void {
    this.#trace.mix(this.#now);
    this.#trace.mix(bytes.length * 256 + (bytes[0] ?? 0));
    this.#trace.mix(to.port);
    this.#checks.get(node)?.sent(this.#now, bytes, to);
  }

  #received(node: SimNode, packet: Packet): void {
    this.#trace.mix(this.#now);
    this.#checks.get(node)?.received(packet);
    const sender = this.#nodes.get(packet.sender.name);
    if (sender !== undefined) this.#checks.get(sender)?.delivered(packet.aim, node.name);
  }

  #nameOf(publicKey: string): string {
    for (const { name, process } of this.#nodes.values()) {
      if (process?.publicKey === publicKey) return name;
    }
    return publicKey.slice(0, 8);
  }

  #chatter(pair: Pair, everyMs: number): void {
    const again = (): void => {
      if (this.#now >= this.#scenario.healAt) return;
      this.#ping(pair, pair.agent);
      // From the first answer on: before, there is nobody to open a stream to.
      const streams = this.#streams.get(pair);
      if (this.#now - pair.agentHeardAt > STREAM_LIFE_MS) streams?.forgive();
      else if (pair.heardOnce) streams?.drip();
      // Whom nothing is asked of shakes hands in vain, which costs more than all the rest.
      const hopeless = !pair.heardOnce && !this.#isDue(this.#verdictOf(pair));
      this.#after(hopeless ? Math.max(everyMs, HOPELESS_MS) : everyMs, again);
    };
    this.#after(everyMs, again);
  }

  /** Has one end of a pair send an echo to the other. */
  #ping(pair: Pair, from: SimNode): void {
    const to = pair.otherOf(from).process?.publicKey;
    if (!from.awake || to === undefined) return;
    from.process?.ping(to, PING_TIMEOUT_MS, (rttMs) => {
      if (rttMs === null) return;
      this.#trace.mix(rttMs);
      pair.heard(this.#now, from);
      if (from === pair.agent) this.#watchdogs.get(pair)?.heard(this.#now);
      if (this.#now < this.#scenario.healAt || this.#healMs.has(pair)) return;
      if (!pair.heardSince(this.#scenario.healAt)) return;
      const healMs = this.#now - this.#scenario.healAt;
      this.#healMs.set(pair, healMs);
      this.#say(() => `${pair.name} talks ${(healMs / 1000).toFixed(1)} s after the healing`);
    });
  }

  // ---- what goes wrong

  #happen(fault: Fault): void {
    this.#say(() => `FAULT ${JSON.stringify(fault)}`);
    this.#faults.happen(fault);
  }

  /** Notes that something has happened to the nodes or networks that `which` picks. */
  #disturbed(which: (node: SimNode) => boolean, what: Disturbance): void {
    for (const pair of this.#pairs) {
      if (!which(pair.agent) && !which(pair.colony)) continue;
      pair.events++;
      this.#watchdogs.get(pair)?.disturbed(this.#now, what);
    }
  }

  /** Looks after pairs that are asked to talk all the time. */
  #watch(): void {
    const limitMs = (after: Disturbance): number =>
      this.#expectations.recovery ? RECOVERY_MS[after] : Infinity;
    for (const [pair, watchdog] of this.#watchdogs) {
      const silentMs = watchdog.look(this.#now, this.#isAble(pair), limitMs);
      if (silentMs === undefined) continue;
      this.#violate(`${pair.name} could talk and has not for ${(silentMs / 1000).toFixed(1)} s`);
    }
    this.#after(WATCH_MS, () => this.#watch());
  }

  /** Whether nothing is in the way of a direct path at the moment. */
  #isAble({ agent, colony }: Pair): boolean {
    if (this.#discovery.down || this.#topology.stun.down) return false;
    if (!agent.awake || !colony.awake) return false;
    return [agent.site, colony.site].every((site) =>
      !this.#faults.degraded.has(site) &&
      this.#topology.linksOf(site).every(({ dead }) => dead.size === 0)
    ) && this.#verdictOf({ agent, colony }) === "direct";
  }

  #carrierOf(site: string): string | undefined {
    return this.#topology.site(site).description.carrier;
  }

  // ---- how it ends

  #heal(): void {
    this.#say(() => "HEALED");
    this.#faults.mendAll();
    this.#attacker.stop();
    const probe = (): void => {
      for (const pair of this.#pairs) {
        this.#ping(pair, pair.agent);
        this.#ping(pair, pair.colony);
      }
      const waiting = this.#pairs.some((pair) =>
        !this.#healMs.has(pair) && this.#isDue(this.#verdictOf(pair))
      );
      this.#after(waiting ? PROBE_MS : QUIET_PROBE_MS, probe);
    };
    probe();
  }

  /** Every pair that must talk does by now, and goes on. */
  #demand(): void {
    for (const pair of this.#pairs) {
      const verdict = this.#verdictOf(pair);
      if (!this.#isDue(verdict)) {
        this.#after(STREAMS_MS, () => this.#streams.get(pair)?.close());
      } else if (!this.#healMs.has(pair)) {
        const reasons = [pair.agent, pair.colony].map((node) => this.#reasonAt(node, pair));
        this.#violate(
          `${pair.name} (${pair.agent.site} and ${pair.colony.site}: ${verdict}) does not talk ` +
            `${LIVENESS_MS / 1000} s after the healing: ${reasons.join("; ")}`,
        );
      } else {
        this.#watchQuiet(pair);
        this.#streams.get(pair)?.startBulk();
        this.#after(STREAMS_MS, () => this.#demandStreams(pair));
      }
    }
  }

  /** Everything that was sent on streams is there. */
  #demandStreams(pair: Pair): void {
    const streams = this.#streams.get(pair);
    if (streams === undefined) return;
    const { broken, owed, bulk } = streams;
    if (broken !== undefined) {
      // An end that has lost patience resets the other.
      const late = /timedOut|reset/.test(broken) && !this.#expectations.streams;
      if (!late) this.#violate(`${pair.name}: the long-lived stream broke: ${broken}`);
    } else if (owed > 0) {
      this.#violate(`${pair.name}: ${owed} bytes of the long-lived stream are missing`);
    }
    if (bulk !== BULK_BYTES && (this.#expectations.pathMtu || this.#isWide(pair))) {
      this.#violate(`${pair.name}: of ${BULK_BYTES} bytes in bulk there are ${bulk}`);
    }
    streams.close();
  }

  /** Whether every link between the two takes the tunnel's packets whole. */
  #isWide({ agent, colony }: Pair): boolean {
    return [agent.site, colony.site].every((site) =>
      this.#topology.linksOf(site).every(({ quality }) => quality.mtu >= OUTER_BYTES)
    );
  }

  #watchQuiet(pair: Pair): void {
    const look = (): void => {
      const gap = this.#now - pair.heardAt;
      if (gap > QUIET_GAP_MS) {
        return this.#violate(`${pair.name} is silent for ${gap / 1000} s in the quiet`);
      }
      this.#after(QUIET_PROBE_MS, look);
    };
    look();
  }

  #finish(): void {
    for (const node of this.#nodes.values()) {
      const { process } = node;
      if (process === undefined) {
        this.#violate(`${node.name} does not run in the end`);
        continue;
      }
      const { memoryBytes } = process.engine;
      if (memoryBytes > ENGINE_BYTES_MAX) {
        this.#violate(`${node.name}: its engine has grown to ${memoryBytes} bytes`);
      }
      const { locals } = process.transport;
      const own = this.#pairs.filter((pair) => pair.has(node));
      // Whoever is not reached is guessed for, now and then.
      const reached = own.every((pair) => this.#healMs.has(pair));
      if (reached && locals > own.length * LOCALS_PER_PEER_MAX) {
        this.#violate(`${node.name}: ${locals} extra local ends are left for ${own.length} peers`);
      }
      // A colony keeps those whose agents were killed: nobody has asked TCP to look after idle ones.
      const { streams } = process;
      if (streams > 0 && node.role === "agent") {
        this.#violate(`${node.name}: ${streams} streams are left`);
      }
      const { counters } = process.status();
      this.#trace.say(this.#now, () => `${node.name} ${JSON.stringify(counters)}`);
      for (const name of ["eventsRefused", "streamsRefused"]) {
        if (counters[name] !== undefined) this.#violate(`${node.name}: ${name} ${counters[name]}`);
      }
    }
    this.#trace.say(this.#now, () => `drops ${JSON.stringify(Object.fromEntries(this.#drops))}`);
    for (const pair of this.#pairs) {
      const allowed = 2 * (pair.events + MOVES_SLACK);
      if (!this.#expectations.steadiness || pair.moves <= allowed) continue;
      this.#violate(`${pair.name} moved ${pair.moves} times for ${pair.events} events`);
    }
  }

  #outcomeOf(pair: Pair): PairOutcome {
    const { name, startedAt, connectedAt, moves, events } = pair;
    return {
      name,
      verdict: this.#verdictOf(pair),
      connectMs: startedAt === undefined || connectedAt === undefined
        ? undefined
        : connectedAt - startedAt,
      healMs: this.#healMs.get(pair),
      recoveries: this.#watchdogs.get(pair)?.recoveries ?? [],
      moves,
      events,
    };
  }

  #verdictOf({ agent, colony }: Pick<Pair, "agent" | "colony">): Verdict {
    const key = `${agent.site} ${colony.site}`;
    const known = this.#verdicts.get(key);
    if (known !== undefined) return known;
    const verdict = judge(this.#scenario.topology, agent.site, colony.site);
    this.#verdicts.set(key, verdict);
    return verdict;
  }

  #isDue(verdict: Verdict): boolean {
    switch (verdict) {
      case "direct":
        return true;
      case "guess":
        return this.#expectations.guessing;
      case "predict":
        return this.#expectations.prediction;
      case "relay":
        return this.#expectations.relay;
    }
  }

  #reasonAt(node: SimNode, pair: Pair): string {
    const other = pair.otherOf(node).process?.publicKey;
    const peer = node.process?.status().peers.find(({ publicKey }) => publicKey === other);
    if (peer === undefined) return `${node.name} does not know the other`;
    return `${node.name}: ${peer.reason ?? `connected to ${peer.endpoint}`}`;
  }

  #violate(what: string): void {
    const line = `${(this.#now / 1000).toFixed(3)} s: ${what}`;
    this.#say(() => `VIOLATION ${what}`);
    if (this.#violations.length < VIOLATIONS_MAX) this.#violations.push(line);
  }

  #say(line: () => string): void {
    this.#trace.say(this.#now, line);
  }

  #at(ms: number, happening: () => void): void {
    this.#queue.push(ms as Instant, happening);
  }

  #after(ms: number, happening: () => void): void {
    this.#queue.push(after(this.#now, ms), happening);
  }
}

/** A datapath's event as a line. */
function describe(event: NodeEvent, nameOf: (publicKey: string) => string): string {
  switch (event.kind) {
    case "candidatesChanged": {
      const addresses = event.candidates.map(({ kind, address }) => `${kind} ${address}`);
      return `candidates ${addresses.join(", ")}; ${event.nat.hint}`;
    }
    case "peerConnected":
    case "peerMoved":
      return `${event.kind} ${nameOf(event.publicKey)} ${event.remote}`;
    case "log":
      return `${event.level}: ${event.message}`;
    case "fatal":
      return `fatal: ${event.message}`;
    case "linksChanged":
    case "relaysChanged":
    case "relayConnect":
      return event.kind;
    case "stunSilent":
      return "no STUN server answers";
    default:
      return `${event.kind} ${nameOf(event.publicKey)}`;
  }
}
