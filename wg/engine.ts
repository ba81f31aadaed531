/** The typed binding of `wg/engine.wasm`: peers, datagrams and streams without a view of its memory outside. @module */
import {
  AddressCache,
  assert,
  type Cidr,
  type Instant,
  KEY_BYTES,
  parseIp,
  type SocketAddress,
} from "../core/mod.ts";
import {
  ADDRESS,
  type EngineExports,
  EVENT,
  PORT_PROTOCOLS,
  PORT_RANGE,
  RECEIVE_BYTES,
  RECEIVE_RUNS,
  RUN,
  RUN_KIND,
  SCRATCH_BYTES,
  STREAM,
} from "./abi.ts";
import { COUNTER_NAMES, type CounterName } from "./counters.ts";
import type {
  ConnectRefusal,
  EngineEvent,
  EngineOptions,
  EnginePath,
  EngineSink,
  PeerFigures,
  PeerId,
  PeerOptions,
  PeerRefusals,
  ReachablePorts,
  StreamId,
  StreamState,
} from "./engine_types.ts";
import { aeadImports } from "./host_aead.ts";
import { TunExchange, type TunOptions } from "./tun_exchange.ts";
import { UdpExchange } from "./udp_exchange.ts";
import { type EngineHost, wasiImports } from "./wasi.ts";

const STREAM_ERRORS = [
  undefined,
  "refused",
  "reset",
  "timedOut",
  "aborted",
  "prohibited",
] as const;
const REFUSALS: Readonly<Record<number, ConnectRefusal>> = {
  [-1]: "noRoute",
  [-2]: "full",
  [-3]: "noAddress",
};
/** Texts of addresses remembered with their bytes; when full, all are forgotten. */
const ADDRESS_CACHE_MAX = 4096;
/** Rounds of one poll: each flushes a full transmit buffer. More wait for the next poll. */
const POLL_ROUNDS_MAX = 16;

/** One node's WireGuard protocol and the network inside its tunnel. */
export class Engine {
  /** Largest inner packet in bytes. */
  readonly mtu: number;
  /** The UDP ports inside the tunnel. What arrives goes to {@linkcode EngineSink.datagrams}. */
  readonly udp: UdpExchange;
  readonly #exports: EngineExports;
  readonly #scratch: number;
  readonly #receive: number;
  readonly #receiveRuns: number;
  /** Read through `#bytes` and `#view`: memory that grew has another buffer, and nearly every call may make it grow. */
  #memory: Uint8Array<ArrayBuffer>;
  #memoryView: DataView;
  #tun: TunExchange | undefined;
  #received = 0;
  #receivedBytes = 0;
  readonly #packed = new Map<string, Uint8Array>();
  readonly #addresses = new AddressCache();

  /** Starts an engine from the compiled `wg/engine.wasm`. */
  constructor(module: WebAssembly.Module, host: EngineHost, options: EngineOptions) {
    assert(options.privateKey.length === KEY_BYTES, "a private key has 32 bytes");
    const memory = (): ArrayBuffer =>
      (instance.exports as unknown as EngineExports).memory.buffer as ArrayBuffer;
    const instance: WebAssembly.Instance = new WebAssembly.Instance(module, {
      wasi_snapshot_preview1: wasiImports(host, memory),
      aead: aeadImports(host.aead, memory),
    });
    this.#exports = instance.exports as unknown as EngineExports;
    this.#exports._initialize?.();
    if (host.aead !== undefined) this.#exports.offer_aead();
    this.#scratch = this.#exports.scratch_pointer();
    this.#receive = this.#exports.receive_pointer();
    this.#receiveRuns = this.#exports.receive_runs_pointer();
    this.#memory = new Uint8Array(this.#exports.memory.buffer as ArrayBuffer);
    this.#memoryView = new DataView(this.#memory.buffer);
    this.#bytes.set(options.privateKey, this.#scratch);
    this.mtu = options.mtu ?? 1280;
    this.#exports.start(options.now * 1000, this.mtu);
    this.udp = new UdpExchange(this.#exports);
    assert(this.#exports.counters() === COUNTER_NAMES.length, "counter names match the engine");
  }

  /** Our static public key. */
  get publicKey(): Uint8Array {
    this.#exports.public_key();
    return this.#bytes.slice(this.#scratch, this.#scratch + KEY_BYTES);
  }

  /** Bytes of the engine's memory. */
  get memoryBytes(): number {
    return this.#exports.memory.buffer.byteLength;
  }

  /** Moves the clock; it never goes back. */
  setNow(now: Instant): void {
    this.#exports.set_now(Math.round(now * 1000));
  }

  /** Replaces our addresses inside the tunnel; false when there are more than 8. */
  setAddresses(addresses: readonly Uint8Array[]): boolean {
    for (const [i, ip] of addresses.entries()) {
      this.#putAddress(this.#scratch + i * ADDRESS.bytes, packIp(ip), 0);
    }
    return this.#exports.set_addresses(addresses.length) === 1;
  }

  /** Adds a peer; `undefined` when it exists, is ourselves, or there are too many (10,000). */
  addPeer(options: PeerOptions): PeerId | undefined {
    this.#bytes.set(options.publicKey, this.#scratch);
    if (options.presharedKey) this.#bytes.set(options.presharedKey, this.#scratch + KEY_BYTES);
    const id = this.#exports.add_peer(
      options.presharedKey ? 1 : 0,
      options.keepaliveSeconds,
      options.hostRoams ? 1 : 0,
    );
    return id < 0 ? undefined : id as PeerId;
  }

  /** Removes a peer with its sessions and AllowedIPs. */
  removePeer(peer: PeerId): void {
    this.#exports.remove_peer(peer);
  }

  /** Sets where encrypted packets for a peer go, and the local end that they leave from. */
  setEndpoint(peer: PeerId, remote: SocketAddress, local = 0): void {
    this.#putPath(this.#scratch, remote, local);
    this.#exports.set_endpoint(peer);
  }

  /**
   * Sends one probe along exactly this path, its inner packet `bytes` long (48 to 65,475): an event `probeReply` says when the peer
   * has answered, and where from. `sequence` is a number of 32 bits. False without a session, and where the size cannot be.
   */
  probe(peer: PeerId, { local, remote }: EnginePath, sequence: number, bytes: number): boolean {
    this.#putPath(this.#scratch, remote, local);
    return this.#exports.probe(peer, sequence, bytes) === 1;
  }

  /** Gives a block to a peer; false when the table is full. */
  allow(peer: PeerId, block: Cidr): boolean {
    this.#putAddress(this.#scratch, packIp(block.address), 0);
    return this.#exports.allow(peer, block.prefix) === 1;
  }

  /**
   * Says what the path to a peer carries now: streams to it make inner packets of at most `mtu` bytes, and the kernel is told to
   * send none larger than `tunMtu` through its interface.
   */
  setPeerMtu(peer: PeerId, mtu: number, tunMtu = mtu): void {
    this.#exports.set_peer_mtu(peer, mtu, tunMtu);
  }

  /**
   * Tells that the path to a peer carries packets again after silence: its streams send at once what has timed out, and do not
   * wait for retransmission timers that have backed off.
   */
  resumeStreams(peer: PeerId): void {
    this.#exports.resume_streams(peer);
  }

  /** Sends a fresh handshake initiation to a peer. */
  initiate(peer: PeerId): void {
    this.#exports.initiate(peer);
  }

  /** A peer's figures; `undefined` when it does not exist. */
  peerFigures(peer: PeerId): PeerFigures | undefined {
    if (this.#exports.peer_figures(peer) === 0) return undefined;
    const at = this.#scratch;
    const age = this.#view.getFloat64(at, true);
    return {
      handshakeAgeMs: age < 0 ? undefined : age,
      txBytes: this.#view.getFloat64(at + 8, true),
      rxBytes: this.#view.getFloat64(at + 16, true),
      endpoint: this.#socketAddress(at + 24),
      local: this.#view.getUint16(at + 24 + ADDRESS.bytes, true),
    };
  }

  /**
   * Begins to hold what peers send against what they may reach. Those that there are may reach everything until
   * {@linkcode Engine.setPorts}, those to come nothing.
   */
  openFilter(): void {
    this.#exports.filter_open();
  }

  /** Says which of our ports a peer may reach, at most 4096 ranges; others are refused, but for answers to what began here. */
  setPorts(peer: PeerId, ranges: readonly ReachablePorts[]): void {
    assert(ranges.length <= PORT_RANGE.max, "port ranges fit the engine");
    const view = this.#view;
    for (const [i, { protocol, first, last }] of ranges.entries()) {
      const at = this.#scratch + i * PORT_RANGE.bytes;
      view.setUint16(at + PORT_RANGE.protocol, PORT_PROTOCOLS[protocol], true);
      view.setUint16(at + PORT_RANGE.first, first, true);
      view.setUint16(at + PORT_RANGE.last, last, true);
    }
    this.#exports.set_ports(peer, ranges.length);
  }

  /** Ends connections of peers to ports that they may reach no longer, with the error `prohibited`. Returns how many. */
  cutRefused(): number {
    return this.#exports.cut_refused();
  }

  /** What of a peer did not pass; `undefined` when it does not exist. */
  refusals(peer: PeerId): PeerRefusals | undefined {
    if (this.#exports.peer_refused(peer) === 0) return undefined;
    const at = (i: number): number => this.#view.getFloat64(this.#scratch + 8 * i, true);
    return { policy: at(0), fragment: at(1), malformed: at(2), stray: at(3) };
  }

  /** Whether a datagram of this size needs a {@linkcode Engine.poll} before it can be taken. */
  get receiveFull(): boolean {
    return this.#received === RECEIVE_RUNS || this.#receivedBytes > RECEIVE_BYTES - 65_536;
  }

  /**
   * A megabyte of the engine's memory to receive datagrams into, which {@linkcode Engine.receive} then need not copy. What lies
   * there is safe until {@linkcode Engine.take}; the view is valid until the engine grows, which gives it another `buffer`: ask
   * anew before each use.
   */
  get receiveBuffer(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(this.#receive, this.#receive + RECEIVE_BYTES);
  }

  /**
   * Takes datagrams from the network, to be handled at the next {@linkcode Engine.poll} or {@linkcode Engine.take}: of `segment`
   * bytes each, the last maybe shorter, one after another, on the local end `local`. Between two of these, all are in {@linkcode Engine.receiveBuffer}
   * or none is. Drops them, and returns false, when {@linkcode Engine.receiveFull}.
   */
  receive(
    from: SocketAddress,
    datagram: Uint8Array,
    segment: number = datagram.length,
    local = 0,
  ): boolean {
    if (this.receiveFull || datagram.length === 0) return false;
    const run = this.#receiveRuns + this.#received * RUN.bytes;
    const inPlace = datagram.buffer === this.#bytes.buffer;
    const offset = inPlace ? datagram.byteOffset - this.#receive : this.#receivedBytes;
    if (!inPlace) {
      this.#bytes.set(datagram, this.#receive + offset);
      this.#receivedBytes += datagram.length;
    }
    this.#view.setUint32(run + RUN.offset, offset, true);
    this.#view.setUint32(run + RUN.length, datagram.length, true);
    this.#view.setUint32(run + RUN.segment, segment, true);
    this.#putPath(run + RUN.address, from, local);
    this.#received++;
    return true;
  }

  /** Handles what was received, and hands out what is for the kernel's interface; the rest follows from the next poll. */
  take(now: Instant, sink: EngineSink): void {
    this.#exports.set_now(Math.round(now * 1000));
    if (this.#received === 0) return;
    while (this.#exports.receive(this.#received) === 1) this.#flushTun(sink);
    this.#flushTun(sink);
    this.udp.flush(sink.datagrams);
    this.#received = 0;
    this.#receivedBytes = 0;
  }

  /** Handles what was received and what is due, and hands out what there is to send and to tell. */
  poll(now: Instant, sink: EngineSink): void {
    this.take(now, sink);
    for (let round = 0; round < POLL_ROUNDS_MAX; round++) {
      const more = this.#exports.poll() === 1;
      this.#flush(sink);
      this.#report(sink);
      if (!more) return;
    }
  }

  /**
   * Begins to serve a kernel interface. From then on {@linkcode EngineSink.tun} gets what is not the userspace network's own:
   * packets of its connections and for the ports it listens on, and answers to its pings.
   */
  openTun(options: TunOptions): void {
    this.#tun = new TunExchange(this.#exports, options);
  }

  /**
   * Has `read` put packets of the kernel's interface into the engine's memory, one or as many small ones as leave as one train, and
   * hands out at once what they became. `read` returns a packet's length, 0 for none. Says whether there may be more.
   */
  sendFromTun(
    now: Instant,
    sink: EngineSink,
    read: (into: Uint8Array<ArrayBuffer>) => number,
  ): boolean {
    this.#exports.set_now(Math.round(now * 1000));
    const more = this.#tun?.sendTrain(read) ?? false;
    this.#flush(sink);
    this.#flushTun(sink);
    return more;
  }

  /** When {@linkcode Engine.poll} wants to be called; `undefined` for never. */
  pollTimeout(): Instant | undefined {
    if (this.#received > 0) return 0 as Instant;
    const at = this.#exports.poll_timeout();
    return at < 0 ? undefined : at / 1000 as Instant;
  }

  /** Opens a TCP connection. */
  connect(remote: SocketAddress): StreamId | ConnectRefusal {
    this.#putSocketAddress(this.#scratch, remote);
    const id = this.#exports.connect();
    return id < 0 ? REFUSALS[id] ?? "full" : id as StreamId;
  }

  /** Listens on a TCP port of all our addresses; false when that is impossible. */
  listen(port: number): boolean {
    return this.#exports.listen(port) === 1;
  }

  /** Stops listening and resets what was not reported as accepted. */
  unlisten(port: number): void {
    this.#exports.unlisten(port);
  }

  /** The state of a stream. */
  streamState(stream: StreamId): StreamState {
    const bits = this.#exports.stream_state(stream);
    return {
      established: (bits & STREAM.established) !== 0,
      receiveFinished: (bits & STREAM.receiveFinished) !== 0,
      closed: (bits & STREAM.closed) !== 0,
      error: STREAM_ERRORS[bits >> STREAM.errorShift],
    };
  }

  /** Our end of a stream; `undefined` when it does not exist. */
  streamLocal(stream: StreamId): SocketAddress | undefined {
    return this.#exports.stream_local(stream) === 0
      ? undefined
      : this.#socketAddress(this.#scratch);
  }

  /** Offers the readable bytes in at most two parts to `take`, which says how many it took of each. */
  streamRead(stream: StreamId, take: (part: Uint8Array<ArrayBuffer>) => number): number {
    if (this.#exports.stream_peek(stream) === 0) return 0;
    const [at, view] = [this.#scratch, this.#view];
    const start = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    // Read before the first part is handed out: the place is the engine's, and whoever takes may use it.
    const secondStart = view.getUint32(at + 8, true);
    const secondLength = view.getUint32(at + 12, true);
    let taken = length === 0 ? 0 : take(this.#bytes.subarray(start, start + length));
    if (taken === length && secondLength > 0) {
      taken += take(this.#bytes.subarray(secondStart, secondStart + secondLength));
    }
    if (taken > 0) this.#exports.stream_consume(stream, taken);
    return taken;
  }

  /** Queues bytes and returns how many were taken. */
  streamWrite(stream: StreamId, bytes: Uint8Array): number {
    const n = Math.min(bytes.length, SCRATCH_BYTES);
    this.#bytes.set(n === bytes.length ? bytes : bytes.subarray(0, n), this.#scratch);
    return this.#exports.stream_send(stream, n);
  }

  /**
   * Lets `fill` write into a stream's send buffer in place: it gets the first contiguous free part and says how many of its bytes
   * it wrote, which are queued. Returns that number; 0 without a call when the stream takes nothing now. Call again for more:
   * the free room may lie in two parts. The part is valid during the call only, in which the engine must not be used.
   */
  streamFill(stream: StreamId, fill: (part: Uint8Array<ArrayBuffer>) => number): number {
    const length = this.#exports.stream_space(stream);
    if (length === 0) return 0;
    const start = this.#view.getUint32(this.#scratch, true);
    const n = fill(this.#bytes.subarray(start, start + length));
    assert(n >= 0 && n <= length, "a part is not overfilled");
    if (n > 0) this.#exports.stream_commit(stream, n);
    return n;
  }

  /** Ends our direction of a stream. */
  streamShutdown(stream: StreamId): void {
    this.#exports.stream_shutdown(stream);
  }

  /** Lets go of a stream: it closes in order, or with a reset. */
  streamRelease(stream: StreamId, { abort }: { readonly abort: boolean }): void {
    this.#exports.stream_release(stream, abort ? 1 : 0);
  }

  /** Sends an ICMP echo request with `length` bytes of payload; false when there is no route or no room. */
  echo(to: Uint8Array, { sequence, length }: { sequence: number; length: number }): boolean {
    this.#putAddress(this.#scratch, packIp(to), 0);
    return this.#exports.echo(sequence, length) === 1;
  }

  /** The counters that are not zero. */
  counters(): Partial<Record<CounterName, number>> {
    const at = this.#exports.counters_pointer();
    const result: Partial<Record<CounterName, number>> = {};
    for (const [i, name] of COUNTER_NAMES.entries()) {
      const value = this.#view.getFloat64(at + 8 * i, true);
      if (value > 0) result[name] = value;
    }
    return result;
  }

  #flushTun(sink: EngineSink): void {
    if (sink.tun !== undefined) this.#tun?.flush(sink.tun);
  }

  #flush(sink: EngineSink): void {
    const count = this.#exports.transmit_runs();
    if (count === 0) return;
    const runs = this.#exports.transmit_runs_pointer();
    const start = this.#exports.transmit_pointer();
    for (let i = 0; i < count; i++) {
      const at = runs + i * RUN.bytes;
      const offset = start + this.#view.getUint32(at + RUN.offset, true);
      const peer = this.#view.getInt32(at + RUN.peer, true);
      const kind = this.#view.getUint16(at + RUN.kind, true);
      sink.transmit({
        bytes: this.#bytes.subarray(offset, offset + this.#view.getUint32(at + RUN.length, true)),
        segment: this.#view.getUint32(at + RUN.segment, true),
        peer: peer < 0 ? undefined : peer as PeerId,
        initiation: kind === RUN_KIND.initiation,
        probe: kind === RUN_KIND.probe,
        to: this.#socketAddress(at + RUN.address),
        local: this.#view.getUint16(at + RUN.local, true),
      });
    }
    this.#exports.transmit_clear();
  }

  #report(sink: EngineSink): void {
    const count = this.#exports.events();
    if (count === 0) return;
    const start = this.#exports.events_pointer();
    const events: EngineEvent[] = [];
    for (let i = 0; i < count; i++) {
      const event = this.#decodeEvent(start + i * EVENT.bytes);
      if (event !== undefined) events.push(event);
    }
    // Cleared first: a handler may call the engine, which may report more.
    this.#exports.events_clear();
    for (const event of events) sink.event(event);
  }

  #decodeEvent(at: number): EngineEvent | undefined {
    const peer = this.#view.getInt32(at + EVENT.peer, true) as PeerId;
    const a = this.#view.getUint32(at + EVENT.a, true);
    const b = this.#view.getUint32(at + EVENT.b, true);
    const from = this.#socketAddress(at + EVENT.address);
    switch (this.#view.getUint32(at + EVENT.kind, true)) {
      case 1:
        return from && { kind: "handshake", peer, from, local: b };
      case 2:
        return from && { kind: "heard", peer, from, local: b };
      case 3: {
        const publicKey = this.#bytes.slice(at + EVENT.key, at + EVENT.key + KEY_BYTES);
        return from && { kind: "unknownPeer", publicKey, from, local: b };
      }
      case 4:
        return { kind: "stream", stream: a as StreamId };
      case 5:
        return from && { kind: "accepted", stream: a as StreamId, port: b, remote: from };
      case 6:
        return from && { kind: "echoReply", sequence: a, from: from.hostname };
      case 8:
        return from && { kind: "probeReply", peer, sequence: a, from, local: b };
      case 9:
        return from && { kind: "probed", peer, from, local: b };
      case 10:
        return { kind: "policyRefused", peer, protocol: a, port: b };
    }
    return undefined;
  }

  get #bytes(): Uint8Array<ArrayBuffer> {
    if (this.#memory.byteLength === 0) this.#renew();
    return this.#memory;
  }

  get #view(): DataView {
    if (this.#memory.byteLength === 0) this.#renew();
    return this.#memoryView;
  }

  #renew(): void {
    this.#memory = new Uint8Array(this.#exports.memory.buffer as ArrayBuffer);
    this.#memoryView = new DataView(this.#memory.buffer);
  }

  #putPath(at: number, remote: SocketAddress, local: number): void {
    this.#putSocketAddress(at, remote);
    this.#view.setUint16(at + ADDRESS.bytes, local, true);
  }

  #putSocketAddress(at: number, { hostname, port }: SocketAddress): void {
    let packed = this.#packed.get(hostname);
    if (packed === undefined) {
      const ip = parseIp(hostname);
      assert(ip !== undefined, "an address is a literal");
      packed = packIp(ip);
      if (this.#packed.size >= ADDRESS_CACHE_MAX) this.#packed.clear();
      this.#packed.set(hostname, packed);
    }
    this.#putAddress(at, packed, port);
  }

  #putAddress(at: number, packed: Uint8Array, port: number): void {
    this.#bytes.set(packed, at);
    this.#view.setUint16(at + ADDRESS.port, port, true);
  }

  #socketAddress(at: number): SocketAddress | undefined {
    const family = this.#view.getUint16(at + ADDRESS.family, true);
    if (family === 0) return undefined;
    const port = this.#view.getUint16(at + ADDRESS.port, true);
    return this.#addresses.find(this.#view, at + ADDRESS.ip, { words: family === 6 ? 4 : 1, port });
  }
}

/** An address record without port. An IPv4-mapped IPv6 address must have been made IPv4 before. */
function packIp(ip: Uint8Array): Uint8Array {
  const packed = new Uint8Array(ADDRESS.bytes);
  packed[ADDRESS.family] = ip.length === 4 ? 4 : 6;
  packed.set(ip, ADDRESS.ip);
  return packed;
}
