/**
 * The datapath: engine, path agents, STUN and streams put together behind commands and events.
 *
 * It owns no socket and no timer. The driver calls {@linkcode Datapath.handleDatagram} and {@linkcode Datapath.step};
 * each step says when the next is due.
 *
 * ```text
 *   driver --datagram--> demux --wireguard--> Engine ----> PeerTable (path agents)
 *                          |                    |  \
 *                          +--stun--> StunDesk  |   +----> StreamTable <==rings==> main thread
 *   driver <--send------------------------------+                      <=commands=
 *   TunPort <==packets of the kernel============+
 *                                                                      ==events==>
 * ```
 *
 * @module
 */
import {
  type Clock,
  earlier,
  formatBase64,
  formatSocketAddress,
  type Instant,
  messageOf,
  MorayError,
  type Rng,
  type SocketAddress,
} from "../../core/mod.ts";
import {
  type Candidate,
  classify,
  type InterfaceAddress,
  type PathAgent,
  type PathEvent,
} from "../../traversal/mod.ts";
import type { Engine, EngineEvent, EngineSink } from "../../wg/mod.ts";
import type { TransmitRun, TunWriter, UdpTaker } from "../../wg/mod.ts";
import {
  type Command,
  type DatapathEvent,
  type DatapathStatus,
  FrameOutbox,
  type PunchCommand,
  type SetCandidatesCommand,
  type SharedArena,
} from "../shared/mod.ts";
import { formatCandidate, parseCandidates, parseNatHint } from "./candidate_info.ts";
import { DatagramTable } from "./datagram_table.ts";
import { parseOwnAddress, peerEvent, reportDatapath } from "./datapath_report.ts";
import { OwnAddresses } from "./own_addresses.ts";
import { type Peer, PeerTable } from "./peer_table.ts";
import { PingTable } from "./ping_table.ts";
import { PolicyDesk } from "./policy_desk.ts";
import { RelayDesk } from "./relay_desk.ts";
import { SecondLimit } from "./second_limit.ts";
import { StunDesk } from "./stun_desk.ts";
import type { SocketSplices } from "./socket_splice.ts";
import { formatEnd, StreamTable } from "./stream_table.ts";
import type { PathError } from "./error_queue.ts";
import type { Transport } from "./transport.ts";
import type { TunPort } from "./tun_port.ts";

/** What a datapath is made of. */
export interface DatapathOptions {
  /** The memory shared with the main thread. */
  readonly arena: SharedArena;
  /** WireGuard and the network inside the tunnel. */
  readonly engine: Engine;
  /** Who seals and opens, for `status`. @default "wasm" */
  readonly cipher?: string;
  /** The sockets. */
  readonly transport: Transport;
  /** Kernel sockets for streams. Absent: streams go through the rings alone. */
  readonly sockets?: SocketSplices;
  /** Monotonic time. */
  readonly clock: Clock;
  /** Milliseconds since 1970. */
  readonly wallClockMs: () => number;
  /** Entropy for STUN transactions. */
  readonly rng: Rng;
  /** The system's interfaces, asked at the start and on `linkChanged`. */
  readonly interfaces: () => readonly InterfaceAddress[];
  /** A fixed public endpoint, announced as a candidate. */
  readonly publicEndpoint?: SocketAddress;
  /** The node's interface in the kernel. Absent: none. */
  readonly tun?: TunPort;
  /** Guess no ports. @default false */
  readonly noGuess?: boolean;
  /** Reach peers through relays only. @default false */
  readonly noDirect?: boolean;
}

/** Rounds of engine and streams in one step; the rest follows in the next one. */
const ROUNDS_MAX = 8;
/** Trains of up to 64 KiB taken from the kernel's interface in one turn: what has arrived meanwhile must not wait for more. */
const TUN_TRAINS_MAX = 4;
/** Strangers told of in one second, since each costs the main thread a look-up. */
const STRANGERS_PER_SECOND = 16;
/** Errors of the network looked at in one second, since each is compared with every peer. */
const PATH_ERRORS_PER_SECOND = 16;

/** The datapath of one node. */
export class Datapath implements EngineSink {
  readonly #options: DatapathOptions;
  readonly #engine: Engine;
  readonly #arena: SharedArena;
  readonly #outbox: FrameOutbox;
  readonly #streams: StreamTable;
  readonly #datagrams: DatagramTable;
  readonly #peers: PeerTable;
  readonly #policy: PolicyDesk;
  readonly #stun: StunDesk;
  readonly #relays: RelayDesk;
  readonly #pings: PingTable;
  readonly #addresses: OwnAddresses;
  readonly #counters = new Map<string, number>();
  #now: Instant;
  readonly #strangers = new SecondLimit(STRANGERS_PER_SECOND);
  readonly #pathErrors = new SecondLimit(PATH_ERRORS_PER_SECOND);
  #ring = false;
  #stopped = false;
  /** For the engine: writes a packet to the kernel's interface. */
  readonly tun?: TunWriter;
  /** For the engine: takes what has arrived for UDP ports. */
  readonly datagrams: UdpTaker = (records) => this.#datagrams.deliver(records);

  /** A datapath without peers. */
  constructor(options: DatapathOptions) {
    const { engine, arena, clock, rng } = options;
    this.#options = options;
    this.#engine = engine;
    this.#arena = arena;
    this.#now = clock.now();
    this.#outbox = new FrameOutbox(arena.events);
    this.#streams = new StreamTable(engine, arena, options.sockets);
    this.#datagrams = new DatagramTable({
      engine,
      arena,
      lend: (onDirty) => this.#streams.lend(onDirty),
      ring: () => {
        this.#ring = true;
      },
    });
    this.#pings = new PingTable(engine, (id, value) => {
      this.#say({ kind: "reply", id, ok: true, value });
    });
    const { interfaces, publicEndpoint, transport, noGuess = false, noDirect = false } = options;
    this.#addresses = new OwnAddresses({ interfaces, publicEndpoint, port: () => transport.port });
    const hostAddresses = this.#addresses.hosts;
    this.#stun = new StunDesk(this.#now, { transport: options.transport, rng, hostAddresses });
    this.#relays = new RelayDesk({
      transport: options.transport,
      rng,
      now: () => this.#now,
      arena,
      lend: (onDirty) => this.#streams.lend(onDirty),
      ring: () => {
        this.#ring = true;
      },
      connect: (event) => this.#say(event),
      deliver: (...run) => this.handleTrain(...run),
      delivered: () => this.#take(),
    });
    this.#policy = new PolicyDesk({
      engine,
      wallClockMs: options.wallClockMs,
      log: (message, publicKey) =>
        this.#say({ kind: "log", level: "info", message, fields: { publicKey } }),
    });
    this.#peers = new PeerTable({
      engine,
      policy: this.#policy,
      transport: this.#relays.transport,
      rng,
      noGuess,
      noDirect,
      nat: this.#stun.ownNat,
      listener: (peer, event) => this.#tell(peer, event),
      samplePorts: () => this.#stun.samplePorts(this.#now),
    });
    const { tun } = options;
    if (tun === undefined) return;
    engine.openTun(tun.options);
    this.tun = (parts) => tun.write(parts);
  }

  /** Whether `stop` was executed. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /**
   * Takes a datagram from a socket, borrowed for the call. {@linkcode Datapath.step} follows soon. Commands first: one that was
   * written before the datagram was sent may have its wake-up behind it.
   */
  handleDatagram(source: SocketAddress, payload: Uint8Array, local = 0): void {
    this.#takeCommands();
    this.#takeDatagram(source, payload, local);
  }

  #takeDatagram(source: SocketAddress, payload: Uint8Array, local: number): void {
    switch (classify(payload)) {
      case "wireguard":
        if (this.#engine.receiveFull) this.#poll();
        this.#engine.receive(source, payload, payload.length, local);
        return;
      case "stun":
        this.#now = this.#options.clock.now();
        if (local === 0 && this.#relays.handleStun(this.#now, source, payload)) return;
        return this.#stun.handleInput(this.#now, { source, payload, local });
      case "channelData":
        return this.handleTrain(source, payload, payload.length, local);
      case "other":
        return this.#count("notForUs");
    }
  }

  /**
   * Takes a train of datagrams of `segment` bytes each, the last maybe shorter, that lie one after another in `bytes`,
   * borrowed for the call, from a local end.
   */
  handleTrain(source: SocketAddress, bytes: Uint8Array, segment: number, local = 0): void {
    if ((bytes[0] ?? 0) >> 4 === 4) {
      // What a relay has unwrapped is not unwrapped again.
      if (local !== 0) return this.#count("channelDataUnmatched");
      this.#now = this.#options.clock.now();
      return this.#relays.handleTrain(this.#now, source, bytes, segment);
    }
    for (let at = 0; at < bytes.length; at += segment) {
      // What is not a packet of a session is rare, and ends the train.
      if (bytes[at] === 4 && bytes[at + 1] === 0) continue;
      for (let i = 0; i < bytes.length; i += segment) {
        this.#takeDatagram(source, bytes.subarray(i, i + segment), local);
      }
      return;
    }
    if (this.#engine.receiveFull) this.#poll();
    this.#engine.receive(source, bytes, segment, local);
  }

  /**
   * What {@linkcode Datapath.handleTrain} took until now may be overwritten afterwards. {@linkcode Datapath.step} follows soon. Commands
   * first, as in {@linkcode Datapath.handleDatagram}; not between trains, which lie in memory that a command can move.
   */
  handleBatch(): void {
    this.#takeCommands();
    this.#take();
  }

  /**
   * Takes in what the kernel's interface holds, a bounded part of it, and no more than the transport takes: the rest waits in the
   * kernel. Returns false once the interface is gone.
   */
  handleTun(): boolean {
    const { tun, clock, transport } = this.#options;
    if (tun === undefined) return false;
    this.#now = clock.now();
    const read = (into: Uint8Array<ArrayBuffer>): number => tun.read(into);
    for (let i = 0; i < TUN_TRAINS_MAX && !transport.busy; i++) {
      if (!this.#engine.sendFromTun(this.#now, this, read)) break;
    }
    if (!tun.gone) return true;
    const message = `interface ${tun.name} has been removed: the kernel reaches no peer any more`;
    this.#say({ kind: "log", level: "error", message });
    return false;
  }

  /**
   * Takes what the network says of datagrams sent before. Hints that may be forged: they make path agents look, and streams
   * smaller packets for a while, and change nothing else.
   */
  handlePathError(error: PathError): void {
    this.#now = this.#options.clock.now();
    if (!this.#pathErrors.take(this.#now)) return this.#count("pathErrorsNotLookedAt");
    if (error.kind === "packetTooBig") {
      return this.#peers.handleTooBig(this.#now, error.destination, error.mtu);
    }
    this.#peers.handleUnreachable(this.#now, error.destination);
    this.#relays.handleUnreachable(this.#now, error.destination);
  }

  /** Takes in what the main thread has written. After the wake-up itself, before {@linkcode Datapath.step}. */
  handleBell(): void {
    this.#now = this.#options.clock.now();
    this.#arena.answerWorkerBell();
    if (this.#outbox.flush()) this.#ring = true;
    this.#takeCommands();
    this.#arena.takeDirtyForWorker((slot) => this.#streams.handleSlot(slot));
  }

  /**
   * Does what is due. Returns the instant of the next step, `undefined` for none. `wakeMain` is called when the main
   * thread must be woken.
   */
  step(wakeMain: () => void): Instant | undefined {
    this.#now = this.#options.clock.now();
    this.#options.sockets?.beginTurn();
    this.#stepStun();
    this.#stepRelays();
    this.#peers.handleTimeout(this.#now);
    this.#pings.handleTimeout(this.#now);
    let idle = false;
    for (let round = 0; round < ROUNDS_MAX && !idle && !this.#options.transport.busy; round++) {
      if (this.#datagrams.blocked) this.#datagrams.pump();
      this.#poll();
      this.#ringMain(wakeMain); // At once: it wakes up while this thread goes on.
      const dueAt = this.#engine.pollTimeout();
      idle = (dueAt === undefined || dueAt > this.#now) && !this.#datagrams.blocked;
    }
    this.#ringMain(wakeMain);
    if (this.#options.sockets?.unfinished === true) return this.#now;
    if (this.#datagrams.blocked && !this.#options.transport.busy) return this.#now;
    // A busy transport calls again by itself.
    const engineAt = this.#options.transport.busy ? undefined : this.#engine.pollTimeout();
    const others = [this.#stun, this.#relays, this.#peers, this.#pings];
    return others.reduce((dueAt, other) => earlier(dueAt, other.pollTimeout()), engineAt);
  }

  /** For the engine. */
  transmit(run: TransmitRun): void {
    this.#peers.transmit(this.#now, run);
  }

  /** For the engine. */
  event(event: EngineEvent): void {
    switch (event.kind) {
      case "handshake":
      case "heard":
      case "probeReply":
      case "probed":
        return this.#peers.handle(this.#now, event);
      case "policyRefused":
        return this.#peers.handleRefused(this.#now, event);
      case "stream":
        return this.#streams.handleStream(event.stream);
      case "accepted":
        return this.#accept(event);
      case "echoReply":
        return this.#answerPing(event);
      case "unknownPeer":
        return this.#meet(event);
    }
  }

  #takeCommands(): void {
    if (this.#arena.commands.empty) return;
    this.#now = this.#options.clock.now();
    this.#arena.takeCommands(
      (slot) => this.#streams.handleSlot(slot),
      (command) => this.#execute(command as Command),
    );
    if (this.#arena.commands.takeRoomWanted()) this.#ring = true;
  }

  #take(): void {
    this.#now = this.#options.clock.now();
    this.#engine.take(this.#now, this);
  }

  #poll(): void {
    this.#engine.poll(this.#now, this);
  }

  #ringMain(wakeMain: () => void): void {
    if ((this.#streams.takeRing() || this.#ring) && this.#arena.ringMain()) wakeMain();
    this.#ring = false;
  }

  #accept({ stream, port, remote }: EngineEvent & { readonly kind: "accepted" }): void {
    const slot = this.#streams.add(stream, remote);
    if (slot === undefined) return this.#engine.streamRelease(stream, { abort: true });
    this.#streams.handleStream(stream);
    this.#say({
      kind: "accepted",
      port,
      slot: slot.index,
      remote: formatSocketAddress(remote),
      local: formatEnd(this.#engine.streamLocal(stream)),
    });
  }

  #meet({ publicKey, from }: EngineEvent & { readonly kind: "unknownPeer" }): void {
    if (!this.#strangers.take(this.#now)) return this.#count("strangersNotReported");
    this.#say({
      kind: "unknownPeer",
      publicKey: formatBase64(publicKey),
      source: formatSocketAddress(from),
    });
  }

  #execute(command: Command): void {
    const { id } = command;
    try {
      const value = this.#run(command);
      if (value !== PENDING) this.#say({ kind: "reply", id, ok: true, value });
    } catch (error) {
      const code = error instanceof MorayError ? error.code : "internal";
      this.#say({ kind: "reply", id, ok: false, code, message: messageOf(error) });
    }
  }

  /** Executes a command and returns its value, or `PENDING` when the reply comes later. */
  #run(command: Command): unknown {
    switch (command.kind) {
      case "addPeer": {
        this.#peers.add(this.#now, command);
        this.#setRoutes(command);
        return undefined;
      }
      case "removePeer": {
        const peer = this.#peers.remove(command.publicKey);
        this.#streams.fail("closed", peer.addresses);
        this.#stun.removePeer(this.#now, command.publicKey);
        this.#relays.removePeer(command.publicKey);
        this.#options.tun?.setPeer(command.publicKey, []);
        return undefined;
      }
      case "setCandidates":
        return this.#change(command, (agent) => {
          agent.setRegistered(this.#now, command.gone !== true);
        });
      case "connectPeer":
        return this.#peers.connect(this.#now, this.#peers.find(command.publicKey));
      case "punch":
        return this.#change(command, (agent) => {
          agent.setRegistered(this.#now, true);
          agent.punch(this.#now, command.windowMs, command.coin);
        });
      case "setStunServers":
      case "setProbed":
      case "regather":
        return this.#stun.execute(this.#now, command);
      case "setMember":
        this.#peers.find(command.publicKey);
        return this.#stun.execute(this.#now, command);
      case "setMapped": {
        this.#addresses.setMapped(command.addresses);
        this.#sayCandidates();
        return undefined;
      }
      case "linkChanged":
        return this.#linkChanged();
      case "setAddresses":
        return this.#setAddresses(command.addresses);
      case "setPolicy":
        return this.#policy.setRules(command.rules, this.#peers.all);
      case "connectStream":
        return this.#streams.connect(command.remote);
      case "spliceStream": {
        this.#streams.splice(command.slot, command.fd, (value) => {
          this.#say({ kind: "reply", id: command.id, ok: true, value });
        });
        return PENDING;
      }
      case "listen": {
        if (!this.#engine.listen(command.port)) {
          throw new MorayError("portInUse", `mesh port ${command.port} is in use`);
        }
        return undefined;
      }
      case "unlisten":
        return this.#engine.unlisten(command.port);
      case "bindDatagrams":
        return this.#datagrams.bind(command.port);
      case "closeDatagrams":
        return this.#datagrams.close(command.port);
      case "datagramLimit":
        return this.#datagrams.limit(command.remote);
      case "ping":
        this.#pings.start(this.#now, command);
        return PENDING;
      case "setRelays":
        return this.#relays.setRelays(this.#now, command.relays);
      case "relayFailed":
        return this.#relays.handleFailed(command.slot, command.reason);
      case "status":
        return this.#status();
      case "stop": {
        this.#stopped = true;
        this.#relays.stop();
        this.#streams.fail("closed");
        return undefined;
      }
    }
  }

  /** Takes what a command says of a peer, then does the rest of it. */
  #change(
    { publicKey, nat, relay, candidates: infos }: SetCandidatesCommand | PunchCommand,
    change: (agent: PathAgent) => void,
  ): void {
    const peer = this.#peers.find(publicKey);
    if (nat !== undefined) this.#peers.setPeerNat(this.#now, peer, parseNatHint(nat));
    if (relay !== undefined) this.#peers.setPeerRelay(this.#now, peer, relay);
    const candidates = parseCandidates(infos);
    this.#relays.setPeer(publicKey, peer.relay ? candidates : []);
    this.#peers.withAgent(this.#now, peer, (agent) => {
      agent.setCandidates(this.#now, candidates);
      change(agent);
    });
  }

  #linkChanged(): void {
    this.#addresses.linkChanged();
    this.#stun.linkChanged(this.#now, this.#addresses.hosts);
    this.#relays.linkChanged(this.#now);
    for (const peer of this.#peers.all) {
      this.#peers.withAgent(this.#now, peer, (agent) => agent.restart(this.#now));
    }
    this.#sayCandidates();
  }

  #setAddresses(texts: readonly string[]): void {
    if (!this.#engine.setAddresses(texts.map(parseOwnAddress))) {
      throw new MorayError("limit", "more than 8 addresses");
    }
    this.#options.tun?.setAddresses(texts);
  }

  #setRoutes({ publicKey, allowedIps }: Command & { readonly kind: "addPeer" }): void {
    for (const block of this.#options.tun?.setPeer(publicKey, allowedIps) ?? []) {
      const message = `${block} gets no route: the tunnel's own datagrams would take it`;
      this.#say({ kind: "log", level: "warn", message });
    }
  }

  #answerPing(event: EngineEvent & { readonly kind: "echoReply" }): void {
    const rttMs = this.#pings.answer(this.#options.clock.now(), event);
    if (rttMs === undefined) return this.#count("echoReplyUnmatched");
    const peer = this.#peers.withAddress(event.from);
    if (peer !== undefined) this.#peers.measured(peer, rttMs);
  }

  /** What the main thread hears of a peer. */
  #tell({ publicKey, agent }: Peer, event: PathEvent): void {
    this.#stun.handlePath(this.#now, publicKey, event);
    const told = peerEvent(publicKey, event, () => agent?.status(this.#now).relayed === true);
    if (told !== undefined) this.#say(told);
  }

  #stepStun(): void {
    const { candidates, silent, refused, vouched } = this.#stun.step(this.#now);
    // Before the candidates, which are registered at once.
    for (const said of vouched) this.#say({ kind: "vouched", ...said });
    this.#peers.setNat(this.#now, this.#stun.ownNat);
    if (candidates) this.#sayCandidates();
    if (silent) this.#say({ kind: "stunSilent" });
    if (refused) this.#say({ kind: "stunRefused" });
  }

  #stepRelays(): void {
    const { relays, locals } = this.#relays.step(this.#now, this.#stun.keepaliveMs);
    if (locals) this.#peers.setRelays(this.#now, this.#relays.ends);
    if (locals) this.#sayCandidates();
    if (relays) this.#say({ kind: "relaysChanged", relays: this.#relays.status });
  }

  /** Our own candidates, best first. */
  #candidates(): readonly Candidate[] {
    return this.#addresses.candidates(this.#stun.candidates, this.#relays.candidates);
  }

  #sayCandidates(): void {
    const sampled = this.#stun.sampled.map((address) => ({ kind: "sampled" as const, address }));
    const candidates = [...this.#candidates(), ...sampled].map(formatCandidate);
    this.#say({ kind: "candidatesChanged", candidates, nat: this.#stun.nat });
  }

  #status(): DatapathStatus {
    const { cipher = "wasm", transport, tun, wallClockMs, sockets } = this.#options;
    return reportDatapath({
      cipher,
      present: { now: this.#now, wallClockMs: wallClockMs() },
      transport,
      tun,
      stun: this.#stun,
      relays: this.#relays,
      peers: this.#peers,
      candidates: this.#candidates(),
      counters: [
        ...[this.#engine, transport, sockets, tun, this.#stun, this.#relays, this.#datagrams]
          .map((part) => part?.counters()),
        Object.fromEntries(this.#counters),
        { streamsRefused: this.#streams.refused, eventsRefused: this.#outbox.refused },
      ],
    });
  }

  #say(event: DatapathEvent): void {
    this.#outbox.send(event);
    this.#ring = true;
  }

  #count(name: string): void {
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + 1);
  }
}

/** A reply that comes later. */
const PENDING: unique symbol = Symbol("pending");
