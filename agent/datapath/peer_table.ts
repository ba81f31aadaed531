/** The peers of a node: the engine's number, the path agent, and what `status` says of each. @module */
import {
  earlier,
  equals,
  familyOf,
  formatIp,
  type Instant,
  MorayError,
  parseCidr,
  parseKey,
  parseSocketAddress,
  type Rng,
  sameAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import type { Engine, EngineEvent, PeerId, TransmitRun } from "../../wg/mod.ts";
import {
  MTU_ASSUMED,
  MTU_FLOOR,
  type NatFacts,
  type NatHint,
  OUTER_BYTES,
  ownPath,
  type Path,
  PathAgent,
  type PathEvent,
  type RelayEnd,
} from "../../traversal/mod.ts";
import { type AddPeerCommand, ALLOWED_IPS_MAX, type DatapathPeerStatus } from "../shared/mod.ts";
import { type Present, reportPeer } from "./peer_report.ts";
import type { PolicyDesk } from "./policy_desk.ts";
import { GUESS_LOCALS_MAX, type Transport } from "./transport.ts";

/** Weight of a new round trip in the smoothed one (RFC 6298 section 2.3). */
const RTT_GAIN = 1 / 8;
/** Of the first round trips the smallest counts: they also measure code that runs for the first time. */
const RTT_WARM_UP = 3;
/** How long a path is believed to be narrow, as the driver does. */
const NARROW_MS = 600_000;
/** How long a router is believed whose word a path agent can check, so that little is split meanwhile; and how often. */
const HINT_MS = 3_000;
const HINT_EVERY_MS = 30_000;
/** A size of inner packets that the engine's own MTU bounds. */
const ANY_BYTES = 0xffff;
/** WireGuard's message type of data, and the length of a message without any. */
const DATA = 4;
const KEEPALIVE_BYTES = 32;

/** One peer. */
export interface Peer {
  /** The engine's number. */
  readonly id: PeerId;
  /** WireGuard key, base64. */
  readonly publicKey: string;
  /** Name, for log lines. */
  readonly name: string;
  /** Decides about paths; `undefined` for a plain WireGuard peer, which roams as the paper says. */
  readonly agent: PathAgent | undefined;
  /** Whether relays may be used to reach it. */
  relay: boolean;
  /** The peer's own mesh addresses: its blocks of full length. */
  readonly addresses: ReadonlySet<string>;
  /** Destinations of the initiation that the path agent asked for, until the engine has made it. */
  fanOut: readonly Path[] | undefined;
  /** The latest initiation to it, for a path agent that wants it sent again. */
  initiation: Uint8Array<ArrayBuffer> | undefined;
  /** The path in use, as the path agent last said. */
  path: Path | undefined;
  /** Extra local ends that were opened for it. */
  readonly locals: Set<number>;
  /** What it says of its NAT. */
  nat: NatHint;
  /** Largest inner packet, as the path agent last said. */
  mtu: number;
  /** Whether the path agent is sure of that. */
  settled: boolean;
  /** What a router has said, until when streams keep to it, and when another may. */
  hint: { mtu: number; readonly until: Instant; readonly againAt: Instant } | undefined;
  /** Smoothed round trip; `undefined` until measured. */
  rttMs: number | undefined;
  /** Round trips measured. */
  rttSamples: number;
  /** A plain peer's session was reported as begun. */
  connected: boolean;
  /** Until when a plain peer's path is believed to be narrow; `undefined` while it is not. */
  narrowUntil: Instant | undefined;
}

/** Tells what happens to a peer. */
export type PeerListener = (peer: Peer, event: PathEvent) => void;

/** What a node knows of its own side. */
export interface OwnNat {
  /** Its NAT. */
  readonly own: NatFacts;
  /** Whether UDP seems blocked. */
  readonly udpBlocked: boolean;
  /** How often a mapping has to be used, in milliseconds. */
  readonly keepaliveMs: number;
  /** The addresses that it gave out last, where it was seen to give out ports one after another; the same list while they are the same. */
  readonly ownPorts: readonly SocketAddress[];
}

/** What a table works with. */
export interface PeerTableOptions {
  /** WireGuard. */
  readonly engine: Engine;
  /** The sockets. */
  readonly transport: Transport;
  /** Entropy for guessed ports. */
  readonly rng: Rng;
  /** What peers may reach here. */
  readonly policy: PolicyDesk;
  /** Hears what happens to peers. */
  readonly listener: PeerListener;
  /** Finds out which ports the NAT gives out now, for peers to know. */
  readonly samplePorts: () => void;
  /** What is known of the own NAT at the start. */
  readonly nat: OwnNat;
  /** Guesses no ports. */
  readonly noGuess: boolean;
  /** Reaches peers over relays only. */
  readonly noDirect: boolean;
}

/** Every peer of a node; the engine's limit of 10,000 holds. */
export class PeerTable {
  readonly #engine: Engine;
  readonly #options: PeerTableOptions;
  readonly #publicKey: Uint8Array;
  #nat: OwnNat;
  #relays: readonly RelayEnd[] = [];
  readonly #byKey = new Map<string, Peer>();
  readonly #byId = new Map<PeerId, Peer>();
  /** Extra ends that all of them have. */
  #locals = 0;
  /** No path agent is due before this; `undefined` while none ever is. Kept, since a node may have thousands. */
  #dueAt: Instant | undefined;

  /** An empty table. */
  constructor(options: PeerTableOptions) {
    this.#options = options;
    this.#engine = options.engine;
    this.#publicKey = options.engine.publicKey;
    this.#nat = options.nat;
  }

  /** Every peer. */
  get all(): Iterable<Peer> {
    return this.#byKey.values();
  }

  /** The peer with a key; throws `refused` when there is none. */
  find(publicKey: string): Peer {
    const peer = this.#byKey.get(publicKey);
    if (peer === undefined) throw new MorayError("refused", "no peer has this key");
    return peer;
  }

  /** The peer whose own address this is. */
  withAddress(address: string): Peer | undefined {
    for (const peer of this.#byKey.values()) if (peer.addresses.has(address)) return peer;
    return undefined;
  }

  /** Adds a peer. A peer known by this key keeps its session; only its AllowedIPs and endpoint are renewed. */
  add(now: Instant, command: AddPeerCommand): Peer {
    const key = parseKey(command.publicKey);
    const presharedKey = command.presharedKey === undefined
      ? undefined
      : parseKey(command.presharedKey);
    if (key === undefined || (command.presharedKey !== undefined && presharedKey === undefined)) {
      throw new MorayError("key", "a key is not 32 bytes of base64");
    }
    if (command.allowedIps.length > ALLOWED_IPS_MAX) {
      throw new MorayError("limit", `more than ${ALLOWED_IPS_MAX} AllowedIPs of one peer`);
    }
    const blocks = command.allowedIps.map((text) => {
      const block = parseCidr(text);
      if (block === undefined) throw new MorayError("config", `${text} is no address block`);
      return block;
    });
    const known = this.#byKey.get(command.publicKey);
    const id = known?.id ?? this.#engine.addPeer({
      publicKey: key,
      ...(presharedKey && { presharedKey }),
      keepaliveSeconds: command.keepaliveSeconds,
      hostRoams: command.mesh,
    });
    if (id === undefined) {
      const own = equals(key, this.#publicKey);
      throw new MorayError(
        own ? "config" : "limit",
        own ? "the key is this node's own" : "too many peers",
      );
    }
    for (const block of blocks) {
      if (!this.#engine.allow(id, block)) throw new MorayError("limit", "too many AllowedIPs");
    }
    const full = blocks.filter(({ address, prefix }) => prefix === address.length * 8);
    const peer: Peer = {
      id,
      publicKey: command.publicKey,
      name: command.name ?? command.publicKey.slice(0, 8),
      agent: command.mesh ? known?.agent ?? this.#newAgent(now) : undefined,
      relay: command.relay ?? known?.relay ?? true,
      addresses: new Set(full.map(({ address }) => formatIp(address))),
      fanOut: known?.fanOut,
      initiation: known?.initiation,
      path: known?.path,
      locals: known?.locals ?? new Set(),
      nat: known?.nat ?? "NAT_UNKNOWN",
      mtu: known?.mtu ?? MTU_ASSUMED,
      settled: known?.settled ?? false,
      hint: known?.hint,
      rttMs: known?.rttMs,
      rttSamples: known?.rttSamples ?? 0,
      connected: known?.connected ?? false,
      narrowUntil: known?.narrowUntil,
    };
    this.#byKey.set(peer.publicKey, peer);
    this.#byId.set(id, peer);
    this.#options.policy.addPeer(peer);
    const endpoint = command.endpoint === undefined
      ? undefined
      : parseSocketAddress(command.endpoint);
    if (endpoint !== undefined) this.#engine.setEndpoint(id, endpoint);
    if (peer.agent !== undefined && known?.agent === undefined) {
      this.#engine.setPeerMtu(id, MTU_ASSUMED, ANY_BYTES);
      this.#tellNat(now, peer);
    }
    this.#tellRelays(now, peer);
    return peer;
  }

  /** Forgets a peer. */
  remove(publicKey: string): Peer {
    const peer = this.find(publicKey);
    this.#engine.removePeer(peer.id);
    this.#byKey.delete(publicKey);
    this.#byId.delete(peer.id);
    this.#options.policy.removePeer(peer);
    for (const local of peer.locals) this.#options.transport.closeLocal(local);
    this.#locals -= peer.locals.size;
    return peer;
  }

  /** Takes what the engine authenticated. */
  handle(
    now: Instant,
    event: EngineEvent & { readonly kind: "handshake" | "heard" | "probeReply" | "probed" },
  ): void {
    const peer = this.#byId.get(event.peer);
    if (peer === undefined) return;
    const path: Path = { local: event.local, remote: event.from };
    const { agent } = peer;
    if (agent === undefined) {
      if (event.kind !== "handshake") return;
      const kind = peer.connected ? "moved" : "connected";
      peer.connected = true;
      return this.#options.listener(peer, { kind, path });
    }
    if (event.kind === "probeReply") agent.handleProbeReply(now, path, event.sequence);
    else if (event.kind === "probed") agent.handleProbed(now);
    else agent.handleAuthenticated(now, path, event.kind === "handshake" ? "handshake" : "data");
    this.#drain(now, peer);
  }

  /** Takes that the engine has refused what the policy does not allow. */
  handleRefused(now: Instant, event: EngineEvent & { readonly kind: "policyRefused" }): void {
    const peer = this.#byId.get(event.peer);
    if (peer !== undefined) this.#options.policy.handleRefused(now, peer, event);
  }

  /** Advances the path agents that are due, and does what they want. */
  handleTimeout(now: Instant): void {
    if (this.#dueAt === undefined || now < this.#dueAt) return;
    this.#dueAt = undefined;
    for (const peer of this.#byKey.values()) {
      this.#widen(now, peer);
      this.#doubtHint(now, peer);
      const dueAt = peer.agent?.pollTimeout();
      if (dueAt !== undefined && dueAt > now) this.#dueAt = earlier(this.#dueAt, dueAt);
      else if (dueAt !== undefined) this.withAgent(now, peer, (agent) => agent.handleTimeout(now));
    }
  }

  /** Wants a path to a peer, or a handshake with one that needs no path agent. */
  connect(now: Instant, peer: Peer): void {
    if (peer.agent === undefined) this.#engine.initiate(peer.id);
    else this.withAgent(now, peer, (agent) => agent.connect(now));
  }

  /** Takes what is known of the own NAT. */
  setNat(now: Instant, nat: OwnNat): void {
    const { own, udpBlocked, keepaliveMs, ownPorts } = this.#nat;
    const same = sameFacts(own, nat.own) && udpBlocked === nat.udpBlocked;
    if (same && keepaliveMs === nat.keepaliveMs && ownPorts === nat.ownPorts) return;
    this.#nat = nat;
    for (const peer of this.#byKey.values()) this.#tellNat(now, peer);
  }

  /** Takes what a peer says of its NAT. */
  setPeerNat(now: Instant, peer: Peer, nat: NatHint): void {
    if (peer.nat === nat) return;
    peer.nat = nat;
    this.#tellNat(now, peer);
  }

  /** Replaces the local ends that are allocations on relays. */
  setRelays(now: Instant, ends: readonly RelayEnd[]): void {
    this.#relays = ends;
    for (const peer of this.#byKey.values()) this.#tellRelays(now, peer);
  }

  /** Takes whether relays may be used to reach a peer. */
  setPeerRelay(now: Instant, peer: Peer, relay: boolean): void {
    if (peer.relay === relay) return;
    peer.relay = relay;
    this.#tellRelays(now, peer);
  }

  /** Takes the hint that the path to an address carries IP packets of `mtu` bytes at most. */
  handleTooBig(now: Instant, destination: SocketAddress, mtu: number): void {
    for (const peer of this.#byKey.values()) {
      // Whatever the port: our own link's errors do not name it.
      const { path } = peer;
      if (peer.agent === undefined) this.#narrow(now, peer, { destination, mtu });
      else if (path?.remote.hostname === destination.hostname) {
        this.withAgent(now, peer, (agent) => agent.handleTooBig(now, path, mtu));
        this.#believe(now, peer, mtu - OUTER_BYTES[familyOf(destination.hostname)]);
      }
    }
  }

  /** Takes the hint that nobody answers at an address. */
  handleUnreachable(now: Instant, destination: SocketAddress): void {
    for (const peer of this.#byKey.values()) {
      const { path } = peer;
      if (path === undefined || !sameAddress(path.remote, destination)) continue;
      this.withAgent(now, peer, (agent) => agent.handleUnreachable(now, path));
    }
  }

  /** When {@linkcode PeerTable.handleTimeout} must be called; may be early. */
  pollTimeout(): Instant | undefined {
    return this.#dueAt;
  }

  /** Changes a peer's path agent, then does what it wants. */
  withAgent(now: Instant, peer: Peer, change: (agent: PathAgent) => void): void {
    if (peer.agent === undefined) return;
    change(peer.agent);
    this.#drain(now, peer);
  }

  /** Sends what the engine has made: along the paths that the path agent wants. */
  transmit(now: Instant, run: TransmitRun): void {
    const { bytes, segment, to, local } = run;
    const { transport } = this.#options;
    const peer = run.peer === undefined ? undefined : this.#byId.get(run.peer);
    if (run.initiation && peer !== undefined) return this.#transmitInitiation(now, peer, run);
    if (to === undefined) return;
    transport.send(bytes, segment, to, local, run.probe);
    const agent = peer?.agent;
    if (agent === undefined || run.probe || segment <= KEEPALIVE_BYTES || bytes[0] !== DATA) return;
    agent.handleSent(now);
    this.#dueAt = earlier(this.#dueAt, agent.pollTimeout());
    // The receiver's replay window drops the second copies.
    for (const copy of agent.route(now).also) {
      transport.send(bytes, segment, copy.remote, copy.local);
    }
  }

  /** Takes a measured round trip. */
  measured(peer: Peer, rttMs: number): void {
    const known = peer.rttMs ?? rttMs;
    peer.rttMs = ++peer.rttSamples <= RTT_WARM_UP
      ? Math.min(known, rttMs)
      : known + (rttMs - known) * RTT_GAIN;
  }

  /** What `status` says of a peer. */
  statusOf(present: Present, peer: Peer): DatapathPeerStatus {
    const refused = this.#options.policy.refused(peer);
    return reportPeer(present, peer, this.#engine.peerFigures(peer.id), refused);
  }

  /** Lets a path be tried again that was narrow long enough. */
  #widen(now: Instant, peer: Peer): void {
    if (peer.narrowUntil === undefined) return;
    if (now < peer.narrowUntil) this.#dueAt = earlier(this.#dueAt, peer.narrowUntil);
    else {
      peer.narrowUntil = undefined;
      this.#engine.setPeerMtu(peer.id, ANY_BYTES);
    }
  }

  #newAgent(now: Instant): PathAgent {
    const { rng, noGuess, noDirect } = this.#options;
    return new PathAgent({ now, rng, mtuMax: this.#engine.mtu, noGuess, noDirect });
  }

  #tellRelays(now: Instant, peer: Peer): void {
    const ends = peer.relay ? this.#relays : [];
    this.withAgent(now, peer, (agent) => agent.setRelays(now, ends));
  }

  #tellNat(now: Instant, peer: Peer): void {
    const { own, udpBlocked, keepaliveMs, ownPorts } = this.#nat;
    this.withAgent(now, peer, (agent) => {
      agent.setKeepalive(now, keepaliveMs);
      agent.setNat(now, { own, udpBlocked, ownPorts, peer: peer.nat });
    });
  }

  /** A plain peer's path cannot be measured, so what routers say is believed for a while. */
  #narrow(
    now: Instant,
    peer: Peer,
    { destination, mtu }: { readonly destination: SocketAddress; readonly mtu: number },
  ): void {
    if (this.#engine.peerFigures(peer.id)?.endpoint?.hostname !== destination.hostname) return;
    const inner = mtu - OUTER_BYTES[familyOf(destination.hostname)];
    peer.narrowUntil = now + NARROW_MS as Instant;
    this.#dueAt = earlier(this.#dueAt, peer.narrowUntil);
    this.#engine.setPeerMtu(peer.id, inner, ANY_BYTES);
  }

  #transmitInitiation(now: Instant, peer: Peer, { bytes, to, local }: TransmitRun): void {
    const asked = peer.fanOut;
    peer.fanOut = undefined;
    const own = to === undefined ? [] : [{ local, remote: to }];
    if (peer.agent !== undefined) peer.initiation = bytes.slice();
    this.#sendInitiation(bytes, asked ?? peer.agent?.destinations(now) ?? own);
  }

  #sendInitiation(bytes: Uint8Array, paths: readonly Path[]): void {
    for (const { remote, local } of paths) {
      this.#options.transport.send(bytes, bytes.length, remote, local);
    }
  }

  /** Does what a path agent wants. */
  #drain(now: Instant, peer: Peer): void {
    const { agent } = peer;
    if (agent === undefined) return;
    for (let event; (event = agent.pollEvent()) !== undefined;) this.#follow(peer, event);
    this.#settle(peer, agent);
    const closed: number[] = [];
    for (let request; (request = agent.pollLocal()) !== undefined;) {
      if (request.kind === "close") closed.push(...request.locals);
      else if (request.kind === "sample") this.#options.samplePorts();
      else agent.handleLocals(now, this.#openLocals(now, peer, request));
    }
    for (let due; (due = agent.pollInitiation()) !== undefined;) {
      if (due.fresh || peer.initiation === undefined || peer.fanOut !== undefined) {
        if (peer.fanOut === undefined) this.#engine.initiate(peer.id);
        peer.fanOut = [...peer.fanOut ?? [], ...due.destinations];
      } else this.#sendInitiation(peer.initiation, due.destinations);
    }
    if (closed.length > 0) this.#closeLocals(peer, closed);
    for (let probe; (probe = agent.pollProbe()) !== undefined;) {
      const { path, sequence, bytes } = probe;
      if (!this.#engine.probe(peer.id, path, sequence, bytes)) {
        agent.handleProbeRefused(path, sequence);
      }
    }
    this.#dueAt = earlier(this.#dueAt, agent.pollTimeout());
  }

  #follow(peer: Peer, event: PathEvent): void {
    if (event.kind === "connected" || event.kind === "moved") {
      peer.path = event.path;
      this.#engine.setEndpoint(peer.id, event.path.remote, event.path.local);
    } else if (event.kind === "mtu") {
      peer.mtu = event.mtu;
      this.#fit(peer);
    }
    // There is another way now, or the old one again: what has timed out need not wait.
    if (event.kind !== "mtu" && event.kind !== "lost") this.#engine.resumeStreams(peer.id);
    this.#options.listener(peer, event);
  }

  /** Looks whether the path agent is sure of the size now: then nobody else's word counts. */
  #settle(peer: Peer, agent: PathAgent): void {
    const settled = agent.mtuSettled;
    if (settled === peer.settled) return;
    peer.settled = settled;
    if (settled && peer.hint !== undefined) peer.hint.mtu = Infinity;
    this.#fit(peer);
  }

  /** Streams follow at once. The kernel keeps to a size for ten minutes, so it is told of one only when that is certain. */
  #fit({ id, mtu, settled, hint }: Peer): void {
    this.#engine.setPeerMtu(id, Math.min(mtu, hint?.mtu ?? mtu), settled ? mtu : ANY_BYTES);
  }

  /** A router has said that inner packets of more than `mtu` bytes do not pass. Anybody may have said so. */
  #believe(now: Instant, peer: Peer, mtu: number): void {
    if (mtu < MTU_FLOOR || mtu >= peer.mtu) return;
    if (peer.hint !== undefined && now < peer.hint.againAt) return;
    const until = now + HINT_MS as Instant;
    peer.hint = { mtu, until, againAt: now + HINT_EVERY_MS as Instant };
    this.#dueAt = earlier(this.#dueAt, until);
    this.#fit(peer);
  }

  #doubtHint(now: Instant, peer: Peer): void {
    const { hint } = peer;
    if (hint === undefined || hint.mtu === Infinity) return;
    if (now < hint.until) this.#dueAt = earlier(this.#dueAt, hint.until);
    else {
      hint.mtu = Infinity;
      this.#fit(peer);
    }
  }

  /** Opens extra local ends, maybe fewer than wanted: guesses for other peers give way to this one, or not. */
  #openLocals(
    now: Instant,
    peer: Peer,
    { count, urgent }: { readonly count: number; readonly urgent: boolean },
  ): readonly number[] {
    const opened: number[] = [];
    this.#openInto(opened, peer, count);
    for (const other of this.#byKey.values()) {
      if (opened.length >= count) break;
      if (other === peer || other.agent?.yieldEnds(now, urgent) !== true) continue;
      this.#drain(now, other);
      this.#openInto(opened, peer, count);
    }
    return opened;
  }

  #openInto(opened: number[], { locals }: Peer, count: number): void {
    while (opened.length < count && this.#locals < GUESS_LOCALS_MAX) {
      const local = this.#options.transport.openLocal();
      if (local === undefined) return;
      opened.push(local);
      locals.add(local);
      this.#locals++;
    }
  }

  #closeLocals(peer: Peer, closed: readonly number[]): void {
    for (const local of closed) {
      if (!peer.locals.delete(local)) continue;
      this.#locals--;
      this.#options.transport.closeLocal(local);
    }
    peer.fanOut = peer.fanOut?.filter(({ local }) => !closed.includes(local));
    if (peer.path === undefined || !closed.includes(peer.path.local)) return;
    // Lost with its path: what the engine still sends goes by the node's own socket.
    peer.path = ownPath(peer.path.remote);
    this.#engine.setEndpoint(peer.id, peer.path.remote);
  }
}

function sameFacts(a: NatFacts, b: NatFacts): boolean {
  return a.mapping === b.mapping && a.filtering === b.filtering && a.hint === b.hint;
}
