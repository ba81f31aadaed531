/** A peer as `status` says it, from what the datapath and the mesh know. @module */
import type { DatapathPeerStatus } from "./shared/mod.ts";
import type { PathStatus, PeerStatus } from "./status.ts";

/** What a node knows of a peer besides the datapath. */
export interface PeerIdentity {
  /** The peer's name. */
  readonly name: string;
  /** Mesh address. */
  readonly meshIpv4: string | null;
  /** Mesh address. */
  readonly meshIpv6: string | null;
  /** Largest inner packet. */
  readonly mtu: number;
}

/** The path of a peer as `status` says it. */
export function pathOf(peer: DatapathPeerStatus | undefined, mtu: number): PathStatus {
  if (peer?.connected !== true) {
    return { kind: "none", remote: null, relay: null, rttMs: null, mtu: null };
  }
  return { kind: "direct", remote: peer.endpoint, relay: null, rttMs: peer.rttMs, mtu };
}

/** A peer as `status` says it. */
export function peerStatus(
  peer: DatapathPeerStatus,
  { name, meshIpv4, meshIpv6, mtu }: PeerIdentity,
): PeerStatus {
  const at = peer.lastHandshakeAtMs;
  return {
    name,
    publicKey: peer.publicKey,
    meshIpv4,
    meshIpv6,
    path: pathOf(peer, mtu),
    reason: peer.reason,
    lastHandshakeAt: at === null ? null : new Date(at).toISOString(),
    rxBytes: peer.rxBytes,
    txBytes: peer.txBytes,
  };
}
