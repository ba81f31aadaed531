/**
 * A relay of the world: the project's relay core behind simulated sockets.
 *
 * ```text
 *   client --UDP--> port 3478 --> RelayServer --> relayed port --UDP--> peer
 * ```
 *
 * To checks it is what a NAT is: what it passes on keeps the name of who made it, the address at which that one aimed, and the
 * address from which the relay had it.
 *
 * @module
 */
import {
  after,
  assert,
  type Family,
  familyOf,
  formatSocketAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import type { RelayReport } from "../../discovery/relay/report.ts";
import type { Flow, RelaySink, Train } from "../../relay/core/flow.ts";
import { RELAY_LIMITS } from "../../relay/core/limits.ts";
import { RelayServer } from "../../relay/core/relay_server.ts";
import {
  channelNumberOf,
  classify,
  DATA,
  decodeChannelData,
  decodeStun,
  encodeChannelData,
  findAttribute,
  METHOD_CHANNEL_BIND,
  METHOD_DATA,
  METHOD_SEND,
  type StunMessage,
  XOR_PEER_ADDRESS,
  xorAddressOf,
} from "../../traversal/mod.ts";
import { ATTACKER } from "./attacker.ts";
import { OPEN } from "./net/firewall.ts";
import { Link } from "./net/link.ts";
import { complain, Network, type Station, type Wire } from "./net/network.ts";
import type { Packet, Sender } from "./net/packet.ts";
import { chanceOf } from "./random.ts";
import type { RelayEnd, RelayPlan } from "./relay_plan.ts";
import { EPOCH_MS } from "./wall_clock.ts";

/** What Discovery and the relays of a world share. */
export const RELAY_SECRET = "sim relay secret";
/** What their challenges say. */
export const RELAY_REALM = "moray";
/** Where a relay listens for clients. */
export const RELAY_PORT = 3478;
/** Ports that are given to clients. */
const PORTS = { first: 49_152, last: 65_535 } as const;
/** How often it does what is due, and how often it reports itself: as the program does. */
const SWEEP_MS = 1000;
const REPORT_MS = 10_000;
/** Clients that are remembered; all are forgotten beyond, as the program does. */
const FLOWS_MAX = 4096;
/** After this every allocation has ended that nobody refreshes: the longest life that the core gives. */
const LIFETIME_MAX_MS = 3_600_000;

/** What a {@linkcode SimRelay} is made of. */
export interface SimRelayOptions {
  /** Which one. */
  readonly plan: RelayPlan;
  /** Its addresses; see {@linkcode relayAddresses}. */
  readonly addresses: readonly string[];
  /** Seed of the world. */
  readonly seed: number;
  /** Time and order. */
  readonly wire: Wire;
  /** What it is attached to. */
  readonly internet: Network;
  /** Takes its report of itself, where that gets through. */
  readonly onReport: (report: RelayReport) => void;
  /** Takes what must never happen. */
  readonly onFault: (what: string) => void;
}

/** A client as the relay knows it. */
interface SimFlow extends Flow {
  /** Where it asked: answers come from there. */
  readonly local: SocketAddress;
  /** Its channels, as it has asked for them. Numbers bound them. */
  readonly channels: Map<number, SocketAddress>;
}

/** What is passed on at the moment. */
interface Passing {
  /** Who made it. */
  readonly sender: Sender;
  /** Where he aimed. */
  readonly aim: SocketAddress;
}

/** One run of the program. */
interface Run {
  readonly core: RelayServer;
  readonly flows: Map<string, SimFlow>;
  /** Relayed addresses by their numbers, and numbers by family and port. */
  readonly relayed: Map<number, SocketAddress>;
  readonly numbers: Map<string, number>;
  draining: boolean;
}

/** The addresses of the relay of a number. */
export function relayAddresses({ families }: RelayPlan, index: number): readonly string[] {
  const of: Readonly<Record<Family, string>> = {
    4: `198.51.100.${11 + index}`,
    6: `2001:db8:ffff::1${index + 1}`,
  };
  return families.map((family) => of[family]);
}

/** A relay. */
export class SimRelay implements Station {
  /** Its plan. */
  readonly plan: RelayPlan;
  /** Its addresses. */
  readonly addresses: readonly string[];
  /** The link in front of it. */
  readonly link: Link;
  readonly #options: SimRelayOptions;
  readonly #network: Network;
  readonly #sender: Sender;
  #run: Run | undefined;
  #runs = 0;
  #end: RelayEnd = "gone";
  #passing: Passing | undefined;

  /** A relay that does not run yet. */
  constructor(options: SimRelayOptions) {
    const { plan, addresses, seed, wire, internet } = options;
    this.#options = options;
    this.plan = plan;
    this.addresses = addresses;
    this.#sender = { name: plan.id, icmp: () => undefined };
    this.link = new Link(plan.link, chanceOf(seed, `link ${plan.id}`));
    const above = { network: internet, link: this.link };
    this.#network = new Network({ name: plan.id, wire, above, boxes: { 4: OPEN, 6: OPEN } });
    for (const address of addresses) this.#network.attach(address, this);
  }

  /** Whether it can be used, and will be for a while. */
  get serves(): boolean {
    return this.#run !== undefined && !this.#run.draining && this.link.dead.size === 0;
  }

  /** Its addresses for clients. */
  get endpoints(): readonly SocketAddress[] {
    return this.addresses.map((hostname) => ({ hostname, port: RELAY_PORT }));
  }

  /** Allocations now. */
  get allocations(): number {
    return this.#run?.core.allocations ?? 0;
  }

  /** What it has done since its start, by name. */
  counters(): Readonly<Record<string, number>> {
    return this.#run?.core.counters() ?? {};
  }

  /** Starts the program, if it does not run. */
  start(): void {
    if (this.#run !== undefined) return;
    const { plan, seed, wire } = this.#options;
    const now = wire.now();
    const run: Run = {
      core: new RelayServer(now, {
        sink: this.#sink(),
        rng: chanceOf(seed, `${plan.id} ${++this.#runs}`),
        unixMs: () => EPOCH_MS + wire.now(),
        secret: RELAY_SECRET,
        realm: RELAY_REALM,
        externalIps: this.addresses,
        ownAddresses: this.addresses,
        allowPrivatePeers: false,
        limits: RELAY_LIMITS,
        portRange: PORTS,
        software: "moray sim",
        canForbidSplitting: true,
      }),
      flows: new Map(),
      relayed: new Map(),
      numbers: new Map(),
      draining: false,
    };
    this.#run = run;
    this.#report();
    this.#every(SWEEP_MS, run, () => run.core.handleTimeout(wire.now()));
    this.#every(REPORT_MS, run, () => this.#report());
  }

  /** Starts the program where it does not run or is about to end. */
  restart(): void {
    if (this.#run?.draining === true) this.kill("gone");
    this.start();
  }

  /** Ends the program at once, with all that it knew. */
  kill(how: RelayEnd): void {
    this.#run = undefined;
    this.#end = how;
  }

  /** Takes nobody new, tells everybody, and ends after `ms`. */
  drain(ms: number): void {
    const run = this.#run;
    if (run === undefined || run.draining) return;
    const { wire } = this.#options;
    run.core.drain(wire.now(), ms);
    run.draining = true;
    this.#report();
    this.#later(ms, () => {
      if (this.#run !== run) return;
      run.core.close();
      this.kill("gone");
    });
  }

  /** What is left once everybody has stayed away for longer than an allocation lives: allocations, and relayed ports. */
  leftovers(): number {
    const run = this.#run;
    if (run === undefined) return 0;
    run.core.handleTimeout(after(this.#options.wire.now(), LIFETIME_MAX_MS + SWEEP_MS));
    return run.core.allocations + run.relayed.size;
  }

  receive(packet: Packet): void {
    const { wire, plan } = this.#options;
    const { destination, source, bytes, sender, aim } = packet;
    const run = this.#run;
    if (run === undefined && this.#end === "off") return;
    const relayed = run?.numbers.get(portKey(familyOf(destination.hostname), destination.port));
    if (run === undefined || (relayed === undefined && destination.port !== RELAY_PORT)) {
      return complain(wire, packet, { kind: "portUnreachable", destination: aim });
    }
    // The core lends bytes to nobody for longer than the call, but those of a packet may be others' too.
    const copy = bytes.slice();
    if (relayed !== undefined) {
      this.#passing = { sender: this.#standIn(sender), aim };
      run.core.handlePeer(wire.now(), relayed, source, { bytes: copy, segment: copy.length });
    } else {
      const flow = this.#flowOf(run, packet);
      const { aim = source, data } = requestOf(flow, copy);
      // A relay is a way for tunnels, and for nothing else.
      if (data !== undefined && sender.name !== ATTACKER && classify(data) !== "wireguard") {
        this.#options.onFault(`${sender.name} has ${plan.id} pass on what is not WireGuard`);
      }
      this.#passing = { sender: this.#standIn(sender), aim };
      run.core.handleClient(wire.now(), flow, copy, copy.length);
    }
    this.#passing = undefined;
  }

  #flowOf({ flows }: Run, { source, destination }: Packet): SimFlow {
    const key = formatSocketAddress(source);
    const known = flows.get(key);
    if (known !== undefined) return known;
    if (flows.size >= FLOWS_MAX) flows.clear();
    const flow: SimFlow = {
      key,
      protocol: "udp",
      source,
      local: destination,
      channels: new Map(),
    };
    flows.set(key, flow);
    return flow;
  }

  #sink(): RelaySink {
    return {
      sendMessage: (flow, message) => {
        const decoded = decodeStun(message);
        const peer = decoded && peerOfData(decoded);
        this.#sendToClient(flow as SimFlow, message.slice(), peer);
      },
      sendChannelData: (flow, channel, train) => {
        const client = flow as SimFlow;
        for (const data of datagramsOf(train)) {
          const message = encodeChannelData({ channel, data });
          this.#sendToClient(client, message, client.channels.get(channel));
        }
      },
      sendToPeer: (number, peer, train) => {
        const source = this.#run?.relayed.get(number);
        assert(source !== undefined, "a relay sends from ports that are open");
        for (const data of datagramsOf(train)) this.#send(source, peer, data.slice());
      },
      openRelayed: (family, port) => this.#open(family, port),
      closeRelayed: (number) => {
        const address = this.#run?.relayed.get(number);
        if (address === undefined) return;
        this.#run?.relayed.delete(number);
        this.#run?.numbers.delete(portKey(familyOf(address.hostname), address.port));
      },
      endFlow: () => undefined,
    };
  }

  #open(family: Family, port: number): number | undefined {
    const hostname = this.addresses.find((address) => familyOf(address) === family);
    if (hostname === undefined || this.#run === undefined) return undefined;
    const { relayed, numbers } = this.#run;
    const key = portKey(family, port);
    if (numbers.has(key)) return undefined;
    const number = family === 4 ? port : 0x10000 + port;
    relayed.set(number, { hostname, port });
    numbers.set(key, number);
    return number;
  }

  /** Sends a client what the relay says itself, or what it has from `peer`. */
  #sendToClient(
    { local, source }: SimFlow,
    bytes: Uint8Array,
    peer: SocketAddress | undefined,
  ): void {
    if (peer !== undefined) return this.#send(local, source, bytes, peer);
    const sender = this.#sender;
    this.#network.send({ source: local, destination: source, bytes, sender, aim: source });
  }

  /** Passes on what is being passed on. */
  #send(
    source: SocketAddress,
    destination: SocketAddress,
    bytes: Uint8Array,
    relayedFrom?: SocketAddress,
  ): void {
    const { sender = this.#sender, aim = destination } = this.#passing ?? {};
    const from = relayedFrom === undefined ? {} : { relayedFrom };
    this.#network.send({ source, destination, bytes, sender, aim, ...from });
  }

  /** The maker of a packet for those that the relay makes of it: what becomes of them, it is not told. */
  #standIn({ name }: Sender): Sender {
    return { name, icmp: () => undefined };
  }

  #report(): void {
    const run = this.#run;
    if (run === undefined || this.link.dead.size > 0) return;
    const { plan: { id }, wire, onReport } = this.#options;
    onReport({
      id,
      region: "",
      transports: this.endpoints.map((endpoint) => (
        { kind: "udp", endpoint: formatSocketAddress(endpoint) }
      )),
      realm: RELAY_REALM,
      bandwidthBytesPerSecond: 0,
      load: 0,
      draining: run.draining,
      sessions: run.core.allocations,
      usage: [],
      issuedAt: EPOCH_MS + wire.now(),
    });
  }

  #every(ms: number, run: Run, happening: () => void): void {
    this.#later(ms, () => {
      if (this.#run !== run) return;
      happening();
      this.#every(ms, run, happening);
    });
  }

  #later(ms: number, happening: () => void): void {
    const { wire } = this.#options;
    wire.at(after(wire.now(), ms), happening);
  }
}

function portKey(family: Family, port: number): string {
  return `${family} ${port}`;
}

/** Whom a client's message aims at, and what it has for him; the client's channels are learned by the way. */
function requestOf(
  { channels }: SimFlow,
  bytes: Uint8Array,
): { readonly aim?: SocketAddress | undefined; readonly data?: Uint8Array | undefined } {
  if (classify(bytes) === "channelData") {
    const message = decodeChannelData(bytes);
    return { aim: message && channels.get(message.channel), data: message?.data };
  }
  const message = decodeStun(bytes);
  const aim = message && xorAddressOf(message, XOR_PEER_ADDRESS);
  if (message === undefined || aim === undefined) return {};
  const number = channelNumberOf(message);
  if (message.method === METHOD_CHANNEL_BIND && number !== undefined) channels.set(number, aim);
  return message.method === METHOD_SEND ? { aim, data: findAttribute(message, DATA) } : {};
}

/** Whose datagram is in a Data indication; `undefined` for any other message. */
function peerOfData(message: StunMessage): SocketAddress | undefined {
  return message.method === METHOD_DATA ? xorAddressOf(message, XOR_PEER_ADDRESS) : undefined;
}

function datagramsOf({ bytes, segment, skip }: Train): Uint8Array[] {
  const datagrams: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += segment) {
    datagrams.push(bytes.subarray(at + skip, at + segment));
  }
  return datagrams;
}
