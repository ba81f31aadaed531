/**
 * A path: one of this node's ends, and one address of the peer.
 *
 * ```text
 *  local end 0 (the node's own sockets) ---------\
 *  local end 7 (an extra socket, for guessing) ---+---> remote
 *  local end 9 (a relay's allocation) ------------/
 * ```
 *
 * @module
 */
import { formatSocketAddress, sameAddress, type SocketAddress } from "../core/mod.ts";

/** One way to a peer. Two paths to the same address from different local ends are different paths. */
export interface Path {
  /** The local end: {@linkcode OWN_SOCKETS}, or the number of an extra end that the transport has opened. */
  readonly local: number;
  /** The peer's address as this local end sees it. */
  readonly remote: SocketAddress;
}

/** The local end that every node has: its own UDP sockets. */
export const OWN_SOCKETS = 0;

/** Returns the path from the node's own sockets to an address. */
export function ownPath(remote: SocketAddress): Path {
  return { local: OWN_SOCKETS, remote };
}

/** Returns whether two paths are the same. Their addresses must be canonical. */
export function samePath(a: Path, b: Path): boolean {
  return a.local === b.local && sameAddress(a.remote, b.remote);
}

/** Formats a path: `192.0.2.1:51820`, and `192.0.2.1:51820 from local end 7` for an extra local end. */
export function formatPath({ local, remote }: Path): string {
  const address = formatSocketAddress(remote);
  return local === OWN_SOCKETS ? address : `${address} from local end ${local}`;
}
