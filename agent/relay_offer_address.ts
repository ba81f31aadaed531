/** At which addresses a node can be a relay for others. Pure. @module */
import { type Family, familyOf, parseSocketAddress, type SocketAddress } from "../core/mod.ts";
import { isPublicAddress } from "../traversal/mod.ts";
import type { CandidateInfo } from "./shared/mod.ts";

/**
 * What tells most about how this machine is reached: what the user says, then where others have seen it, then what it has itself. A NAT that
 * leads all ports of an address to one machine shows in none of them but the second.
 */
const KINDS = ["configured", "serverReflexive", "host"];

/** Options of {@linkcode offeredAddresses}. */
export interface OfferedAddressOptions {
  /** A fixed public endpoint. Absent: none. */
  readonly publicEndpoint?: SocketAddress;
  /** Takes private addresses too. @default false */
  readonly allowPrivate?: boolean;
}

/** The addresses under which a node would relay, one of each family at most, IPv4 first; none where it has no public one. */
export function offeredAddresses(
  candidates: readonly CandidateInfo[],
  { publicEndpoint, allowPrivate = false }: OfferedAddressOptions = {},
): readonly string[] {
  const fixed = publicEndpoint === undefined
    ? []
    : [{ rank: 0, hostname: publicEndpoint.hostname }];
  const found = candidates.flatMap(({ kind, address }) => {
    const hostname = parseSocketAddress(address)?.hostname;
    const rank = KINDS.indexOf(kind);
    return hostname === undefined || rank < 0 ? [] : [{ rank, hostname }];
  });
  const usable = [...fixed, ...found]
    .filter(({ hostname }) => allowPrivate || isPublicAddress(hostname))
    .sort((a, b) => a.rank - b.rank);
  return ([4, 6] as const).flatMap((family: Family) =>
    usable.find(({ hostname }) => familyOf(hostname) === family)?.hostname ?? []
  );
}
