/**
 * What kind of NAT is in front of this node, in the words of RFC 4787, from what STUN servers saw.
 *
 * ```text
 *  two servers see our one socket as ...        mapping
 *  the same address and port                    endpointIndependent      "cone": hole punching works
 *  two addresses, but per server host only one  addressDependent         "symmetric"
 *  two addresses                                addressAndPortDependent  "symmetric"
 *  only one server answered                     unknown, unless it saw one of our own addresses: then there is no NAT
 * ```
 *
 * Filtering needs a server that answers from another address on request (RFC 5780); without one it stays unknown.
 *
 * @module
 */
import { scopeOf } from "./candidate.ts";
import { familyOf, sameAddress, type SocketAddress } from "../core/mod.ts";

/** How a NAT depends on the other end (RFC 4787 sections 4.1 and 5). */
export type NatBehaviour =
  | "endpointIndependent"
  | "addressDependent"
  | "addressAndPortDependent"
  | "unknown";

/** The hint that nodes publish through Discovery. */
export type NatHint = "NAT_UNKNOWN" | "NAT_CONE" | "NAT_RESTRICTED" | "NAT_SYMMETRIC";

/** What is known of the NAT in front of one socket. */
export interface NatFacts {
  /** Whether the mapped address depends on the destination. */
  readonly mapping: NatBehaviour;
  /** Whether packets are let in from ends that the node has not sent to. */
  readonly filtering: NatBehaviour;
  /** The summary for peers. */
  readonly hint: NatHint;
}

/** One Binding answer. All observations of one classification come from the same local socket. */
export interface NatObservation {
  /** The server that answered. */
  readonly server: SocketAddress;
  /** The address that it saw. */
  readonly mapped: SocketAddress;
}

/** The results of the filtering tests of RFC 5780 section 4.4; `undefined` where a test was not made. */
export interface FilteringTests {
  /** Whether an answer from another address and port came (test II). */
  readonly fromOtherAddress: boolean | undefined;
  /** Whether an answer from the same address and another port came (test III). */
  readonly fromOtherPort: boolean | undefined;
}

/** What {@linkcode classifyNat} judges from. */
export interface NatEvidence {
  /** Binding answers, both families mixed. */
  readonly observations: readonly NatObservation[];
  /** This node's own interface addresses, canonical literals. @default [] */
  readonly hostAddresses?: readonly string[];
  /** Results of the filtering tests. Absent: none were made. */
  readonly filteringTests?: FilteringTests;
  /** What other sockets behind the same NAT found; fills in what these leave unknown. Absent: nothing. */
  readonly elsewhere?: Pick<NatFacts, "mapping" | "filtering">;
}

/** Nothing is known. */
export const NAT_UNKNOWN: NatFacts = {
  mapping: "unknown",
  filtering: "unknown",
  hint: "NAT_UNKNOWN",
};

/**
 * Classifies the NAT. Where IPv4 servers answered the verdict is about IPv4, the family that has NATs; otherwise about
 * IPv6.
 */
export function classifyNat(
  { observations, hostAddresses = [], filteringTests, elsewhere }: NatEvidence,
): NatFacts {
  const ipv4 = observations.filter(({ server }) => familyOf(server.hostname) === 4);
  const judged = outermost(ipv4.length > 0 ? ipv4 : observations);
  const translated = judged.some(({ mapped }) => !hostAddresses.includes(mapped.hostname));
  const seen = judged.length > 0 && !translated ? "endpointIndependent" : mappingOf(judged);
  const mapping = seen === "unknown" && judged.length > 0 ? elsewhere?.mapping ?? seen : seen;
  const tested = filteringOf(filteringTests);
  const filtering = tested === "unknown" ? elsewhere?.filtering ?? tested : tested;
  // Without a NAT there may still be a firewall: what the tests say of it goes before the guess that there is none.
  const open = filtering === "endpointIndependent" ||
    filtering === "unknown" && judged.length > 0 && !translated;
  return { mapping, filtering, hint: hintOf(mapping, open) };
}

/**
 * The observations that can be compared: a server on our own network or behind our carrier sees another side of the NATs than
 * one outside of them all.
 */
function outermost(observations: readonly NatObservation[]): readonly NatObservation[] {
  for (const scope of ["global", "private"] as const) {
    const found = observations.filter(({ server }) => scopeOf(server.hostname) === scope);
    if (found.length > 0) return found;
  }
  return observations;
}

function mappingOf(observations: readonly NatObservation[]): NatBehaviour {
  let hostsDiffer = false;
  let portsAgree = false;
  let portsDiffer = false;
  let mappedDiffers = false;
  for (const [i, a] of observations.entries()) {
    for (const b of observations.slice(i + 1)) {
      if (sameAddress(a.server, b.server)) continue;
      const agree = sameAddress(a.mapped, b.mapped);
      mappedDiffers ||= !agree;
      if (a.server.hostname !== b.server.hostname) hostsDiffer = true;
      else if (agree) portsAgree = true;
      else portsDiffer = true;
    }
  }
  if (portsDiffer) return "addressAndPortDependent";
  // Without two ports of one server host the two dependent kinds look alike; the stricter is also the common one.
  if (mappedDiffers) return portsAgree ? "addressDependent" : "addressAndPortDependent";
  return hostsDiffer ? "endpointIndependent" : "unknown";
}

function filteringOf(tests: FilteringTests | undefined): NatBehaviour {
  const { fromOtherAddress, fromOtherPort } = tests ?? {};
  if (fromOtherAddress === true) return "endpointIndependent";
  // Only a filter that looks at ports keeps out what comes from another port of a known address.
  if (fromOtherPort === false) return "addressAndPortDependent";
  // Without a second address, no filter and one that looks at addresses look alike.
  return fromOtherPort === true && fromOtherAddress === false ? "addressDependent" : "unknown";
}

function hintOf(mapping: NatBehaviour, open: boolean): NatHint {
  switch (mapping) {
    case "endpointIndependent":
      return open ? "NAT_CONE" : "NAT_RESTRICTED";
    case "addressDependent":
    case "addressAndPortDependent":
      return "NAT_SYMMETRIC";
    case "unknown":
      return "NAT_UNKNOWN";
    default:
      return mapping satisfies never;
  }
}
