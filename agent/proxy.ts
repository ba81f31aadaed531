/** What the proxies share: how they are started, and how they reach the mesh. @module */
import type { SocketAddress } from "../core/mod.ts";
import { dial } from "./dial.ts";
import type { Network, TunnelConn } from "./network.ts";
import type { Log } from "./options.ts";
import { type LocalListener, startLocalServer, type StreamOutcome } from "./stream_server.ts";

/** How long a client may take to say what it wants. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;

/** What a proxy is started with. */
export interface ProxyOptions {
  /** Where to listen; port 0 lets the system choose. */
  readonly listen: SocketAddress;
  /** The mesh. */
  readonly network: Network;
  /** One line for each connection: `debug` when it went through, `info` when not. */
  readonly log: Log;
  /** Connections at once. @default CONNECTIONS_MAX */
  readonly connectionsMax?: number;
  /** Time for the handshake in milliseconds. @default HANDSHAKE_TIMEOUT_MS */
  readonly handshakeTimeoutMs?: number;
  /** Time for the peer to answer in milliseconds. @default DIAL_TIMEOUT_MS */
  readonly dialTimeoutMs?: number;
}

/** One accepted connection. */
export interface ProxyClient {
  /** The client's end. */
  readonly conn: Deno.TcpConn;
  /** Aborted when the proxy must end. */
  readonly signal: AbortSignal;
  /** What the proxy was started with. */
  readonly options: ProxyOptions;
}

/** Starts a proxy that the log calls `name`. Throws as {@linkcode startLocalServer}. */
export function startProxy(
  name: string,
  options: ProxyOptions,
  serve: (client: ProxyClient) => Promise<StreamOutcome>,
): LocalListener {
  const { listen, log, connectionsMax } = options;
  return startLocalServer({
    name,
    listen,
    log,
    serve: (conn, signal) => serve({ conn, signal, options }),
    ...(connectionsMax !== undefined && { connectionsMax }),
  });
}

/** Opens a stream into the mesh for a client. Rejects as {@linkcode dial}. */
export function dialFor(
  { signal, options: { network, dialTimeoutMs } }: ProxyClient,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<TunnelConn> {
  const timeoutMs = dialTimeoutMs === undefined ? {} : { timeoutMs: dialTimeoutMs };
  return dial(network, { host, port, signal, ...timeoutMs });
}
