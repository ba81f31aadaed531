/** The peers that a node has learned of in its mesh, and what the datapath is told of them. @module */
import {
  canonicalIp,
  formatSocketAddress,
  isLocalScope,
  parseKey,
  type SocketAddress,
} from "../core/mod.ts";
import type { DiscoveredPeer } from "../discovery/mod.ts";
import { parseEndpoint } from "../traversal/mod.ts";
import { meshIpv6Of } from "./addressing.ts";
import { labelOf, type NameTable } from "./names.ts";
import type { Log } from "./options.ts";
import type { CandidateInfo, CommandBody } from "./shared/mod.ts";

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
  goneAt: number | undefined;
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
  /** Sends a command to the datapath. */
  readonly send: (command: CommandBody) => void;
  /** Where the log goes. */
  readonly log: Log;
}

/** Every peer of a mesh node. */
export class MeshPeers {
  readonly #options: MeshPeersOptions;
  readonly #allowLocal: boolean;
  readonly #byKey = new Map<string, MeshPeer>();
  #ignored = 0;

  /** No peers. */
  constructor(options: MeshPeersOptions) {
    this.#options = options;
    this.#allowLocal = options.discovery.some(isLocalUrl);
  }

  /** Peers beyond {@linkcode PEERS_MAX}. */
  get ignored(): number {
    return this.#ignored;
  }

  /** Every peer. */
  get all(): readonly MeshPeer[] {
    return [...this.#byKey.values()];
  }

  /** Whether any peer is connected. */
  get anyConnected(): boolean {
    return this.all.some(({ connected }) => connected);
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

  /** Adds a peer or renews what is known of it, and punches towards it for `punchMs` if given. */
  learn(found: DiscoveredPeer, punchMs?: number): void {
    const { role, publicKey: own, send } = this.#options;
    const key = parseKey(found.publicKey);
    const wanted = role === "agent" ? "colony" : "agent";
    if (key === undefined || found.role !== wanted || found.publicKey === own) return;
    const { publicKey } = found;
    const known = this.#byKey.get(publicKey);
    if (known !== undefined) known.goneAt = undefined;
    else if (this.#byKey.size >= PEERS_MAX) return void this.#ignored++;
    else this.#add(found, key);
    const candidates = this.#candidatesOf(found);
    if (punchMs !== undefined) send({ kind: "punch", publicKey, windowMs: punchMs, candidates });
    else send({ kind: "setCandidates", publicKey, candidates });
    send({ kind: "connectPeer", publicKey });
  }

  /** Discovery no longer knows a peer. */
  gone(publicKey: string, nowMs: number): void {
    const peer = this.#byKey.get(publicKey);
    if (peer !== undefined) peer.goneAt ??= nowMs;
    this.sweep(nowMs);
  }

  /** Forgets peers that are gone, unless a session with them lives: Discovery may have lost its memory. */
  sweep(nowMs: number): void {
    for (const peer of this.all) {
      if (peer.goneAt === undefined || peer.connected) continue;
      if (this.#options.role === "colony" || nowMs - peer.goneAt >= GONE_MS) this.#forget(peer);
    }
  }

  #add(found: DiscoveredPeer, key: Uint8Array): void {
    const { role, names, send, log } = this.#options;
    if (role === "agent") this.#replaceColony(found.publicKey);
    const peer = this.#peerOf(found, key);
    const { publicKey, name, meshIpv4, meshIpv6 } = peer;
    this.#byKey.set(publicKey, peer);
    if (!names.set(name, meshIpv6)) {
      log("warn", `the name ${name} is taken: use the node's address`, { address: meshIpv6 });
    }
    const allowedIps = [`${meshIpv6}/128`, ...(meshIpv4 === null ? [] : [`${meshIpv4}/32`])];
    const keepaliveSeconds = KEEPALIVE_SECONDS;
    send({ kind: "addPeer", publicKey, allowedIps, keepaliveSeconds, mesh: true, name });
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
    };
  }

  #candidatesOf(found: DiscoveredPeer): readonly CandidateInfo[] {
    const allowLocal = this.#allowLocal;
    const of = (kind: string, addresses: readonly SocketAddress[]): CandidateInfo[] =>
      addresses.map((address) => parseEndpoint(address, { allowLocal }))
        .filter((address) => address !== undefined)
        .map((address) => ({ kind, address: formatSocketAddress(address) }));
    return [...of("host", found.endpoints), ...of("serverReflexive", found.observedEndpoints)];
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
    if (names.resolve(peer.name) === peer.meshIpv6) names.delete(peer.name);
    send({ kind: "removePeer", publicKey: peer.publicKey });
  }
}

function isLocalUrl(url: string): boolean {
  const host = new URL(url).hostname.replace(/^\[|\]$/g, "");
  return host === "localhost" || (canonicalIp(host) !== undefined && isLocalScope(host));
}
