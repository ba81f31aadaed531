/**
 * The peers of a mesh node on disk, `peers.json` in its state directory, so that it finds them while Discovery is away.
 *
 * The file is as private as the key beside it (0600), and its addresses are hints as those of Discovery are: only the
 * handshake proves who answers there.
 *
 * @module
 */
import {
  canonicalIp,
  formatSocketAddress,
  messageOf,
  parseKey,
  parseSocketAddress,
} from "../core/mod.ts";
import type { DiscoveredPeer } from "../discovery/mod.ts";
import { readTextFile, writePrivateFile } from "../io/mod.ts";
import { isLabel } from "./names.ts";
import type { Log } from "./options.ts";

/** Peers kept; further ones are left out. A colony of more finds them by their own handshakes. */
export const CACHED_PEERS_MAX = 4096;
/** Longest file that is read: about 2 KiB for each peer. */
const FILE_BYTES_MAX = 8 << 20;
/** Addresses of one peer that are read. */
const ENDPOINTS_MAX = 64;

/** Where the peers of a node are kept. */
export function peerCachePath(state: string): string {
  return `${state}/peers.json`;
}

/** Formats peers of a mesh as the file's text. */
export function formatPeerCache(mesh: string, peers: readonly DiscoveredPeer[]): string {
  const kept = peers.slice(0, CACHED_PEERS_MAX).map((peer) => ({
    publicKey: peer.publicKey,
    role: peer.role,
    name: peer.name,
    endpoints: peer.endpoints.map(formatSocketAddress),
    observedEndpoints: peer.observedEndpoints.map(formatSocketAddress),
    ...(peer.noRelay && { noRelay: true }),
    meshIpv4: peer.meshIpv4,
    meshIpv6: peer.meshIpv6,
    connectPort: peer.connectPort,
  }));
  return `${JSON.stringify({ version: 1, mesh, peers: kept }, null, 1)}\n`;
}

/** Parses the file's text: the peers of this mesh, what is no peer left out; `undefined` if it is no such file. */
export function parsePeerCache(text: string, mesh: string): readonly DiscoveredPeer[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value) || value["version"] !== 1 || !Array.isArray(value["peers"])) {
    return undefined;
  }
  if (value["mesh"] !== mesh) return [];
  return value["peers"].slice(0, CACHED_PEERS_MAX).map((peer: unknown) => parsePeer(peer, mesh))
    .filter((peer) => peer !== undefined);
}

/** Reads the peers of an earlier run. Never rejects: without a readable file there are none. */
export async function readPeerCache(
  { state, mesh, log }: { readonly state: string; readonly mesh: string; readonly log: Log },
): Promise<readonly DiscoveredPeer[]> {
  const path = peerCachePath(state);
  let text: string;
  try {
    text = await readTextFile(path, { bytesMax: FILE_BYTES_MAX });
  } catch (error) {
    log("debug", `no peers of an earlier run: ${messageOf(error)}`);
    return [];
  }
  const peers = parsePeerCache(text, mesh);
  if (peers === undefined) log("warn", `${path} is damaged: starting without it`);
  return peers ?? [];
}

/** Writes the peers. Never rejects: a node works without. */
export async function writePeerCache(
  { state, mesh, log }: { readonly state: string; readonly mesh: string; readonly log: Log },
  peers: readonly DiscoveredPeer[],
): Promise<void> {
  try {
    await writePrivateFile(peerCachePath(state), formatPeerCache(mesh, peers));
  } catch (error) {
    log("warn", `the peers are not kept for the next start: ${messageOf(error)}`);
  }
}

function parsePeer(value: unknown, meshId: string): DiscoveredPeer | undefined {
  if (!isObject(value)) return undefined;
  const { publicKey, role, name, meshIpv4, meshIpv6, connectPort } = value as Record<
    "publicKey" | "role" | "name" | "meshIpv4" | "meshIpv6" | "connectPort",
    unknown
  >;
  if (typeof publicKey !== "string" || parseKey(publicKey) === undefined) return undefined;
  if (role !== "colony" && role !== "agent") return undefined;
  return {
    meshId,
    publicKey,
    role,
    agentId: role === "agent" ? publicKey : "",
    name: typeof name === "string" && isLabel(name) ? name : "",
    endpoints: parseEndpoints(value["endpoints"]),
    observedEndpoints: parseEndpoints(value["observedEndpoints"]),
    relayedEndpoints: [],
    noRelay: value["noRelay"] === true,
    nat: "NAT_UNKNOWN",
    meshIpv4: parseAddress(meshIpv4),
    meshIpv6: parseAddress(meshIpv6),
    connectPort: typeof connectPort === "number" ? connectPort : 0,
    metadata: {},
    lastSeenAt: undefined,
    generation: 0,
  };
}

function parseAddress(value: unknown): string | undefined {
  return typeof value === "string" ? canonicalIp(value) : undefined;
}

function parseEndpoints(value: unknown): DiscoveredPeer["endpoints"] {
  if (!Array.isArray(value)) return [];
  return value.slice(0, ENDPOINTS_MAX)
    .map((text: unknown) => typeof text === "string" ? parseSocketAddress(text) : undefined)
    .filter((address) => address !== undefined);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
