/** What `status` says of a peer, from what the engine and the path agent know. @module */
import { formatSocketAddress, type Instant } from "../../core/mod.ts";
import { type PathAgentStatus, samePath } from "../../traversal/mod.ts";
import type { PeerFigures } from "../../wg/mod.ts";
import type { DatapathPeerStatus } from "../shared/mod.ts";
import type { PathDetail, RefusedStatus } from "../status.ts";
import type { Peer } from "./peer_table.ts";

/** A session older than this is dead: REJECT_AFTER_TIME of the WireGuard paper, section 6.1. */
const SESSION_MS_MAX = 180_000;

/** The present, on both clocks. */
export interface Present {
  /** The instant. */
  readonly now: Instant;
  /** Milliseconds since 1970. */
  readonly wallClockMs: number;
}

/** What `status` says of a peer. */
export function reportPeer(
  { now, wallClockMs }: Present,
  peer: Peer,
  figures: PeerFigures | undefined,
  refused: RefusedStatus | undefined,
): DatapathPeerStatus {
  const age = figures?.handshakeAgeMs;
  const agent = peer.agent?.status(now);
  const alive = age !== undefined && age < SESSION_MS_MAX;
  const connected = alive && (agent?.connected ?? true);
  const endpoint = figures?.endpoint;
  const reason = agent?.reason ?? (connected ? null : "no handshake yet");
  return {
    publicKey: peer.publicKey,
    endpoint: endpoint === undefined ? null : formatSocketAddress(endpoint),
    lastHandshakeAtMs: age === undefined ? null : wallClockMs - age,
    rxBytes: figures?.rxBytes ?? 0,
    txBytes: figures?.txBytes ?? 0,
    connected,
    reason,
    rttMs: agent?.rttMs ?? peer.rttMs ?? null,
    ...(connected && agent?.relayed && { relayed: true }),
    ...(connected && agent?.mtu !== undefined && { mtu: agent.mtu }),
    ...(refused && { refused }),
    ...(agent && { paths: pathsOf(agent) }),
  };
}

/** Every path, the one in use first. */
function pathsOf({ path: inUse, paths }: PathAgentStatus): readonly PathDetail[] {
  const first = (path: PathAgentStatus["path"]): boolean =>
    inUse !== undefined && path !== undefined && samePath(path, inUse);
  const sorted = [
    ...paths.filter(({ path }) => first(path)),
    ...paths.filter(({ path }) => !first(path)),
  ];
  return sorted.map(({ path, kind, state, rttMs, mtu, probes, replies }) => ({
    remote: formatSocketAddress(path.remote),
    local: path.local,
    kind,
    state,
    rttMs: rttMs ?? null,
    mtu: mtu ?? null,
    probes,
    replies,
  }));
}
