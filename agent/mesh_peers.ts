/** The peers that a node has learned of in its mesh, and what the datapath is told of them. @module */
import {
  after,
  canonicalIp,
  type Cidr,
  cidrContains,
  earlier,
  formatSocketAddress,
  type Instant,
  isLocalScope,
  parseIp,
  parseKey,
  parseSocketAddress,
  sameAddress,
  type SocketAddress,
} from "../core/mod.ts";
import type { DiscoveredPeer } from "../discovery/mod.ts";
import { parseEndpoint } from "../traversal/mod.ts";
import { COLONY_IPV4, meshIpv6Of, meshIpv6Subnet } from "./addressing.ts";
import type { Assigned } from "./control/control_side.ts";
import { labelOf, type NameTable } from "./names.ts";
import type { Log } from "./options.ts";
import type { PeerCommand } from "./peer_commands.ts";
import type { CandidateInfo, PunchCommand } from "./shared/mod.ts";

/** The two roles in a mesh. */
export type Role = "colony" | "agent";

/** Keeps NAT mappings alive; WireGuard's customary value. */
const KEEPALIVE_SECONDS = 25;
/** How long an agent keeps a colony that Discovery no longer knows and that does not answer. */
const GONE_MS = 180_000;
/**
 * The same for a colony and an agent that was connected: a Discovery that has lost its memory names nobody until they register again,
 * and who is forgotten loses his streams.
 */
const RETURN_MS = 30_000;
/** Peers of one node, as many as Discovery keeps for a mesh; later ones are ignored and counted. */
export const PEERS_MAX = 10_000;

/** A peer as the mesh knows it. */
export interface MeshPeer {
  /** WireGuard key, base64. */
  readonly publicKey: string;
  /** Its name. */
  name: string;
  /** Colony or agent. */
  readonly role: Role;
  /** Mesh address; `null` for none. */
  meshIpv4: string | null;
  /** Mesh address. */
  readonly meshIpv6: string;
  /** Whether a session lives. */
  connected: boolean;
  /** When Discovery said that it is gone; `undefined` while it is known. */
  goneAt: Instant | undefined;
  /** Until when it is kept in that case, though no session lives. */
  keptUntil: Instant;
  /** What Discovery told last, for the cache. */
  record: DiscoveredPeer;
  /** Where it was last authenticated, which Discovery may not know; `undefined` before the first time. */
  lastRemote: SocketAddress | undefined;
  /** The candidates that the datapath was told of. */
  candidates: readonly CandidateInfo[];
}

/** What {@linkcode MeshPeers.learn} found new. */
export interface Learned {
  /** The peer. */
  readonly peer: MeshPeer;
  /** Whether it was not known before. */
  readonly added: boolean;
  /** Whether it may be reached elsewhere than before. */
  readonly moved: boolean;
  /** Whether it seems to have left the place where it was: its public addresses are all others. */
  readonly left: boolean;
}

/** What {@linkcode MeshPeers} works with. */
export interface MeshPeersOptions {
  /** Our own role: a colony's peers are agents; an agent's are the colony, and fellows. */
  readonly role: Role;
  /** Mesh id. */
  readonly mesh: string;
  /** Our own key. */
  readonly publicKey: string;
  /** Discovery's URLs; a mesh whose Discovery is on this machine may be on this machine. */
  readonly discovery: readonly string[];
  /** Names of the mesh. */
  readonly names: NameTable;
  /** Whether a node may be a peer of this one. @default every node of the mesh may */
  readonly admits?: (publicKey: string) => boolean;
  /** Agent only: whether another agent is to be a peer. @default none is */
  readonly isFellow?: (publicKey: string) => boolean;
  /** What the colony calls a node, and the IPv4 address that it has. @default it has said nothing of any */
  readonly assignedTo?: (publicKey: string) => Assigned | undefined;
  /** Our own IPv4 address. @default a colony's is {@linkcode COLONY_IPV4}, and an agent has none */
  readonly ownIpv4?: () => string | null;
  /** Never use a relay. @default false */
  readonly noRelay?: boolean;
  /** Sends a command to the datapath. */
  readonly send: (command: PeerCommand) => void;
  /** Where the log goes. */
  readonly log: Log;
}

/** Every peer of a mesh node. */
export class MeshPeers {
  readonly #options: MeshPeersOptions;
  readonly #allowLocal: boolean;
  readonly #subnet: Cidr;
  readonly #byKey = new Map<string, MeshPeer>();
  readonly #gone = new Set<MeshPeer>();
  #ignored = 0;
  #unusable = 0;
  #refused = 0;

  /** No peers. */
  constructor(options: MeshPeersOptions) {
    this.#options = options;
    this.#allowLocal = options.discovery.some(isLocalUrl);
    this.#subnet = meshIpv6Subnet(options.mesh);
  }

  /** Peers beyond {@linkcode PEERS_MAX}. */
  get ignored(): number {
    return this.#ignored;
  }

  /** Records of nodes that may not be peers. */
  get refused(): number {
    return this.#refused;
  }

  /** Candidates told of where no packet of this node may go: on this machine, or inside the tunnel itself. */
  get unusable(): number {
    return this.#unusable;
  }

  /** Every peer. */
  get all(): readonly MeshPeer[] {
    return [...this.#byKey.values()];
  }

  /** What is worth keeping for a start without Discovery: the records, and where each peer was last reached. */
  records(): readonly DiscoveredPeer[] {
    return this.all.map(({ record, lastRemote }) => {
      if (lastRemote === undefined) return record;
      const { endpoints, observedEndpoints } = record;
      const known = [...endpoints, ...observedEndpoints].some((a) => sameAddress(a, lastRemote));
      return known ? record : { ...record, observedEndpoints: [...observedEndpoints, lastRemote] };
    });
  }

  /** The peer with a key. */
  find(publicKey: string): MeshPeer | undefined {
    return this.#byKey.get(publicKey);
  }

  /** Whether a key is a peer's that is a colony. */
  isColony(publicKey: string): boolean {
    return this.#byKey.get(publicKey)?.role === "colony";
  }

  /** Whether a key is that of another agent, where this node is one: those are too many to be asked where this node is. */
  isFellow(publicKey: string): boolean {
    return this.#byKey.get(publicKey)?.role === "agent" && this.#options.role === "agent";
  }

  /** The peer with a mesh address. */
  withAddress(address: string): MeshPeer | undefined {
    return this.all.find(({ meshIpv4, meshIpv6 }) => meshIpv6 === address || meshIpv4 === address);
  }

  /** A peer's name, or the start of its key. */
  nameOf(publicKey: string): string {
    return this.#byKey.get(publicKey)?.name ?? publicKey.slice(0, 8);
  }

  /** Adds a peer or renews what is known of it, and punches towards it if `punch` is given. */
  learn(
    found: DiscoveredPeer,
    punch?: Pick<PunchCommand, "windowMs" | "coin">,
  ): Learned | undefined {
    const { role, publicKey: own, send } = this.#options;
    const key = parseKey(found.publicKey);
    const { publicKey } = found;
    const wanted = found.role !== role || this.#options.isFellow?.(publicKey) === true;
    if (key === undefined || !wanted || publicKey === own) return undefined;
    if (this.#options.admits?.(publicKey) === false) {
      this.#refused++;
      return undefined;
    }
    const known = this.#byKey.get(publicKey);
    if (known === undefined && this.#byKey.size >= PEERS_MAX) {
      this.#ignored++;
      return undefined;
    }
    if (known === undefined) this.#forgetEarlier(found);
    const peer = known ?? this.#add(found, key);
    const returned = this.#gone.delete(peer);
    peer.goneAt = undefined;
    const before = peer.record;
    const { observedEndpoints: seen } = before;
    const left = seen.length > 0 && found.observedEndpoints.length > 0 &&
      !seen.some((address) => found.observedEndpoints.some((other) => sameAddress(address, other)));
    peer.record = found;
    const { lastRemote } = peer;
    // Heard there before it was said to be a relay's: offered no more, it would pass for an address of the peer's own.
    const isRelays = lastRemote !== undefined &&
      [...before.relayedEndpoints, ...found.relayedEndpoints].some((address) =>
        sameAddress(address, lastRemote)
      );
    if (isRelays) peer.lastRemote = undefined;
    const candidates = this.#candidatesOf(peer);
    const moved = JSON.stringify(candidates) !== JSON.stringify(peer.candidates);
    const renamed = known !== undefined && found.nat !== before.nat;
    peer.candidates = candidates;
    const relay = this.#mayRelay(found);
    const changed = this.#mayRelay(before) !== relay;
    const where = { publicKey, candidates, nat: found.nat, ...(changed && { relay }) };
    if (punch !== undefined) send({ kind: "punch", ...punch, ...where });
    else if (moved || renamed || returned || changed) send({ kind: "setCandidates", ...where });
    return { peer, added: known === undefined, moved, left };
  }

  /** What the colony calls a peer is this from now on, and it has this address. Returns whether that is news. */
  assign(publicKey: string, { name, ipv4 }: Assigned): boolean {
    const peer = this.#byKey.get(publicKey);
    if (peer === undefined || (peer.name === name && peer.meshIpv4 === ipv4)) return false;
    const { names } = this.#options;
    if (names.resolve(peer.name) === peer.meshIpv6) names.delete(peer.name);
    peer.name = name;
    peer.meshIpv4 = ipv4;
    this.#introduce(peer);
    return true;
  }

  /** Discovery no longer knows a peer. */
  gone(publicKey: string, now: Instant): void {
    const peer = this.#byKey.get(publicKey);
    if (peer === undefined || peer.goneAt !== undefined) return;
    peer.goneAt = now;
    const spared = peer.connected ? RETURN_MS : 0;
    const keptMs = peer.role === "colony" ? GONE_MS : spared;
    peer.keptUntil = after(now, keptMs);
    this.#gone.add(peer);
    const { candidates } = peer;
    this.#options.send({ kind: "setCandidates", publicKey, candidates, gone: true });
  }

  /** A peer that was gone is there again. */
  returned(publicKey: string): void {
    const peer = this.#byKey.get(publicKey);
    if (peer === undefined || !this.#gone.delete(peer)) return;
    peer.goneAt = undefined;
    const { candidates } = peer;
    this.#options.send({ kind: "setCandidates", publicKey, candidates });
  }

  /** A peer may be none any more: it is forgotten at once, whatever it has open. Returns it. */
  expel(publicKey: string): MeshPeer | undefined {
    const peer = this.#byKey.get(publicKey);
    if (peer !== undefined) this.#forget(peer);
    return peer;
  }

  /** When {@linkcode MeshPeers.sweep} has something to forget; `undefined` for never, as far as is known. */
  get sweepAt(): Instant | undefined {
    let at: Instant | undefined;
    for (const { connected, keptUntil } of this.#gone) {
      if (!connected) at = earlier(at, keptUntil);
    }
    return at;
  }

  /** Forgets peers that are gone, unless a session with them lives: Discovery may have lost its memory. Returns those. */
  sweep(now: Instant): readonly MeshPeer[] {
    const forgotten: MeshPeer[] = [];
    for (const peer of this.#gone) {
      if (peer.connected || now < peer.keptUntil) continue;
      this.#forget(peer);
      forgotten.push(peer);
    }
    return forgotten;
  }

  #add(found: DiscoveredPeer, key: Uint8Array): MeshPeer {
    if (found.role === "colony") this.#replaceColony(found.publicKey);
    const peer = this.#peerOf(found, key);
    this.#byKey.set(peer.publicKey, peer);
    this.#introduce(peer);
    return peer;
  }

  /** Tells names and datapath of a peer, or of what has changed of it. */
  #introduce({ publicKey, name, meshIpv4, meshIpv6, record }: MeshPeer): void {
    const { names, send, log } = this.#options;
    // Who has registered no name, as on a plain Coral Discovery, is called by its key, which mostly cannot be one.
    if (labelOf(name) === name && !names.set(name, meshIpv6, meshIpv4)) {
      log("warn", `the name ${name} is taken: use the node's address`, { address: meshIpv6 });
    }
    const relay = this.#mayRelay(record);
    const allowedIps = [`${meshIpv6}/128`, ...(meshIpv4 === null ? [] : [`${meshIpv4}/32`])];
    const keepaliveSeconds = KEEPALIVE_SECONDS;
    const wishes = { keepaliveSeconds, mesh: true, name, ...(!relay && { relay }) };
    send({ kind: "addPeer", publicKey, allowedIps, ...wishes });
  }

  #peerOf(found: DiscoveredPeer, key: Uint8Array): MeshPeer {
    const isColony = found.role === "colony";
    // A colony of another make may live at another address; an agent's follows from its key, or two could claim one.
    const claimed = isColony && found.meshIpv6 !== undefined
      ? canonicalIp(found.meshIpv6)
      : undefined;
    const assigned = this.#options.assignedTo?.(found.publicKey);
    const named = labelOf(found.name) ?? (isColony ? "colony" : found.publicKey.slice(0, 8));
    return {
      publicKey: found.publicKey,
      name: assigned?.name ?? named,
      role: found.role,
      meshIpv4: assigned?.ipv4 ?? (isColony ? found.meshIpv4 ?? null : null),
      meshIpv6: claimed ?? meshIpv6Of(this.#options.mesh, key),
      connected: false,
      goneAt: undefined,
      keptUntil: 0 as Instant,
      record: found,
      lastRemote: undefined,
      candidates: [],
    };
  }

  #candidatesOf({ record, lastRemote }: MeshPeer): readonly CandidateInfo[] {
    const found = new Map<string, CandidateInfo>();
    const add = (kind: string, addresses: readonly SocketAddress[]): void => {
      for (const claimed of addresses) {
        const parsed = parseEndpoint(claimed, { allowLocal: this.#allowLocal });
        if (parsed === undefined || this.isInside(parsed.hostname)) {
          this.#unusable++;
          continue;
        }
        const address = formatSocketAddress(parsed);
        if (!found.has(address)) found.set(address, { kind, address });
      }
    };
    add("host", record.endpoints);
    add("serverReflexive", record.observedEndpoints);
    if (this.#mayRelay(record)) add("relayed", record.relayedEndpoints);
    if (lastRemote !== undefined) add("peerReflexive", [lastRemote]);
    return [...found.values()];
  }

  /** Whether a relay may be between the peer and this node: both must be willing. */
  #mayRelay({ noRelay }: DiscoveredPeer): boolean {
    return !noRelay && this.#options.noRelay !== true;
  }

  /** Those candidates that lead outside, as all of this node's own must. */
  outside(candidates: readonly CandidateInfo[]): readonly CandidateInfo[] {
    return candidates.filter(({ address }) => {
      const parsed = parseSocketAddress(address);
      return parsed !== undefined && !this.isInside(parsed.hostname);
    });
  }

  /** Whether an outer packet to this address would enter the tunnel that is to carry it, and so never leave. */
  isInside(hostname: string): boolean {
    const ip = parseIp(hostname);
    if (ip === undefined || cidrContains(this.#subnet, ip)) return true;
    const { role, names, ownIpv4 = () => role === "colony" ? COLONY_IPV4 : null } = this.#options;
    if (ownIpv4() === hostname || names.nameOf(hostname) !== undefined) return true;
    // Its name may be another node's.
    return role === "agent" && this.withAddress(hostname) !== undefined;
  }

  /** Whoever goes on with another key is not there under the earlier ones any more, whose name is free for it. */
  #forgetEarlier({ publicKey, earlierKeys = [] }: DiscoveredPeer): void {
    for (const earlier of earlierKeys) {
      const peer = this.#byKey.get(earlier);
      if (peer === undefined) continue;
      const keys = { was: earlier, is: publicKey };
      this.#options.log("info", `${peer.name} goes on with another key`, keys);
      this.#forget(peer);
    }
  }

  /** A mesh has one colony: another key means that it was replaced, since Discovery binds a mesh to one key. */
  #replaceColony(publicKey: string): void {
    const { mesh, log } = this.#options;
    for (const old of this.all) {
      if (old.role !== "colony") continue;
      const keys = { was: old.publicKey, is: publicKey };
      log("warn", `the colony of mesh ${mesh} has another key now`, keys);
      this.#forget(old);
    }
  }

  #forget(peer: MeshPeer): void {
    const { names, send } = this.#options;
    this.#byKey.delete(peer.publicKey);
    this.#gone.delete(peer);
    const held = this.#options.assignedTo?.(peer.publicKey) !== undefined;
    if (!held && names.resolve(peer.name) === peer.meshIpv6) names.delete(peer.name);
    send({ kind: "removePeer", publicKey: peer.publicKey });
  }
}

function isLocalUrl(url: string): boolean {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, "");
  return host === "localhost" || (canonicalIp(host) !== undefined && isLocalScope(host));
}
