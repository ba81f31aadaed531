/** The peers of a node: the engine's number, the path agent, and what `status` says of each. @module */
import {
  earlier,
  equals,
  familyOf,
  formatIp,
  formatSocketAddress,
  type Instant,
  MorayError,
  parseCidr,
  parseKey,
  parseSocketAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import type { Engine, EngineEvent, PeerId } from "../../wg/mod.ts";
import {
  type Candidate,
  type CandidateKind,
  OWN_SOCKETS,
  ownPath,
  PathAgent,
  type PathEvent,
} from "../../traversal/mod.ts";
import {
  type AddPeerCommand,
  ALLOWED_IPS_MAX,
  type CandidateInfo,
  type DatapathPeerStatus,
} from "../shared/mod.ts";

/** A session older than this is dead: REJECT_AFTER_TIME of the WireGuard paper, section 6.1. */
const SESSION_MS_MAX = 180_000;
/** Weight of a new round trip in the smoothed one (RFC 6298 section 2.3). */
const RTT_GAIN = 1 / 8;
/** Of the first round trips the smallest counts: they also measure code that runs for the first time. */
const RTT_WARM_UP = 3;
/** Headers of IP, UDP and WireGuard around an inner packet. */
const OUTER_BYTES = { 4: 20 + 8 + 32, 6: 40 + 8 + 32 } as const;
/** How long a path is believed to be narrow, as the driver does. */
const NARROW_MS = 600_000;
/** A size of inner packets that the engine's own MTU bounds. */
const ANY_BYTES = 0xffff;

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
  /** The peer's own mesh addresses: its blocks of full length. */
  readonly addresses: ReadonlySet<string>;
  /** Destinations of the initiation that the path agent asked for, until the engine has made it. */
  fanOut: readonly SocketAddress[] | undefined;
  /** Smoothed round trip; `undefined` until measured. */
  rttMs: number | undefined;
  /** Round trips measured. */
  rttSamples: number;
  /** A plain peer's session was reported as begun. */
  connected: boolean;
  /** Largest inner packet that fits the path, and until when that is believed; `undefined` while any does. */
  narrow: { readonly mtu: number; readonly until: Instant } | undefined;
}

/** Tells what happens to a peer. */
export type PeerListener = (peer: Peer, event: PathEvent) => void;

/** Every peer of a node; the engine's limit of 10,000 holds. */
export class PeerTable {
  readonly #engine: Engine;
  readonly #listener: PeerListener;
  readonly #byKey = new Map<string, Peer>();
  readonly #byId = new Map<PeerId, Peer>();
  /** No path agent is due before this; `undefined` while none ever is. Kept, since a node may have thousands. */
  #dueAt: Instant | undefined;

  /** An empty table. */
  constructor(engine: Engine, listener: PeerListener) {
    this.#engine = engine;
    this.#listener = listener;
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

  /** The peer with the engine's number. */
  withId(id: PeerId): Peer | undefined {
    return this.#byId.get(id);
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
      const own = equals(key, this.#engine.publicKey);
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
      agent: command.mesh ? known?.agent ?? new PathAgent({ now }) : undefined,
      addresses: new Set(full.map(({ address }) => formatIp(address))),
      fanOut: undefined,
      rttMs: known?.rttMs,
      rttSamples: known?.rttSamples ?? 0,
      connected: known?.connected ?? false,
      narrow: known?.narrow,
    };
    this.#byKey.set(peer.publicKey, peer);
    this.#byId.set(id, peer);
    const endpoint = command.endpoint === undefined
      ? undefined
      : parseSocketAddress(command.endpoint);
    if (endpoint !== undefined) this.#engine.setEndpoint(id, endpoint);
    return peer;
  }

  /** Forgets a peer. */
  remove(publicKey: string): Peer {
    const peer = this.find(publicKey);
    this.#engine.removePeer(peer.id);
    this.#byKey.delete(publicKey);
    this.#byId.delete(peer.id);
    return peer;
  }

  /** Takes what the engine authenticated. */
  handle(now: Instant, event: EngineEvent & { readonly kind: "handshake" | "heard" }): void {
    const peer = this.#byId.get(event.peer);
    if (peer === undefined) return;
    if (peer.agent !== undefined) {
      peer.agent.handleAuthenticated(
        now,
        ownPath(event.from),
        event.kind === "handshake" ? "handshake" : "data",
      );
      this.#drain(peer);
    } else if (event.kind === "handshake") {
      const kind = peer.connected ? "moved" : "connected";
      peer.connected = true;
      this.#listener(peer, { kind, path: ownPath(event.from) });
    }
  }

  /** Advances the path agents, if one is due, and asks the engine for the initiations that they want. */
  handleTimeout(now: Instant): void {
    if (this.#dueAt === undefined || now < this.#dueAt) return;
    this.#dueAt = undefined;
    for (const peer of this.#byKey.values()) {
      this.#widen(now, peer);
      if (peer.agent === undefined) continue;
      peer.agent.handleTimeout(now);
      this.#drain(peer);
    }
  }

  /** Takes the hint that the path to an address carries IP packets of `mtu` bytes at most. */
  handleTooBig(now: Instant, destination: SocketAddress, mtu: number): void {
    const inner = mtu - OUTER_BYTES[familyOf(destination.hostname)];
    for (const peer of this.#byKey.values()) {
      // Whatever the port: our own link's errors do not name it.
      if (this.#engine.peerFigures(peer.id)?.endpoint?.hostname !== destination.hostname) continue;
      const until = now + NARROW_MS as Instant;
      // The engine pads to 16 bytes.
      peer.narrow = { mtu: inner - inner % 16, until };
      this.#dueAt = earlier(this.#dueAt, until);
      this.#engine.setPeerMtu(peer.id, peer.narrow.mtu, ANY_BYTES);
    }
  }

  /** Takes the hint that nobody answers at an address. */
  handleUnreachable(now: Instant, destination: SocketAddress): void {
    for (const peer of this.#byKey.values()) {
      this.withAgent(peer, (agent) => agent.handleUnreachable(now, ownPath(destination)));
    }
  }

  /** When {@linkcode PeerTable.handleTimeout} must be called; may be early. */
  pollTimeout(): Instant | undefined {
    return this.#dueAt;
  }

  /** Changes a peer's path agent, then does what it wants. */
  withAgent(peer: Peer, change: (agent: PathAgent) => void): void {
    if (peer.agent === undefined) return;
    change(peer.agent);
    this.#drain(peer);
  }

  /** Where an initiation goes that the engine has made. Asking forgets what the path agent asked for. */
  destinationsOf(
    now: Instant,
    id: PeerId,
    endpoint: SocketAddress | undefined,
  ): readonly SocketAddress[] {
    const peer = this.#byId.get(id);
    const asked = peer?.fanOut;
    if (peer !== undefined) peer.fanOut = undefined;
    const all = peer?.agent?.destinations(now).map(({ remote }) => remote);
    return asked ?? all ?? (endpoint === undefined ? [] : [endpoint]);
  }

  /** Takes a measured round trip. */
  measured(peer: Peer, rttMs: number): void {
    const known = peer.rttMs ?? rttMs;
    peer.rttMs = ++peer.rttSamples <= RTT_WARM_UP
      ? Math.min(known, rttMs)
      : known + (rttMs - known) * RTT_GAIN;
  }

  /** What `status` says of a peer. `wallClockMs` is the present since 1970. */
  statusOf(now: Instant, peer: Peer, wallClockMs: number): DatapathPeerStatus {
    const figures = this.#engine.peerFigures(peer.id);
    const age = figures?.handshakeAgeMs;
    const path = peer.agent?.status(now);
    const alive = age !== undefined && age < SESSION_MS_MAX;
    const connected = alive && (path?.connected ?? true);
    const endpoint = figures?.endpoint;
    return {
      publicKey: peer.publicKey,
      endpoint: endpoint === undefined ? null : formatSocketAddress(endpoint),
      lastHandshakeAtMs: age === undefined ? null : wallClockMs - age,
      rxBytes: figures?.rxBytes ?? 0,
      txBytes: figures?.txBytes ?? 0,
      connected,
      reason: connected ? null : path?.reason ?? "no handshake yet",
      rttMs: peer.rttMs ?? null,
    };
  }

  /** Lets a path be tried again that was narrow long enough. */
  #widen(now: Instant, peer: Peer): void {
    if (peer.narrow === undefined) return;
    if (now < peer.narrow.until) this.#dueAt = earlier(this.#dueAt, peer.narrow.until);
    else {
      peer.narrow = undefined;
      this.#engine.setPeerMtu(peer.id, ANY_BYTES);
    }
  }

  #drain(peer: Peer): void {
    const { agent } = peer;
    if (agent === undefined) return;
    for (let event; (event = agent.pollEvent()) !== undefined;) {
      if (event.kind === "connected" || event.kind === "moved") {
        this.#engine.setEndpoint(peer.id, event.path.remote);
      }
      this.#listener(peer, event);
    }
    for (let due; (due = agent.pollInitiation()) !== undefined;) {
      peer.fanOut = due.destinations.filter(({ local }) => local === OWN_SOCKETS)
        .map(({ remote }) => remote);
      this.#engine.initiate(peer.id);
    }
    // The engine sends along the path in use alone.
    for (let probe; (probe = agent.pollProbe()) !== undefined;) {
      agent.handleProbeRefused(probe.path, probe.sequence);
    }
    this.#dueAt = earlier(this.#dueAt, agent.pollTimeout());
  }
}

/** Parses candidates that somebody else told of; bad ones are left out. */
export function parseCandidates(
  candidates: readonly CandidateInfo[],
): readonly Candidate[] {
  const parsed: Candidate[] = [];
  for (const { kind, address } of candidates) {
    const endpoint = parseSocketAddress(address);
    if (endpoint === undefined || endpoint.port === 0) continue;
    parsed.push({ kind: kind as CandidateKind, address: endpoint });
  }
  return parsed;
}

/** Formats a candidate for the main thread. */
export function formatCandidate({ kind, address }: Candidate): CandidateInfo {
  return { kind, address: formatSocketAddress(address) };
}
