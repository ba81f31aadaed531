/** A relay's allocation as one of this node's own ends. @module */
import { familyOf, type SocketAddress } from "../core/mod.ts";
import { scopeOf } from "./candidate.ts";

/** An own end that is an allocation. */
export interface RelayEnd {
  /** Its number, the same over all allocations of one relay. */
  readonly local: number;
  /** The relayed addresses. */
  readonly relayed: readonly SocketAddress[];
  /** Whether the relay is about to end: it carries still, and is left for anything else that works. */
  readonly draining: boolean;
}

/**
 * Whether an allocation with these relayed addresses can have a way to an address: it has none to another family, and a public
 * one none into private networks.
 */
export function reachesFrom(relayed: readonly SocketAddress[], hostname: string): boolean {
  const family = familyOf(hostname);
  const scope = scopeOf(hostname);
  return relayed.some((address) => {
    if (familyOf(address.hostname) !== family) return false;
    if (scope === "global") return true;
    const own = scopeOf(address.hostname);
    return own === "local" || (own === "private" && scope === "private");
  });
}
