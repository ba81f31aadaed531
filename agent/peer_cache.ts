/**
 * The peers of a mesh node on disk, `peers.json` in its state directory, so that it finds them while Discovery is away, and believes
 * no Discovery that knows less than it did: `sequences` has the newest record of each key that the node has seen, `colonyKey` whose
 * mesh it is.
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
import type { DiscoveredPeer, RememberedRecords } from "../discovery/mod.ts";
import { readTextFile, writePrivateFile } from "../io/mod.ts";
import { isLabel } from "./names.ts";
import type { Log } from "./options.ts";

/** Peers kept; further ones are left out. A colony of more finds them by their own handshakes. */
export const CACHED_PEERS_MAX = 4096;
/** Longest file that is read: about 2 KiB for each peer, and a line for each sequence. */
const FILE_BYTES_MAX = 12 << 20;
/** Sequences of records that are read. */
const SEQUENCES_MAX = 20_000;
/** Addresses of one peer that are read. */
const ENDPOINTS_MAX = 64;

/** Where the peers of a node are kept. */
export function peerCachePath(state: string): string {
  return `${state}/peers.json`;
}

/** Formats what is remembered of a mesh as the file's text. */
export function formatPeerCache(
  { meshId: mesh, peers, sequences, colonyKey }: RememberedRecords,
): string {
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
  const file = {
    version: 1,
    mesh,
    colonyKey,
    peers: kept,
    sequences: Object.fromEntries(sequences),
  };
  return `${JSON.stringify(file, null, 1)}\n`;
}

/** Parses the file's text: what is remembered of this mesh, what makes no sense left out; `undefined` if it is no such file. */
export function parsePeerCache(text: string, mesh: string): RememberedRecords | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value) || value["version"] !== 1 || !Array.isArray(value["peers"])) {
    return undefined;
  }
  if (value["mesh"] !== mesh) return nothing(mesh);
  const sequences = parseSequences(value["sequences"]);
  const peers = value["peers"].slice(0, CACHED_PEERS_MAX)
    .map((peer: unknown) => parsePeer(peer, mesh)).filter((peer) => peer !== undefined)
    .map((peer) => ({ ...peer, sequence: sequences.get(peer.publicKey) ?? 0 }));
  const { colonyKey } = value as Partial<Record<"colonyKey", unknown>>;
  const isKey = typeof colonyKey === "string" && parseKey(colonyKey) !== undefined;
  return { meshId: mesh, peers, sequences, ...(isKey && { colonyKey }) };
}

/** What a node knows that has never run. */
function nothing(meshId: string): RememberedRecords {
  return { meshId, peers: [], sequences: new Map() };
}

/** Reads what an earlier run knew. Never rejects: without a readable file that is nothing. */
export async function readPeerCache(
  { state, mesh, log }: { readonly state: string; readonly mesh: string; readonly log: Log },
): Promise<RememberedRecords> {
  const path = peerCachePath(state);
  let text: string;
  try {
    text = await readTextFile(path, { bytesMax: FILE_BYTES_MAX });
  } catch (error) {
    log("debug", `no peers of an earlier run: ${messageOf(error)}`);
    return nothing(mesh);
  }
  const remembered = parsePeerCache(text, mesh);
  if (remembered === undefined) log("warn", `${path} is damaged: starting without it`);
  return remembered ?? nothing(mesh);
}

/** Writes what the next run is to know. Never rejects: a node works without. */
export async function writePeerCache(
  { state, log }: { readonly state: string; readonly log: Log },
  remembered: RememberedRecords,
): Promise<void> {
  try {
    await writePrivateFile(peerCachePath(state), formatPeerCache(remembered));
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
    sequence: 0,
  };
}

function parseSequences(value: unknown): ReadonlyMap<string, number> {
  const entries = isObject(value) ? Object.entries(value).slice(0, SEQUENCES_MAX) : [];
  return new Map(
    entries.filter((entry): entry is [string, number] =>
      parseKey(entry[0]) !== undefined && Number.isSafeInteger(entry[1]) && Number(entry[1]) > 0
    ),
  );
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
