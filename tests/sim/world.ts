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
import { Chatter } from "./chatter.ts";
import { NodeChecks } from "./checks.ts";
import { SimDiscovery } from "./discovery.ts";
import { Ending } from "./ending.ts";
import { EventQueue } from "./event_queue.ts";
import { EXPECTATIONS, type Expectations } from "./expectations.ts";
import { Faults } from "./faults.ts";
import type { Wire } from "./net/network.ts";
import type { Packet } from "./net/packet.ts";
import { Topology } from "./net/topology.ts";
import { type NodeWatcher, SimNode } from "./node.ts";
import type { Outcome, PairOutcome } from "./outcome.ts";
import { Pair } from "./pair.ts";
import { chanceOf } from "./random.ts";
import { RELAY_PORT, relayAddresses, SimRelay } from "./relay.ts";
import { RelayOffice } from "./relay_office.ts";
import type { RelayPlan } from "./relay_plan.ts";
import type { Fault, Scenario } from "./scenario.ts";
import type { Stage } from "./stage.ts";
import { type Print, Trace } from "./trace.ts";
import { Verdicts } from "./verdicts.ts";
import type { Happened } from "./watchdog.ts";

/** What a world is run with. */
export interface WorldOptions {
  /** The compiled engine. */
  readonly module: WebAssembly.Module;
  /** What is expected. @default {@linkcode EXPECTATIONS} */
  readonly expectations?: Expectations;
  /** Prints what happens, for a person. Absent: nothing is printed. */
  readonly print?: Print;
}

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
  readonly #module: WebAssembly.Module;
  readonly #queue = new EventQueue();
  readonly #trace: Trace;
  readonly #wire: Wire;
  readonly #topology: Topology;
  readonly #discovery: SimDiscovery;
  readonly #relays: ReadonlyMap<string, SimRelay>;
  readonly #attacker: Attacker;
  readonly #faults: Faults;
  readonly #nodes = new Map<string, SimNode>();
  readonly #checks = new Map<SimNode, NodeChecks>();
  readonly #inner: Uint8Array[] = [];
  readonly #pairs: Pair[] = [];
  readonly #verdicts: Verdicts;
  readonly #chatter: Chatter;
  readonly #ending: Ending;
  readonly #violations: string[] = [];
  readonly #drops = new Map<string, number>();
  #now = 0 as Instant;

  constructor(scenario: Scenario, { module, print, expectations = EXPECTATIONS }: WorldOptions) {
    const { seed, healAt } = scenario;
    this.#scenario = scenario;
    this.#module = module;
    this.#trace = new Trace(print);
    this.#wire = {
      now: () => this.#now,
      at: (instant, happening) => this.#queue.push(instant, happening),
      dropped: (why) => void this.#drops.set(why, (this.#drops.get(why) ?? 0) + 1),
    };
    this.#topology = new Topology(scenario.topology, this.#wire, seed);
    const { relays } = scenario;
    const office = relays && new RelayOffice({ ...relays, chance: chanceOf(seed, "relay office") });
    this.#discovery = new SimDiscovery(this.#wire, office);
    this.#relays = new Map(
      relays?.relays.map((plan, index) => [plan.id, this.#relayOf(plan, index)]),
    );
    this.#attacker = new Attacker(this.#topology.internet, this.#wire, {
      chance: chanceOf(seed, "attacker"),
      delivers: expectations.validation,
    });
    this.#topology.internet.tap = (packet) => this.#attacker.see(packet);
    this.#verdicts = new Verdicts(scenario.topology, {
      expectations,
      relays: relays?.relays ?? [],
    });
    this.#faults = new Faults({
      topology: this.#topology,
      discovery: this.#discovery,
      attacker: this.#attacker,
      relays: this.#relays,
      nodes: this.#nodes,
      after: (ms, happening) => this.#after(ms, happening),
      disturbed: (which, happened) => this.#disturbed(which, happened),
      changed: () => this.#chatter.changed(),
    });
    const stage: Stage = {
      expectations,
      topology: this.#topology,
      discovery: this.#discovery,
      relays: this.#relays,
      faults: this.#faults,
      nodes: this.#nodes,
      pairs: this.#pairs,
      verdicts: this.#verdicts,
      healAt,
      now: () => this.#now,
      after: (ms, happening) => this.#after(ms, happening),
      say: (line) => this.#say(line),
      mix: (value) => this.#trace.mix(value),
      violate: (what) => this.#violate(what),
    };
    this.#chatter = new Chatter(stage);
    this.#ending = new Ending(stage, this.#chatter);
    for (const relay of this.#relays.values()) relay.start();
    this.#addNodes();
  }

  run(): Outcome {
    const { healAt, endAt, faults } = this.#scenario;
    for (const { at, fault } of faults) this.#at(at, () => this.#happen(fault));
    this.#at(healAt, () => this.#heal());
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
      this.#ending.finish();
      this.#say(() => `drops ${JSON.stringify(Object.fromEntries(this.#drops))}`);
    } catch (error) {
      const stack = error instanceof Error ? error.stack ?? "" : "";
      this.#violate(`throws: ${messageOf(error)}${stack.split("\n").slice(1, 4).join(" ")}`);
    }
    return {
      seed: this.#scenario.seed,
      hash: this.#trace.hash,
      violations: this.#violations,
      pairs: this.#pairs.map((pair) => this.#outcomeOf(pair)),
      relays: this.#relays.size,
      happenings,
    };
  }

  #relayOf(plan: RelayPlan, index: number): SimRelay {
    return new SimRelay({
      plan,
      addresses: relayAddresses(plan, index),
      seed: this.#scenario.seed,
      wire: this.#wire,
      internet: this.#topology.internet,
      onReport: (report) => this.#discovery.report(report),
      onFault: (what) => this.#violate(what),
    });
  }

  #addNodes(): void {
    const { seed, nodes, relays } = this.#scenario;
    const addresses = new Set([...this.#relays.values()].flatMap(({ addresses }) => addresses));
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
      const noRelay = relays?.unwilling.includes(plan.name) ?? false;
      const node = new SimNode({
        ...plan,
        noRelay,
        seed,
        watcher,
        module: this.#module,
        wire: this.#wire,
        topology: this.#topology,
        discovery: this.#discovery,
      });
      this.#nodes.set(plan.name, node);
      const report = (what: string): void => this.#violate(`${node.name} ${what}`);
      this.#checks.set(
        node,
        new NodeChecks(report, this.#inner, { addresses, port: RELAY_PORT, noRelay }),
      );
      this.#at(plan.startAt, () => this.#start(node));
    }
    const [colony, ...agents] = [...this.#nodes.values()];
    assert(colony !== undefined, "a world has a colony");
    for (const agent of agents) {
      const pair = new Pair(agent, colony);
      this.#pairs.push(pair);
      const { chatterMs = 0 } = nodes.find(({ name }) => name === agent.name) ?? {};
      this.#chatter.begin(pair, chatterMs);
    }
  }

  #start(node: SimNode): void {
    node.start();
    const inner = parseIp(node.process?.meshIpv6 ?? "");
    assert(inner !== undefined, "a node has an address in the mesh");
    const [first = inner] = this.#inner;
    assert(first[0] === inner[0], "a mesh is one block of addresses");
    this.#inner.push(inner);
    this.#say(() => `${node.name} starts in ${node.site}`);
    for (const pair of this.#pairs) {
      if (!pair.has(node) || pair.otherOf(node).process === undefined) continue;
      pair.startedAt = this.#now;
      this.#chatter.disturbed(pair, { after: "start", cause: "the first start" });
    }
  }

  // ---- what nodes do

  #told(node: SimNode, event: NodeEvent): void {
    this.#say(() => `${node.name} ${describe(event, (key) => this.#nameOf(key))}`);
    if (
      event.kind !== "peerConnected" && event.kind !== "peerMoved" && event.kind !== "peerLost"
    ) return;
    const peer = this.#nameOf(event.publicKey);
    if (event.kind !== "peerLost") this.#checks.get(node)?.moved(peer, event.remote);
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
    for (const node of this.#nodes.values()) if (node.owns(publicKey)) return node.name;
    return publicKey.slice(0, 8);
  }

  // ---- what goes wrong

  #happen(fault: Fault): void {
    this.#say(() => `FAULT ${JSON.stringify(fault)}`);
    this.#faults.happen(fault);
  }

  /** Notes that something has happened to the nodes or networks that `which` picks. */
  #disturbed(which: (node: SimNode) => boolean, happened: Happened): void {
    for (const pair of this.#pairs) {
      if (!which(pair.agent) && !which(pair.colony)) continue;
      pair.events++;
      this.#chatter.disturbed(pair, happened);
    }
  }

  #heal(): void {
    this.#say(() => "HEALED");
    this.#faults.mendAll();
    this.#attacker.stop();
    this.#ending.begin();
  }

  // ---- what becomes of it

  #outcomeOf(pair: Pair): PairOutcome {
    const { name, startedAt, connectedAt, moves, events } = pair;
    return {
      name,
      verdict: this.#verdicts.of(pair),
      relayable: this.#verdicts.relaysOf(pair).length > 0,
      connectMs: startedAt === undefined || connectedAt === undefined
        ? undefined
        : connectedAt - startedAt,
      healMs: this.#chatter.healMsOf(pair),
      recoveries: this.#chatter.recoveriesOf(pair),
      upgrades: this.#chatter.upgradesOf(pair),
      moves,
      events,
    };
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
      return `${event.kind} ${nameOf(event.publicKey)} ${event.remote}` +
        (event.relayed === true ? " relayed" : "");
    case "log":
      return `${event.level}: ${event.message}`;
    case "fatal":
      return `fatal: ${event.message}`;
    case "relaysChanged": {
      const relays = event.relays.map(({ id, state, draining = false, reason = "" }) =>
        ` ${id} ${state}${draining ? " draining" : ""} ${reason}`
      );
      return `relaysChanged${relays.join(",")}`;
    }
    case "linksChanged":
    case "relayConnect":
    case "stunRefused":
      return event.kind;
    case "vouched":
      return `vouched for at ${event.address}`;
    case "stunSilent":
      return "no STUN server answers";
    default:
      return `${event.kind} ${nameOf(event.publicKey)}`;
  }
}
