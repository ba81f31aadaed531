/** Candidates as the main thread knows them. @module */
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from "../../core/mod.ts";
import type { Candidate, CandidateKind, NatHint } from "../../traversal/mod.ts";
import type { CandidateInfo } from "../shared/mod.ts";

const NAT_HINTS: readonly NatHint[] = ["NAT_CONE", "NAT_RESTRICTED", "NAT_SYMMETRIC"];

/** Parses candidates that somebody else told of; bad ones are left out. */
export function parseCandidates(
  candidates: readonly CandidateInfo[],
): readonly Candidate[] {
  const parsed: Candidate[] = [];
  for (const { kind, address } of candidates) {
    const endpoint = parseSocketAddress(address);
    if (endpoint === undefined || endpoint.port === 0) continue;
    parsed.push({ kind: kind as CandidateKind, address: endpoint });
  }
  return parsed;
}

/** Parses what a peer says of its NAT; `NAT_UNKNOWN` for what is no hint. */
export function parseNatHint(hint: string): NatHint {
  return NAT_HINTS.find((known) => known === hint) ?? "NAT_UNKNOWN";
}

/** Formats a candidate for the main thread, or an address that a NAT gave a fresh socket. */
export function formatCandidate(
  { kind, address }: { readonly kind: CandidateKind | "sampled"; readonly address: SocketAddress },
): CandidateInfo {
  return { kind, address: formatSocketAddress(address) };
}
