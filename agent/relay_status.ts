/** Relays as `status` says them. Pure. @module */
import { parseSocketAddress } from "../core/mod.ts";
import type { DatapathPeerStatus, RelayStatus as DatapathRelay } from "./shared/mod.ts";
import type { RelayStatus } from "./status.ts";

/** A node's relays. */
export function relayStatuses(relays: readonly DatapathRelay[]): readonly RelayStatus[] {
  return relays.map(({ id, state, transport, relayed, rttMs, draining, reason, limited }) => ({
    id,
    state: draining === true ? "draining" : state,
    transport,
    relayed,
    rttMs,
    reason: reason ?? null,
    ...(limited && { limited }),
  }));
}

/** What a relayed peer is reached over: the id of one of the node's own relays, or the address of the peer's. */
export function relayOf(
  { endpoint, paths = [] }: DatapathPeerStatus,
  relays: readonly DatapathRelay[],
): string | null {
  const [used] = paths;
  const own = relays.find(({ locals }) => used !== undefined && locals?.includes(used.local));
  if (own !== undefined) return own.id;
  const host = endpoint === null ? undefined : parseSocketAddress(endpoint)?.hostname;
  // The peer's allocation may be on the same relay.
  const same = relays.find(({ relayed }) =>
    relayed.some((address) => host !== undefined && parseSocketAddress(address)?.hostname === host)
  );
  return same?.id ?? endpoint;
}
