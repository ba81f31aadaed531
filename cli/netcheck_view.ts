/** What netcheck found, as text for people. @module */
import type {
  DiscoveryReport,
  FamilyReport,
  NetcheckReport,
  PortMappingReport,
  StunServerReport,
} from "../agent/mod.ts";
import { formatRelay, formatRelayOffer } from "./status_view.ts";
import { columns, formatMs, type Paint, printable } from "./text_format.ts";

/** RFC 4787's words, said in words. */
const MAPPINGS: Readonly<Record<string, string>> = {
  endpointIndependent: "one outside address for every destination",
  addressDependent: "another outside address for each destination host (symmetric)",
  addressAndPortDependent: "another outside address for each destination (symmetric)",
  unknown: "unknown",
};
const FILTERS: Readonly<Record<string, string>> = {
  endpointIndependent: "lets everybody in",
  addressDependent: "lets in hosts that were sent to",
  addressAndPortDependent: "lets in addresses that were sent to",
  unknown: "unknown",
};

/** Formats a report: the facts, the servers, what it means. */
export function formatNetcheck(report: NetcheckReport, paint: Paint): string {
  const { ipv4, ipv6, stunServers, discovery, portMapping, captivePortal, meaning } = report;
  const { relays = [], relayOffer } = report;
  const rows = [
    ...familyRows("IPv4", ipv4, paint),
    ...familyRows("IPv6", ipv6, paint),
    ["Hint for peers", printable(report.hint.replace(/^NAT_/, "").toLowerCase())],
    ...discovery.map((one) => ["Discovery", formatDiscovery(one, paint)]),
    ...captivePortal === true ? [["Captive portal", paint("red", "yes")]] : [],
    ...(portMapping ?? []).map((one) => ["Port mapping", formatPortMapping(one, paint)]),
    ...relays.map((one) => ["Relay", formatRelay(one, paint)]),
    ...relayOffer === undefined ? [] : [["Relaying", formatRelayOffer(relayOffer, paint)]],
  ];
  const facts = columns(rows.map(([name = "", value = ""]) => [paint("dim", name), value]));
  return [
    ...facts,
    "",
    ...formatServers(stunServers, paint),
    "",
    paint("bold", "What this means"),
    ...meaning.map((sentence) => `  ${printable(sentence)}`),
    "",
  ].join("\n");
}

function familyRows(name: string, family: FamilyReport, paint: Paint): string[][] {
  const { udp, publicAddress, nat, mapping, filtering } = family;
  if (udp === null) return [[name, paint("dim", "not available here, or no server to ask")]];
  if (!udp) return [[name, paint("red", "UDP does not pass")]];
  const behind = nat === null ? "" : nat ? ", behind a NAT" : ", no NAT";
  const rows = [
    [name, `${paint("green", "UDP passes")}, seen as ${printable(publicAddress ?? "?")}${behind}`],
  ];
  if (nat !== false) rows.push(["  mapping", MAPPINGS[mapping] ?? printable(mapping)]);
  rows.push(["  filtering", FILTERS[filtering] ?? printable(filtering)]);
  if (nat !== false) rows.push(...natRows(family));
  if (family.lifetime !== null) rows.push(["  idle mappings", formatLifetime(family.lifetime)]);
  return rows;
}

function natRows({ allocation, hairpin }: FamilyReport): string[][] {
  const rows: string[][] = [];
  if (allocation !== null) {
    const { kind, delta } = allocation;
    rows.push(["  ports", printable(delta === null ? kind : `${kind}, in steps of ${delta}`)]);
  }
  if (hairpin !== null) {
    rows.push([
      "  hairpin",
      hairpin ? "turns packets to itself around" : "does not turn packets around",
    ]);
  }
  return rows;
}

function formatLifetime({ atLeastMs, belowMs }: NonNullable<FamilyReport["lifetime"]>): string {
  const [low, high] = [atLeastMs / 1000, (belowMs ?? 0) / 1000];
  if (belowMs === null) return `live longer than ${low} s`;
  return atLeastMs === 0 ? `live less than ${high} s` : `live ${low} to ${high} s`;
}

function formatDiscovery(
  { url, reachable, relay, reason }: DiscoveryReport,
  paint: Paint,
): string {
  const state = reachable
    ? paint("green", "answers")
    : paint("red", printable(reason ?? "no answer"));
  const relays = relay === undefined ? "" : relay ? ", has relays" : ", has no relays";
  return `${printable(url)}  ${state}${relays}`;
}

function formatPortMapping(
  { protocol, gateway, external, reason }: PortMappingReport,
  paint: Paint,
): string {
  const who = printable(gateway === null ? protocol : `${protocol} of ${gateway}`);
  return external === null
    ? `${who}  ${paint("dim", printable(reason ?? "none"))}`
    : `${who}  ${paint("green", printable(external))}`;
}

function formatServers(servers: readonly StunServerReport[], paint: Paint): string[] {
  if (servers.length === 0) return ["No STUN server is known."];
  const title = ["STUN SERVER", "FROM", "RTT", "SEES US AS"].map((word) => paint("dim", word));
  return columns([
    title,
    ...servers.map(({ server, origin, rttMs, mapped, reason }) => [
      printable(server),
      printable(origin),
      rttMs === null ? "-" : formatMs(rttMs),
      mapped === null ? paint("red", printable(reason ?? "nothing")) : printable(mapped),
    ]),
  ]);
}
