/** Which addresses peers send to, where nobody has said. @module */
import { familyOf, type SocketAddress } from "../core/mod.ts";
import { type InterfaceAddress, listInterfaces } from "../io/mod.ts";
import { hostCandidates } from "../traversal/mod.ts";

/**
 * Returns the addresses of listeners that have one of their own; for those that listen on every address, this machine's best one
 * of each family. At most one of each family; none where the machine has none that others reach.
 */
export function externalIpsOf(
  listen: readonly SocketAddress[],
  interfaces: readonly InterfaceAddress[] = listInterfaces(),
): readonly string[] {
  const found = new Map<number, string>();
  const add = (hostname: string): void => {
    const family = familyOf(hostname);
    if (!found.has(family)) found.set(family, hostname);
  };
  const wildcards = listen.filter(({ hostname }) => isWildcard(hostname));
  for (const { hostname } of listen) if (!isWildcard(hostname)) add(hostname);
  const both = wildcards.some(({ hostname }) => hostname === "::");
  for (const { address: { hostname } } of hostCandidates(interfaces.map(routedAs), 1)) {
    if (both || (wildcards.length > 0 && familyOf(hostname) === 4)) add(hostname);
  }
  return [...found.values()];
}

function routedAs(
  { name, address, routed }: InterfaceAddress,
): Parameters<typeof hostCandidates>[0][number] {
  return { name, address, ...(routed && { leadsEverywhere: true }) };
}

function isWildcard(hostname: string): boolean {
  return hostname === "0.0.0.0" || hostname === "::";
}
