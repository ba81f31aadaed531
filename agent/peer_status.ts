/** A peer as `status` says it, from what the datapath and the mesh know. @module */
import { relayOf } from "./relay_status.ts";
import type { DatapathPeerStatus, RelayStatus } from "./shared/mod.ts";
import type { CandidateStatus, PathStatus, PeerStatus } from "./status.ts";

/** What a node knows of a peer besides the datapath. */
export interface PeerIdentity {
  /** The peer's name. */
  readonly name: string;
  /** Mesh address. */
  readonly meshIpv4: string | null;
  /** Mesh address. */
  readonly meshIpv6: string | null;
  /** Largest inner packet where the path's own is not known. */
  readonly mtu: number;
  /** Where it may be reached. @default [] */
  readonly candidates?: readonly CandidateStatus[];
  /** What Discovery knows about why it is not reached: one clause. Absent: nothing. */
  readonly hint?: string;
  /** The node's relays. @default [] */
  readonly relays?: readonly RelayStatus[];
}

/** The path of a peer as `status` says it. */
export function pathOf(
  peer: DatapathPeerStatus | undefined,
  mtu: number,
  relays: readonly RelayStatus[] = [],
): PathStatus {
  if (peer?.connected !== true) {
    return { kind: "none", remote: null, relay: null, rttMs: null, mtu: null };
  }
  const { endpoint, rttMs } = peer;
  const measured = { rttMs, mtu: peer.mtu ?? mtu };
  return peer.relayed === true
    ? { kind: "relayed", remote: null, relay: relayOf(peer, relays), ...measured }
    : { kind: "direct", remote: endpoint, relay: null, ...measured };
}

/** Why a peer's path is what it is: what the datapath has tried, and what Discovery adds. `null` for a direct path. */
export function reasonOf(
  peer: DatapathPeerStatus | undefined,
  hint: string | undefined,
): string | null {
  if (peer?.connected === true && peer.relayed !== true) return null;
  const known = [peer?.reason ?? undefined, hint].filter((text) => text !== undefined);
  return known.length === 0 ? null : known.join("; ");
}

/** A peer as `status` says it. */
export function peerStatus(
  peer: DatapathPeerStatus,
  { name, meshIpv4, meshIpv6, mtu, candidates = [], hint, relays = [] }: PeerIdentity,
): PeerStatus {
  const at = peer.lastHandshakeAtMs;
  return {
    name,
    publicKey: peer.publicKey,
    meshIpv4,
    meshIpv6,
    path: pathOf(peer, mtu, relays),
    paths: peer.paths ?? [],
    candidates,
    reason: reasonOf(peer, hint),
    ...(peer.refused && { refused: peer.refused }),
    lastHandshakeAt: at === null ? null : new Date(at).toISOString(),
    rxBytes: peer.rxBytes,
    txBytes: peer.txBytes,
  };
}
