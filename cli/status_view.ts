/** A node's status as text for people. @module */
import type {
  CandidateStatus,
  NodeStatus,
  PathStatus,
  PeerStatus,
  PolicyStatus,
  PortMappingStatus,
  RelayOfferStatus,
  RelayStatus,
} from "../agent/mod.ts";
import {
  type Colour,
  columns,
  formatAge,
  formatBytes,
  formatMs,
  type Paint,
  printable,
} from "./text_format.ts";

/** How a status is shown. */
export interface ViewOptions {
  /** The present, in milliseconds since 1970, for ages. */
  readonly now: number;
  /** Colours, or none. */
  readonly paint: Paint;
  /** Shows every candidate and every path. @default false */
  readonly verbose?: boolean;
}

/** Formats the whole status: the node, then its peers. */
export function formatStatus(status: NodeStatus, options: ViewOptions): string {
  const { node, discovery, counters } = status;
  const { paint, verbose = false } = options;
  const rows: [string, string][] = [
    ["Node", `${paint("bold", printable(node.name))}  ${printable(node.publicKey)}`],
    ["Addresses", listOf([node.meshIpv4, node.meshIpv6])],
    ["NAT", formatNat(status)],
    ["Endpoints", verbose ? listOf(node.candidates.map(formatCandidate)) : listOf(node.endpoints)],
    ...(node.portMapping ?? []).map((
      one,
    ): [string, string] => ["Port mapping", formatPortMapping(one, paint)]),
    ["Datapath", printable(`${node.datapath}, cipher ${node.cipher}`)],
    ...(node.tun === null ? [] : [["Interface", printable(node.tun)] satisfies [string, string]]),
    ["Discovery", formatDiscovery(discovery, paint)],
    ...relayRows(status, paint),
    ...policyRows(status),
  ];
  const counted = Object.entries(counters).map(([name, count]) => `${printable(name)}=${count}`);
  if (counted.length > 0) rows.push(["Counters", counted.join(" ")]);
  const head = columns(rows.map(([name, value]) => [paint("dim", name), value]));
  return `${head.join("\n")}\n\n${formatPeers(status.peers, options)}`;
}

function formatPortMapping(
  { gateway, protocol, external, offered, lifetimeSeconds, reason }: PortMappingStatus,
  paint: Paint,
): string {
  const who = printable([protocol, gateway].filter((word) => word !== null).join(" of "));
  const where = external === null ? "" : `  ${printable(external)}`;
  if (!offered) return `${who}${where}  ${paint("dim", printable(reason ?? "none"))}`;
  const lasts = lifetimeSeconds === null ? "" : paint("dim", `  for ${lifetimeSeconds} s`);
  return `${who}${paint("green", where)}${lasts}`;
}

/** Whose policy the node keeps to. */
function policyRows({ policy }: NodeStatus): [string, string][] {
  if (policy === undefined) return [];
  const { origin, rules } = policy;
  const counted = `${rules} ${rules === 1 ? "rule" : "rules"} for this node`;
  return [["Policy", `${POLICY_ORIGINS[origin]}  ${counted}`]];
}

const POLICY_ORIGINS = {
  file: "of the colony's file",
  colony: "as the colony says",
} as const satisfies Record<PolicyStatus["origin"], string>;

/** What the policy has refused of a peer. */
function refusedLines({ refused }: PeerStatus, paint: Paint): string[] {
  if (refused === undefined) return [];
  const { policy, fragment, malformed, stray, last } = refused;
  const packets = policy + fragment + malformed + stray;
  const what = last.map((one) => printable(one.what)).join(", ");
  const counted = `${packets} ${packets === 1 ? "packet" : "packets"}`;
  const tried = what === "" ? "" : `, last ${what}`;
  return [paint("yellow", `  refused by policy: ${counted}${tried}`)];
}

/** The relays, or why there is none. */
function relayRows(
  { relays, relayReason, relayOffer }: NodeStatus,
  paint: Paint,
): [string, string][] {
  if (relays === undefined) return [];
  const rows = relays.map((one): [string, string] => ["Relay", formatRelay(one, paint)]);
  if (rows.length === 0) {
    rows.push(["Relay", `none  ${paint("dim", printable(relayReason ?? "asking for one"))}`]);
  }
  if (relayOffer !== undefined) rows.push(["Relaying", formatRelayOffer(relayOffer, paint)]);
  return rows;
}

/** Formats what a node offers as a relay: whether it is in use, where it listens, and what it has carried. */
export function formatRelayOffer(
  { offered, reason, addresses, sessions, rxBytes, txBytes }: RelayOfferStatus,
  paint: Paint,
): string {
  const where = addresses.length === 0 ? [] : [printable(addresses.join(", "))];
  if (!offered) {
    const why = paint("dim", printable(reason ?? "unknown"));
    return [paint("yellow", "not offered"), ...where, why].join("  ");
  }
  const served = `${sessions} ${sessions === 1 ? "session" : "sessions"}`;
  const carried = `${formatBytes(rxBytes + txBytes)} carried`;
  return [paint("green", "offered"), ...where, served, carried].join("  ");
}

/** Formats a relay: its name, how it is spoken to, how far it is, and where it listens for the node. */
export function formatRelay(
  { id, state, transport, relayed, rttMs, reason, limited }: RelayStatus,
  paint: Paint,
): string {
  const words = [
    printable(transport === null ? id : `${id} by ${transport}`),
    paint(RELAY_COLOURS[state] ?? "red", printable(state)),
    ...rttMs === null ? [] : [formatMs(rttMs)],
    ...relayed.length === 0 ? [] : [printable(relayed.join(", "))],
    ...limited === undefined ? [] : [paint("yellow", limitText(limited))],
    ...reason === null ? [] : [paint("dim", printable(reason))],
  ];
  return words.join("  ");
}

/** What a relay does not carry, and by whose limit. */
function limitText({ scope, packets }: { scope: string; packets: number }): string {
  const whose = LIMITS[scope] ?? `the limit of ${printable(scope)}`;
  return `limited: ${packets} ${packets === 1 ? "packet" : "packets"} dropped by ${whose}`;
}

const LIMITS: Readonly<Record<string, string>> = {
  session: "its limit for one session",
  key: "its limit for one node",
  mesh: "its limit for a mesh",
  total: "its limit for everybody",
};

const RELAY_COLOURS: Readonly<Record<string, Colour>> = {
  ready: "green",
  connecting: "yellow",
  draining: "yellow",
};

/** Formats the table of peers, each with the reason below it where its path is not direct. */
export function formatPeers(
  peers: readonly PeerStatus[],
  { now, paint, verbose = false }: ViewOptions,
): string {
  if (peers.length === 0) return "No peers yet.\n";
  const title = ["PEER", "ADDRESS", "PATH", "REMOTE", "RTT", "MTU", "HANDSHAKE", "RX", "TX"];
  const rows = peers.map((peer) => peerRow(peer, now, paint));
  const [head = "", ...lines] = columns([title.map((word) => paint("dim", word)), ...rows]);
  const body = peers.flatMap((peer, i) => {
    const because = peer.reason === null
      ? []
      : [paint("dim", `  because ${printable(peer.reason)}`)];
    return [
      lines[i] ?? "",
      ...because,
      ...refusedLines(peer, paint),
      ...verbose ? peerDetails(peer, paint) : [],
    ];
  });
  return `${[head, ...body].join("\n")}\n`;
}

/** Formats where a path leads: the peer's endpoint, or the relay between. */
export function formatRemote({ remote, relay }: PathStatus): string {
  if (relay !== null) return printable(`via ${relay}`);
  return remote === null ? "-" : printable(remote);
}

const PATH_COLOURS = {
  direct: "green",
  relayed: "yellow",
  none: "red",
} as const satisfies Record<PathStatus["kind"], Colour>;

/** Formats the kind of a path in its colour. */
export function formatPathKind(kind: PathStatus["kind"], paint: Paint): string {
  return paint(PATH_COLOURS[kind], kind);
}

function peerRow(peer: PeerStatus, now: number, paint: Paint): string[] {
  const { path, lastHandshakeAt } = peer;
  return [
    paint("bold", printable(peer.name)),
    printable(peer.meshIpv4 ?? peer.meshIpv6 ?? "-"),
    formatPathKind(path.kind, paint),
    formatRemote(path),
    path.rttMs === null ? "-" : formatMs(path.rttMs),
    path.mtu === null ? "-" : `${path.mtu}`,
    lastHandshakeAt === null ? "never" : formatAge(Math.max(0, now - Date.parse(lastHandshakeAt))),
    formatBytes(peer.rxBytes),
    formatBytes(peer.txBytes),
  ];
}

/** Every candidate of a peer and every path to it, below its row. */
function peerDetails({ path, paths, candidates }: PeerStatus, paint: Paint): string[] {
  const used = path.remote ?? path.relay;
  const rows = paths.map(({ remote, local, kind, state, rttMs, mtu, probes, replies }) => [
    "  path",
    printable(local === 0 ? remote : `${remote} from local end ${local}`),
    printable(kind),
    remote === used ? paint("green", "in use") : printable(state),
    rttMs === null ? "-" : formatMs(rttMs),
    mtu === null ? "-" : `MTU ${mtu}`,
    `${replies} of ${probes} probes answered`,
  ]);
  const known = candidates.length === 0
    ? []
    : [`  candidates ${listOf(candidates.map(formatCandidate))}`];
  return [...columns(rows), ...known].map((line) => paint("dim", line));
}

function formatCandidate({ kind, address }: CandidateStatus): string {
  return `${address} (${kind})`;
}

function formatNat({ node: { nat } }: NodeStatus): string {
  const hint = nat.hint.replace(/^NAT_/, "").toLowerCase();
  return printable(`${hint} (mapping ${nat.mapping}, filtering ${nat.filtering})`);
}

function formatDiscovery(discovery: NodeStatus["discovery"], paint: Paint): string {
  if (discovery === null) return "none (plain WireGuard)";
  const state = discovery.connected ? paint("green", "connected") : paint("red", "not connected");
  return `${printable(discovery.url)}  ${state}`;
}

function listOf(texts: readonly (string | null)[]): string {
  const present = texts.filter((entry) => entry !== null);
  return present.length === 0 ? "none" : present.map((entry) => printable(entry)).join(", ");
}
