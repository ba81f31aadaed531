/** Local ports that lead to peers: `--forward H:P:PEER:PORT`. @module */
import { messageOf } from "../core/mod.ts";
import { dial } from "./dial.ts";
import type { Network, TunnelConn } from "./network.ts";
import type { ForwardRule, Log } from "./options.ts";
import { splice } from "./splice.ts";
import { type LocalListener, NOT_CONNECTED } from "./stream_server.ts";
import { sendAtOnce, startLocalServer, type StreamOutcome } from "./stream_server.ts";

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

/**
 * Listens on a local port and joins each connection to one of a peer. The peer's name is resolved for each, so it may
 * appear later. Throws as {@linkcode startLocalServer}.
 */
export function startForward(rule: ForwardRule, options: ForwardOptions): LocalListener {
  const { peer, port } = rule;
  const { network, log, connectionsMax, dialTimeoutMs } = options;

  async function serve(conn: Deno.TcpConn, signal: AbortSignal): Promise<StreamOutcome> {
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

  const limit = connectionsMax === undefined ? {} : { connectionsMax };
  return startLocalServer({ name: "forward", listen: rule.listen, serve, log, ...limit });
}
