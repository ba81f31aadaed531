/** Mesh TCP ports that lead to local services: `--expose MESHPORT:HOST:PORT`, `--expose MESHPORT:unix:PATH`. @module */
import { formatSocketAddress } from "../core/mod.ts";
import { fromSystem } from "../io/mod.ts";
import type { Network, TunnelConn } from "./network.ts";
import type { ExposeRule, Log } from "./options.ts";
import { splice } from "./splice.ts";
import {
  abortable,
  NOT_CONNECTED,
  sendAtOnce,
  startStreamServer,
  type StreamOutcome,
} from "./stream_server.ts";
import { type StreamServer, withDeadline } from "./stream_server.ts";

/** How long a local service may take to answer. */
export const SERVICE_TIMEOUT_MS = 10_000;

/** What {@linkcode startExpose} needs besides the rule. */
export interface ExposeOptions {
  /** The mesh. */
  readonly network: Network;
  /** One line for each connection: `debug` when it went through, `warn` when the service does not answer. */
  readonly log: Log;
  /** Connections at once. @default CONNECTIONS_MAX */
  readonly connectionsMax?: number;
  /** Time for the service to answer in milliseconds. @default SERVICE_TIMEOUT_MS */
  readonly serviceTimeoutMs?: number;
}

/**
 * Listens on a mesh port and joins each connection to a local service. While the service does not answer, the peer's
 * connections are reset, as if the port were closed. Throws `portInUse` or `limit`.
 */
export function startExpose(
  rule: ExposeRule,
  { network, log, connectionsMax, serviceTimeoutMs: ms = SERVICE_TIMEOUT_MS }: ExposeOptions,
): StreamServer {
  const { meshPort } = rule;
  const service = "path" in rule ? `unix:${rule.path}` : formatSocketAddress(rule);

  async function serve(conn: TunnelConn, signal: AbortSignal): Promise<StreamOutcome> {
    const peer = formatSocketAddress(conn.remote);
    let local: Deno.TcpConn | Deno.UnixConn;
    try {
      const what = `connect to ${service}`;
      local = await withDeadline({ signal, ms, what }, (signal) => connectTo(rule, signal));
      sendAtOnce(local);
    } catch (error) {
      const { message } = fromSystem(error, `connect to ${service}`);
      log("warn", `expose: no connection: ${message}`, { peer, meshPort });
      return NOT_CONNECTED;
    }
    const { aToB: received, bToA: sent, end } = await splice(conn, local, { signal });
    log("debug", "expose: connection ended", { peer, meshPort, service, sent, received, end });
    return { connected: true, bytesOut: received, bytesIn: sent };
  }

  const limit = connectionsMax === undefined ? {} : { connectionsMax };
  const listener = network.listen(meshPort);
  return startStreamServer({ name: "expose", listener, serve, log, ...limit });
}

/** Connects to a local service. */
async function connectTo(
  rule: ExposeRule,
  signal: AbortSignal,
): Promise<Deno.TcpConn | Deno.UnixConn> {
  if (!("path" in rule)) return await connect(rule.hostname, rule.port, signal);
  const connecting = Deno.connect({ transport: "unix", path: rule.path });
  try {
    return await abortable(connecting, signal);
  } catch (error) {
    connecting.then((conn) => conn.close(), () => {});
    throw error;
  }
}

/** Connects to a local service; `localhost` in both families, of which Deno tries only the first that resolves. */
async function connect(
  hostname: string,
  port: number,
  signal: AbortSignal,
): Promise<Deno.TcpConn> {
  if (hostname.toLowerCase() !== "localhost") return await Deno.connect({ hostname, port, signal });
  try {
    return await Deno.connect({ hostname: "127.0.0.1", port, signal });
  } catch (error) {
    if (signal.aborted) throw error;
    return await Deno.connect({ hostname: "::1", port, signal });
  }
}
