/** The peers that a node has learned of in its mesh, and what the datapath is told of them. @module */
import {
  canonicalIp,
  type Cidr,
  cidrContains,
  formatSocketAddress,
  type Instant,
  isLocalScope,
  parseIp,
  parseKey,
  sameAddress,
  type SocketAddress,
} from "../core/mod.ts";
import type { DiscoveredPeer } from "../discovery/mod.ts";
import { parseEndpoint } from "../traversal/mod.ts";
import { COLONY_IPV4, meshIpv6Of, meshIpv6Subnet } from "./addressing.ts";
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
/** Peers of one node, as many as Discovery keeps for a mesh; later ones are ignored and counted. */
export const PEERS_MAX = 10_000;

/** A peer as the mesh knows it. */
export interface MeshPeer {
  /** WireGuard key, base64. */
  readonly publicKey: string;
  /** Its name. */
  readonly name: string;
  /** Colony or agent. */
  readonly role: Role;
  /** Mesh address; `null` for none. */
  readonly meshIpv4: string | null;
  /** Mesh address. */
  readonly meshIpv6: string;
  /** Whether a session lives. */
  connected: boolean;
  /** When Discovery said that it is gone; `undefined` while it is known. */
  goneAt: Instant | undefined;
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
  /** Our own role: a colony's peers are agents, an agent's peer is the colony. */
  readonly role: Role;
  /** Mesh id. */
  readonly mesh: string;
  /** Our own key. */
  readonly publicKey: string;
  /** Discovery's URLs; a mesh whose Discovery is on this machine may be on this machine. */
  readonly discovery: readonly string[];
  /** Names of the mesh. */
  readonly names: NameTable;
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
    const wanted = role === "agent" ? "colony" : "agent";
    if (key === undefined || found.role !== wanted || found.publicKey === own) return undefined;
    const { publicKey } = found;
    const known = this.#byKey.get(publicKey);
    if (known === undefined && this.#byKey.size >= PEERS_MAX) {
      this.#ignored++;
      return undefined;
    }
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

  /** Discovery no longer knows a peer. */
  gone(publicKey: string, now: Instant): void {
    const peer = this.#byKey.get(publicKey);
    if (peer === undefined || peer.goneAt !== undefined) return;
    peer.goneAt = now;
    this.#gone.add(peer);
    const { candidates } = peer;
    this.#options.send({ kind: "setCandidates", publicKey, candidates, gone: true });
  }

  /** Forgets peers that are gone, unless a session with them lives: Discovery may have lost its memory. Returns those. */
  sweep(now: Instant): readonly MeshPeer[] {
    const forgotten: MeshPeer[] = [];
    for (const peer of this.#gone) {
      if (peer.goneAt === undefined || peer.connected) continue;
      if (this.#options.role === "agent" && now - peer.goneAt < GONE_MS) continue;
      this.#forget(peer);
      forgotten.push(peer);
    }
    return forgotten;
  }

  #add(found: DiscoveredPeer, key: Uint8Array): MeshPeer {
    const { role, names, send, log } = this.#options;
    if (role === "agent") this.#replaceColony(found.publicKey);
    const peer = this.#peerOf(found, key);
    const { publicKey, name, meshIpv4, meshIpv6 } = peer;
    this.#byKey.set(publicKey, peer);
    if (!names.set(name, meshIpv6)) {
      log("warn", `the name ${name} is taken: use the node's address`, { address: meshIpv6 });
    }
    const relay = this.#mayRelay(found);
    const allowedIps = [`${meshIpv6}/128`, ...(meshIpv4 === null ? [] : [`${meshIpv4}/32`])];
    const keepaliveSeconds = KEEPALIVE_SECONDS;
    const wishes = { keepaliveSeconds, mesh: true, name, ...(!relay && { relay }) };
    send({ kind: "addPeer", publicKey, allowedIps, ...wishes });
    return peer;
  }

  #peerOf(found: DiscoveredPeer, key: Uint8Array): MeshPeer {
    const isColony = found.role === "colony";
    // A colony of another make may live at another address; an agent's follows from its key, or two could claim one.
    const claimed = isColony && found.meshIpv6 !== undefined
      ? canonicalIp(found.meshIpv6)
      : undefined;
    return {
      publicKey: found.publicKey,
      name: labelOf(found.name) ?? (isColony ? "colony" : found.publicKey.slice(0, 8)),
      role: found.role,
      meshIpv4: isColony ? found.meshIpv4 ?? null : null,
      meshIpv6: claimed ?? meshIpv6Of(this.#options.mesh, key),
      connected: false,
      goneAt: undefined,
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

  /** Whether an outer packet to this address would enter the tunnel that is to carry it, and so never leave. */
  isInside(hostname: string): boolean {
    const ip = parseIp(hostname);
    if (ip === undefined || cidrContains(this.#subnet, ip)) return true;
    const addresses = this.#options.role === "colony"
      ? [COLONY_IPV4]
      : this.all.flatMap(({ meshIpv4, meshIpv6 }) => [meshIpv4, meshIpv6]);
    return addresses.includes(hostname);
  }

  /** A mesh has one colony: another key means that it was replaced, since Discovery binds a mesh to one key. */
  #replaceColony(publicKey: string): void {
    const { mesh, log } = this.#options;
    for (const old of this.all) {
      const keys = { was: old.publicKey, is: publicKey };
      log("warn", `the colony of mesh ${mesh} has another key now`, keys);
      this.#forget(old);
    }
  }

  #forget(peer: MeshPeer): void {
    const { names, send } = this.#options;
    this.#byKey.delete(peer.publicKey);
    this.#gone.delete(peer);
    if (names.resolve(peer.name) === peer.meshIpv6) names.delete(peer.name);
    send({ kind: "removePeer", publicKey: peer.publicKey });
  }
}

function isLocalUrl(url: string): boolean {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, "");
  return host === "localhost" || (canonicalIp(host) !== undefined && isLocalScope(host));
}
