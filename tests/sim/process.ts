/**
 * One run of a node's program: the real datapath with the real engine, and the real control, over simulated sockets.
 *
 * ```text
 *   SimTransport --> Datapath + Engine <== arena ==> MeshControl --> SimDiscovery
 *                                                        ^
 *                                                        +--- WatchClient
 * ```
 *
 * Both threads of a node run here in turns; what crosses between them crosses the real shared memory.
 *
 * @module
 */
import {
  after,
  earlier,
  familyOf,
  formatBase64,
  formatSocketAddress,
  type Instant,
  MorayError,
  type SocketAddress,
} from "../../core/mod.ts";
import { COLONY_IPV4, meshIpv6Of } from "../../agent/addressing.ts";
import { Datapath } from "../../agent/datapath/datapath.ts";
import { MeshControl } from "../../agent/mesh_control.ts";
import type { MeshAnswer, MeshRequest } from "../../agent/mesh_messages.ts";
import type { Role } from "../../agent/mesh_peers.ts";
import {
  CLOCKS_MS,
  CONNECT_PORT,
  INTERFACES_MS,
  INTERFACES_RARELY_MS,
  MESH_MTU,
} from "../../agent/mesh_settings.ts";
import { NameTable } from "../../agent/names.ts";
import { ownFamiliesFirst } from "../../agent/relay_requests.ts";
import {
  type CommandBody,
  type DatapathEvent,
  type DatapathStatus,
  type NodeEvent,
  type Reply,
  SharedArena,
} from "../../agent/shared/mod.ts";
import type { DiscoveredPeer } from "../../discovery/mod.ts";
import { SleepDetector } from "../../io/sleep.ts";
import { Engine } from "../../wg/mod.ts";
import type { Caller, SimDiscovery } from "./discovery.ts";
import { type EchoClient, EchoStreams } from "./echo_streams.ts";
import type { Host } from "./net/host.ts";
import type { IcmpError, Packet } from "./net/packet.ts";
import { STUN_SERVERS } from "./net/topology.ts";
import { type Chance, chanceOf } from "./random.ts";
import { SimTransport } from "./sim_transport.ts";
import { WatchClient } from "./watch_client.ts";

/** The mesh of every world. */
export const MESH = "reef";
/** Turns of both threads for one cause. More mean that they keep each other going. */
const TURNS_MAX = 100;

/** What a run is started with. */
export interface ProcessOptions {
  /** For streams of chance, and in traces. */
  readonly name: string;
  /** Seed of the world, and which run of this node it is. */
  readonly seed: number;
  readonly run: number;
  /** Colony or agent. */
  readonly role: Role;
  /** Private key, 32 bytes. */
  readonly privateKey: Uint8Array;
  /** The UDP port. */
  readonly port: number;
  /** The compiled engine. */
  readonly module: WebAssembly.Module;
  /** Where it runs. */
  readonly host: Host;
  /** The node's monotonic clock, and the wall clock. */
  readonly now: () => Instant;
  readonly wallClockMs: () => number;
  /** Discovery, and the way to it. */
  readonly discovery: SimDiscovery;
  readonly access: Caller["access"];
  /** Whether it hears of changed interfaces at once; otherwise it looks every 2 s. */
  readonly watchesLinks: boolean;
  /** Whether its administrator wants no relay. */
  readonly noRelay: boolean;
  /** Peers of an earlier run. */
  readonly cached: readonly DiscoveredPeer[];
  /** What happens to it. */
  readonly listener: ProcessListener;
}

/** Hears what a run does. */
export interface ProcessListener {
  /** The datapath told something. */
  event(event: NodeEvent): void;
  /** A log line of the control. */
  log(level: string, message: string): void;
  /** A datagram is about to leave. */
  sent(bytes: Uint8Array, to: SocketAddress): void;
  /** A datagram came to the datapath. */
  received(packet: Packet): void;
  /** Something that must never happen. */
  fault(what: string): void;
  /** There is something to do outside of its own times. */
  wanted(): void;
  /** Something comes from outside: runs it now, or when the program runs again; what may be lost may be lost. */
  enter(happening: () => void, droppable: boolean): void;
}

/** One run. */
export class Process {
  /** Its key, base64. */
  readonly publicKey: string;
  /** Its address in the mesh. */
  readonly meshIpv6: string;
  /** Its engine, for checks of its memory. */
  readonly engine: Engine;
  /** Its sockets. */
  readonly transport: SimTransport;
  /** Its decisions. */
  readonly control: MeshControl;
  readonly #options: ProcessOptions;
  readonly #chance: Chance;
  readonly #arena: SharedArena;
  readonly #datapath: Datapath;
  readonly #watch: WatchClient;
  readonly #streams: EchoStreams;
  readonly #replies = new Map<number, (reply: Reply) => void>();
  readonly #caller: Caller;
  #nextCommand = 1;
  #interfaces: string;
  #lookAt: Instant;
  readonly #sleeps: SleepDetector;
  #clocksAt: Instant;
  #dueAt: Instant | undefined;
  #mainWanted = false;
  /** The bell was rung for the Worker; its sockets have something to read. */
  #workerRung = false;
  #workerFed = false;
  #ended = false;

  /** Starts the program. */
  constructor(options: ProcessOptions) {
    const { name, seed, run, role, privateKey, port, module, host, listener } = options;
    const { now, wallClockMs, discovery, access, cached, noRelay } = options;
    this.#options = options;
    this.#chance = chanceOf(seed, `control ${name} ${run}`);
    const rng = chanceOf(seed, `engine ${name} ${run}`);
    const at = now();
    this.engine = new Engine(module, {
      wallClockMs,
      rng,
      onPrint: (text) => listener.fault(`the engine says: ${text}`),
    }, { now: at, privateKey, mtu: MESH_MTU });
    const publicKey = this.engine.publicKey;
    this.publicKey = formatBase64(publicKey);
    this.meshIpv6 = meshIpv6Of(MESH, publicKey);
    this.#caller = { meshId: MESH, publicKey: this.publicKey, access };
    this.#arena = SharedArena.create();
    this.transport = new SimTransport(host, {
      datagram: (packet, local) => this.#enter(() => this.#receive(packet, local), true),
      icmp: (error) => this.#enter(() => this.#icmp(error), true),
      sent: (bytes, to) => listener.sent(bytes, to),
    }, port);
    this.#datapath = new Datapath({
      arena: this.#arena,
      engine: this.engine,
      transport: this.transport,
      clock: { now },
      wallClockMs,
      rng: chanceOf(seed, `stun ${name} ${run}`),
      interfaces: () => host.interfaces,
    });
    this.#streams = new EchoStreams({
      arena: this.#arena,
      send: (command, done) => this.#send(command, done),
      ring: () => {
        if (this.#arena.ringWorker()) this.#workerRung = true;
        listener.wanted();
      },
    });
    const names = new NameTable(MESH);
    names.set(name, this.meshIpv6);
    this.control = new MeshControl({
      now: at,
      rng: this.#chance,
      role,
      mesh: MESH,
      publicKey: this.publicKey,
      meshIpv6: this.meshIpv6,
      name,
      connectPort: CONNECT_PORT,
      discovery: ["https://discovery.example"],
      names,
      cached,
      noRelay,
    });
    this.#watch = new WatchClient({
      chance: this.#chance,
      now,
      open: ({ event, ended }) =>
        discovery.watch(this.#caller, {
          event: (told) => this.#enter(() => event(told), false),
          ended: (reason, unknown) => this.#enter(() => ended(reason, unknown), false),
        }),
      onEvent: (event) => {
        this.control.handlePeerEvent(now(), event);
        listener.wanted();
      },
      onState: (state) => {
        this.control.handleWatchState(now(), state);
        listener.wanted();
      },
    });
    this.#interfaces = JSON.stringify(host.interfaces);
    this.#lookAt = after(at, this.#interfacesMs);
    this.#sleeps = new SleepDetector(at, wallClockMs());
    this.#clocksAt = after(at, CLOCKS_MS);
    const own = [`${this.meshIpv6}/128`, ...(role === "colony" ? [`${COLONY_IPV4}/32`] : [])];
    this.#send({ kind: "setAddresses", addresses: own });
    this.#send({ kind: "linkChanged" });
    this.#streams.listen();
    this.control.start(at);
  }

  /** Ends the program without a word, as `kill -9` does. */
  kill(): void {
    this.#ended = true;
    this.#watch.stop();
    this.transport.close();
  }

  /** Does what is due; the instant of the next turn, in the node's time. */
  turn(): Instant | undefined {
    const { now, listener } = this.#options;
    this.#look(now());
    this.#watch.handleTimeout(now());
    this.control.handleTimeout(now());
    for (let turns = 0;; turns++) {
      if (turns === TURNS_MAX) {
        listener.fault("its two threads keep each other going");
        break;
      }
      this.#heedControl();
      if (!this.#turnWorker(now())) break;
      this.#mainWanted = false;
      this.#heedDatapath();
    }
    const control = earlier(this.control.pollTimeout(), this.#watch.pollTimeout());
    return earlier(earlier(this.#dueAt, control), earlier(this.#lookAt, this.#clocksAt));
  }

  /** The Worker's turn, if it has one: it was rung for, something came, or time is up. Returns whether it rings in turn. */
  #turnWorker(now: Instant): boolean {
    const due = this.#dueAt !== undefined && this.#dueAt <= now;
    if (!due && !this.#workerRung && !this.#workerFed) return false;
    if (this.#workerRung) this.#datapath.handleBell();
    this.#workerRung = false;
    this.#workerFed = false;
    this.#dueAt = this.#datapath.step(() => this.#mainWanted = true);
    return this.#mainWanted;
  }

  /** Sends an echo to a peer's mesh address; `done` gets the round trip, `null` for none. */
  ping(publicKey: string, timeoutMs: number, done: (rttMs: number | null) => void): void {
    const address = this.control.peers.find(publicKey)?.meshIpv6;
    if (address === undefined) return done(null);
    this.#send({ kind: "ping", address, sequence: 1, timeoutMs }, (reply) => {
      done(reply.ok ? reply.value as number | null : null);
    });
    this.#options.listener.wanted();
  }

  /** Opens a stream to a peer's echo port; `undefined` while the peer is not known. */
  openStream(publicKey: string): EchoClient | undefined {
    const address = this.control.peers.find(publicKey)?.meshIpv6;
    return address === undefined ? undefined : this.#streams.connect(address);
  }

  /** Streams that hold a slot. */
  get streams(): number {
    return this.#streams.size;
  }

  /** The datapath's state, as `status` tells it. */
  status(): DatapathStatus {
    let status: DatapathStatus | undefined;
    this.#send({ kind: "status" }, (reply) => {
      if (reply.ok) status = reply.value as DatapathStatus;
    });
    this.turn();
    if (status === undefined) throw new MorayError("internal", "the datapath does not answer");
    return status;
  }

  #receive(packet: Packet, local: number): void {
    this.#workerFed = true;
    this.#options.listener.received(packet);
    this.#datapath.handleDatagram(packet.source, packet.bytes, local);
  }

  #icmp(error: IcmpError): void {
    const { destination } = error;
    this.#workerFed = true;
    if (error.kind === "tooBig") {
      const { mtu } = error;
      this.#datapath.handlePathError({ kind: "packetTooBig", destination, mtu, local: false });
    } else this.#datapath.handlePathError({ kind: "unreachable", destination, what: "port" });
    this.#options.listener.wanted();
  }

  /** The interfaces have changed, and the kernel says so to whoever listens. */
  noticeLinks(): void {
    const { now, listener, watchesLinks } = this.#options;
    if (!watchesLinks) return;
    this.#enter(() => {
      this.control.handleDatapath(now(), { kind: "linksChanged" });
      listener.wanted();
    }, false);
  }

  /** Compares the clocks and looks at the interfaces, as the main thread does. */
  #look(now: Instant): void {
    if (now >= this.#clocksAt) {
      const wallMs = this.#options.wallClockMs();
      const slept = { monotonicMs: now, wallMs, everyMs: CLOCKS_MS };
      const sleptMs = this.#sleeps.handleTick(slept);
      this.#clocksAt = after(now, CLOCKS_MS);
      if (sleptMs > 0) this.control.handleLinkChanged(now, { sleptMs });
    }
    if (now < this.#lookAt) return;
    this.#lookAt = after(now, this.#interfacesMs);
    const interfaces = JSON.stringify(this.#options.host.interfaces);
    if (interfaces === this.#interfaces) return;
    this.#interfaces = interfaces;
    this.control.handleLinkChanged(now);
  }

  get #interfacesMs(): number {
    return this.#options.watchesLinks ? INTERFACES_RARELY_MS : INTERFACES_MS;
  }

  #heedControl(): void {
    const { listener } = this.#options;
    for (let event; (event = this.control.pollEvent()) !== undefined;) {
      if (event.kind === "log") listener.log(event.level, event.message);
      else if (event.kind === "registered") this.#watch.begin();
      else if (event.kind === "reconnect") this.#watch.reconnect();
      else if (event.kind === "hurry") this.#watch.hurry();
    }
    for (let request; (request = this.control.pollRequest()) !== undefined;) this.#ask(request);
    for (let command; (command = this.control.pollCommand()) !== undefined;) this.#send(command);
  }

  #ask(request: MeshRequest): void {
    const { discovery, now, listener } = this.#options;
    const take = (answer: MeshAnswer): void => {
      if (answer.kind === "serverInfo") {
        const servers = STUN_SERVERS.map((address) => (
          { address: formatSocketAddress(address), origin: "discovery" }
        ));
        this.#send({ kind: "setStunServers", servers });
      }
      this.control.handleAnswer(now(), this.#resolved(answer));
      listener.wanted();
    };
    discovery.call(this.#caller, request, (answer) => this.#enter(() => take(answer), false));
  }

  /** A granted relay as `agent/relay_requests.ts` hands it on: addresses that lead nowhere from here come last. */
  #resolved(answer: MeshAnswer): MeshAnswer {
    if (answer.kind !== "relayGranted") return answer;
    const { granted } = answer;
    const families = new Set(
      this.#options.host.interfaces.map(({ address }) => familyOf(address)),
    );
    const transports = ownFamiliesFirst(granted.relay.transports, families);
    return { ...answer, granted: { ...granted, relay: { ...granted.relay, transports } } };
  }

  #enter(happening: () => void, droppable: boolean): void {
    const { listener } = this.#options;
    listener.enter(() => {
      if (!this.#ended) happening();
    }, droppable);
  }

  #send(command: CommandBody, done?: (reply: Reply) => void): void {
    const id = this.#nextCommand++;
    const pushed = this.#arena.commands.pushJson({ ...command, id });
    if (!pushed) return this.#options.listener.fault("the command ring is full");
    if (done !== undefined) this.#replies.set(id, done);
    if (this.#arena.ringWorker()) this.#workerRung = true;
  }

  #heedDatapath(): void {
    const { now, listener } = this.#options;
    this.#arena.answerMainBell();
    for (let next; (next = this.#arena.events.popJson()) !== undefined;) {
      const event = next as DatapathEvent;
      if (event.kind === "reply") {
        const done = this.#replies.get(event.id);
        this.#replies.delete(event.id);
        done?.(event);
        const grave = !event.ok && ["internal", "limit", "config"].includes(event.code);
        if (grave) listener.fault(`a command failed: ${event.message}`);
      } else if (event.kind === "accepted") this.#streams.accepted(event);
      else {
        listener.event(event);
        this.control.handleDatapath(now(), event);
      }
    }
    this.#streams.heed();
  }
}
