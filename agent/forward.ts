/** Local TCP ports and unix sockets that lead to peers: `--forward H:P:PEER:PORT`, `--forward unix:PATH:PEER:PORT`. @module */
import { messageOf, type SocketAddress } from "../core/mod.ts";
import { dial } from "./dial.ts";
import type { Network, TunnelConn } from "./network.ts";
import type { ForwardRule, Log, UnixPath } from "./options.ts";
import { splice } from "./splice.ts";
import {
  type LocalListener,
  NOT_CONNECTED,
  sendAtOnce,
  startLocalServer,
  type StreamOutcome,
  type StreamServerOptions,
} from "./stream_server.ts";
import { startUnixServer, type UnixServer } from "./unix_server.ts";

/** What {@linkcode startForward} needs besides the rule. */
export interface ForwardOptions {
  /** The mesh. */
  readonly network: Network;
  /** One line for each connection: `debug` when it went through, `info` when not. */
  readonly log: Log;
  /** Connections at once. @default CONNECTIONS_MAX */
  readonly connectionsMax?: number;
  /** Time for the peer to answer in milliseconds. @default DIAL_TIMEOUT_MS */
  readonly dialTimeoutMs?: number;
}

/** A local TCP port that leads to a peer's port. */
export interface PortForwardRule extends ForwardTarget {
  /** Where to listen. */
  readonly listen: SocketAddress;
}

/** A unix socket that leads to a peer's port. */
export interface PathForwardRule extends ForwardTarget {
  /** Where to listen. */
  readonly listen: UnixPath;
}

/** Where a forward leads. */
export type ForwardTarget = Pick<ForwardRule, "peer" | "port">;

/**
 * Listens on a local port and joins each connection to one of a peer. The peer's name is resolved for each, so it may
 * appear later. Throws as {@linkcode startLocalServer}.
 */
export function startForward(rule: PortForwardRule, options: ForwardOptions): LocalListener {
  return startLocalServer({ listen: rule.listen, ...serverOptions(rule, options) });
}

/** As {@linkcode startForward}, on a unix socket. Rejects as {@linkcode startUnixServer}. */
export function startUnixForward(
  rule: PathForwardRule,
  options: ForwardOptions,
): Promise<UnixServer> {
  return startUnixServer({ path: rule.listen.path, ...serverOptions(rule, options) });
}

/** What both kinds of listener are given. */
function serverOptions(
  { peer, port }: ForwardTarget,
  { network, log, connectionsMax, dialTimeoutMs }: ForwardOptions,
): Omit<StreamServerOptions<Deno.TcpConn | Deno.UnixConn>, "listener"> {
  async function serve(
    conn: Deno.TcpConn | Deno.UnixConn,
    signal: AbortSignal,
  ): Promise<StreamOutcome> {
    let tunnel: TunnelConn;
    try {
      sendAtOnce(conn);
      const timeoutMs = dialTimeoutMs === undefined ? {} : { timeoutMs: dialTimeoutMs };
      tunnel = await dial(network, { host: peer, port, signal, ...timeoutMs });
    } catch (error) {
      log("info", `forward: no connection: ${messageOf(error)}`, { peer, port });
      return NOT_CONNECTED;
    }
    const { aToB: sent, bToA: received, end } = await splice(conn, tunnel, { signal });
    log("debug", "forward: connection ended", { peer, port, sent, received, end });
    return { connected: true, bytesOut: sent, bytesIn: received };
  }
  return { name: "forward", serve, log, ...(connectionsMax !== undefined && { connectionsMax }) };
}
