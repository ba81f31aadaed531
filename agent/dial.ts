/** Opens streams to peers by name, for every proxy. @module */
import { messageOf, MorayError } from "../core/mod.ts";
import type { Network, TunnelConn } from "./network.ts";
import { withDeadline } from "./stream_server.ts";

/** How long a peer may take to answer: relays and hole punching included, with time for lost packets. */
export const DIAL_TIMEOUT_MS = 30_000;

/** What is dialled. */
export interface DialOptions {
  /** A node's name, a full name or a mesh literal. */
  readonly host: string;
  /** 1 to 65535. */
  readonly port: number;
  /** Gives up when aborted. */
  readonly signal: AbortSignal;
  /** Time for the peer to answer in milliseconds. @default DIAL_TIMEOUT_MS */
  readonly timeoutMs?: number;
}

/**
 * Connects to a peer. Only the mesh is reached: any other name or address is `unreachable`.
 *
 * Rejects with `MorayError` only: what `Network.connect` rejects with, `timedOut`, or the signal's reason.
 */
export async function dial(
  network: Network,
  { host, port, signal, timeoutMs = DIAL_TIMEOUT_MS }: DialOptions,
): Promise<TunnelConn> {
  const hostname = network.resolve(host);
  if (hostname === undefined) throw new MorayError("unreachable", `No node is called ${host}`);
  try {
    return await withDeadline(
      { signal, ms: timeoutMs, what: `${host} port ${port}` },
      (signal) => network.connect({ hostname, port }, { signal }),
    );
  } catch (error) {
    if (error instanceof MorayError) throw error;
    throw new MorayError(
      "internal",
      `Cannot connect to ${host} port ${port}: ${messageOf(error)}`,
      error,
    );
  }
}
