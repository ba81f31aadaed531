/** What the datapath tells the main thread of itself and its peers. @module */
import { formatSocketAddress, MorayError, parseCidr, parseIp } from "../../core/mod.ts";
import type { Candidate, PathEvent } from "../../traversal/mod.ts";
import type { DatapathEvent, DatapathStatus } from "../shared/mod.ts";
import { formatCandidate } from "./candidate_info.ts";
import type { Present } from "./peer_report.ts";
import type { PeerTable } from "./peer_table.ts";
import type { RelayDesk } from "./relay_desk.ts";
import type { StunDesk } from "./stun_desk.ts";
import type { Transport } from "./transport.ts";
import type { TunPort } from "./tun_port.ts";

/** The parts that `status` is made of. */
export interface DatapathParts {
  /** When it is. */
  readonly present: Present;
  /** Who seals and opens. */
  readonly cipher: string;
  /** The sockets. */
  readonly transport: Transport;
  /** The interface in the kernel. */
  readonly tun: TunPort | undefined;
  /** STUN. */
  readonly stun: StunDesk;
  /** The relays. */
  readonly relays: RelayDesk;
  /** The peers. */
  readonly peers: PeerTable;
  /** Our own candidates, best first. */
  readonly candidates: readonly Candidate[];
  /** Counters by name, of every part that has any; those of one name are added up. */
  readonly counters: readonly (Readonly<Record<string, number>> | undefined)[];
}

/** The `value` of the reply to `status`. */
export function reportDatapath(parts: DatapathParts): DatapathStatus {
  const { present, transport, tun, stun, relays, peers, candidates } = parts;
  const counters: Record<string, number> = {};
  for (const part of parts.counters) {
    for (const [name, value] of Object.entries(part ?? {})) {
      if (value > 0) counters[name] = (counters[name] ?? 0) + value;
    }
  }
  return {
    wgPort: transport.port,
    driver: transport.name,
    cipher: parts.cipher,
    tun: tun === undefined || tun.gone ? null : tun.name,
    localEndpoints: transport.localEndpoints,
    nat: stun.nat,
    candidates: candidates.map(formatCandidate),
    stunServers: stun.status,
    relays: relays.status,
    peers: Array.from(peers.all, (peer) => peers.statusOf(present, peer)),
    counters,
  };
}

/** What the main thread hears of a peer; `undefined` where that is nothing. */
export function peerEvent(
  publicKey: string,
  event: PathEvent,
  isRelayed: () => boolean,
): DatapathEvent | undefined {
  switch (event.kind) {
    case "connected":
    case "moved": {
      const kind = event.kind === "connected" ? "peerConnected" : "peerMoved";
      const remote = formatSocketAddress(event.path.remote);
      return { kind, publicKey, remote, ...(isRelayed() && { relayed: true }) };
    }
    case "lost":
      return { kind: "peerLost", publicKey };
    case "doubted":
      return { kind: "peerDoubted", publicKey };
    case "trusted":
      return { kind: "peerTrusted", publicKey };
    case "mtu":
      return undefined;
  }
}

/** Parses an address of this node, with or without a prefix length. Throws `config`. */
export function parseOwnAddress(text: string): Uint8Array {
  const ip = parseIp(text.split("/")[0] ?? "");
  if (parseCidr(text) === undefined || ip === undefined) {
    throw new MorayError("config", `${text} is no address`);
  }
  return ip;
}
