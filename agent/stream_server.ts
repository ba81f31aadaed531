/**
 * What every listener of a proxy shares: a limit, counters, and an orderly end.
 *
 * @module
 */
import { formatSocketAddress, messageOf, MorayError, type SocketAddress } from "../core/mod.ts";
import { fromSystem } from "../io/mod.ts";
import type { ByteStream } from "./network.ts";
import type { Log } from "./options.ts";
import { abortStream } from "./splice.ts";

/** Streams that a listener carries at once, unless told otherwise. One more is closed at once and counted. */
export const CONNECTIONS_MAX = 1024;
/** How long live streams may go on after `stop`. */
export const STOP_GRACE_MS = 1000;
/** Pause after a failed accept: out of file descriptors, it would fail again at once. */
const ACCEPT_RETRY_MS = 100;
/** Bytes read and thrown away so that a last answer arrives before the connection closes. */
const DRAIN_BYTES_MAX = 262_144;
/** How long {@linkcode closeGently} waits for the client. */
const DRAIN_MS_MAX = 1000;

/** What happened at a listener since its start. */
export interface StreamCounters {
  /** Connections accepted. */
  readonly accepted: number;
  /** Connections closed at once because of the limit. */
  readonly refused: number;
  /** Accepts that failed. */
  readonly acceptFailures: number;
  /** Connections that ended before they reached their other end. */
  readonly failed: number;
  /** Connections alive now. */
  readonly active: number;
  /** Bytes carried from the accepted side to the other. */
  readonly bytesOut: number;
  /** Bytes carried back. */
  readonly bytesIn: number;
}

/** How one connection went. */
export interface StreamOutcome {
  /** Whether it reached its other end. */
  readonly connected: boolean;
  /** Bytes carried from the accepted side to the other. */
  readonly bytesOut: number;
  /** Bytes carried back. */
  readonly bytesIn: number;
}

/** An outcome without a byte. */
export const NOT_CONNECTED: StreamOutcome = { connected: false, bytesOut: 0, bytesIn: 0 };

/** A running listener. */
export interface StreamServer {
  /** Counters since the start. */
  readonly counters: StreamCounters;
  /**
   * Stops accepting, lets live streams go on for the grace, then aborts them. Resolves when none is left. Safe to
   * call twice.
   */
  stop(): Promise<void>;
}

/** A running listener on a local port. */
export interface LocalListener extends StreamServer {
  /** Where it listens; the port is the real one where 0 was asked for. */
  readonly address: SocketAddress;
}

/** What a {@linkcode startStreamServer} is made of. */
export interface StreamServerOptions<Conn extends ByteStream> {
  /** What the log calls it, as `socks5`. */
  readonly name: string;
  /** Where connections come from. */
  readonly listener: { accept(): Promise<Conn>; close(): void };
  /**
   * Carries one connection and closes it; must not reject for what the network does. What it has not connected is
   * aborted after it.
   */
  readonly serve: (conn: Conn, signal: AbortSignal) => Promise<StreamOutcome>;
  /** Where failures go. */
  readonly log: Log;
  /** Connections at once. @default CONNECTIONS_MAX */
  readonly connectionsMax?: number;
  /** How long live connections may go on after `stop`, in milliseconds. @default STOP_GRACE_MS */
  readonly graceMs?: number;
}

/** Accepts connections and serves each until {@linkcode StreamServer.stop}. */
export function startStreamServer<Conn extends ByteStream>(
  { name, listener, serve, log, connectionsMax = CONNECTIONS_MAX, graceMs = STOP_GRACE_MS }:
    StreamServerOptions<Conn>,
): StreamServer {
  const stopping = new AbortController();
  const aborting = new AbortController();
  const live = new Set<Promise<void>>();
  const counts = { accepted: 0, refused: 0, acceptFailures: 0, failed: 0, bytesOut: 0, bytesIn: 0 };

  async function carry(conn: Conn): Promise<void> {
    let outcome = NOT_CONNECTED;
    try {
      outcome = await serve(conn, aborting.signal);
    } catch (error) {
      // Not for what the network does: that is an outcome.
      log("error", `${name}: ${messageOf(error)}`);
    }
    if (!outcome.connected) {
      counts.failed++;
      abortStream(conn);
    }
    counts.bytesOut += outcome.bytesOut;
    counts.bytesIn += outcome.bytesIn;
  }

  function take(conn: Conn): void {
    if (stopping.signal.aborted) return abortStream(conn);
    if (live.size >= connectionsMax) {
      if (counts.refused++ === 0) log("warn", `${name}: more than ${connectionsMax} connections`);
      abortStream(conn);
      return;
    }
    counts.accepted++;
    const carried = carry(conn).finally(() => live.delete(carried));
    live.add(carried);
  }

  async function accept(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        take(await listener.accept());
      } catch (error) {
        if (stopping.signal.aborted) return;
        if (fromSystem(error, "accept").code === "closed") {
          return log("warn", `${name}: no longer listening: ${messageOf(error)}`);
        }
        counts.acceptFailures++;
        log("warn", `${name}: ${fromSystem(error, "accept a connection").message}`);
        await pause(ACCEPT_RETRY_MS, stopping.signal);
      }
    }
  }

  const accepting = accept();
  async function stop(): Promise<void> {
    stopping.abort();
    closeListener(listener);
    const drained = new AbortController();
    const settled = Promise.all(live).then(() => drained.abort());
    await pause(graceMs, drained.signal);
    aborting.abort(new MorayError("closed", `${name} has stopped`));
    await settled;
    await accepting;
  }
  let stopped: Promise<void> | undefined;
  return {
    get counters(): StreamCounters {
      return { ...counts, active: live.size };
    },
    stop: () => stopped ??= stop(),
  };
}

/** What a {@linkcode startLocalServer} is made of. */
export interface LocalServerOptions extends Omit<StreamServerOptions<Deno.TcpConn>, "listener"> {
  /** Where to listen; port 0 lets the system choose. */
  readonly listen: SocketAddress;
}

/**
 * Listens on a local port and serves each connection. Throws `portInUse`, `permission` or `usage` with the address in the
 * message.
 */
export function startLocalServer({ listen, ...options }: LocalServerOptions): LocalListener {
  const listener = listenLocally(listen);
  const server = startStreamServer({ ...options, listener });
  return {
    address: { hostname: listener.addr.hostname, port: listener.addr.port },
    get counters(): StreamCounters {
      return server.counters;
    },
    stop: () => server.stop(),
  };
}

/** Sends small writes at once: what is spliced was collected by its sender already. A unix socket does so anyway. */
export function sendAtOnce(conn: Deno.TcpConn | Deno.UnixConn): void {
  try {
    if ("setNoDelay" in conn) conn.setNoDelay(true);
  } catch {
    // A connection that is gone takes no options; the next read tells.
  }
}

/** Waits for `work`, or rejects with the signal's reason as soon as it is aborted. `work` goes on unheard. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort);
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Runs `act` with a signal that is aborted with `timedOut` after `ms` milliseconds, or with `signal`. */
export async function withDeadline<T>(
  { signal, ms, what }: { signal: AbortSignal; ms: number; what: string },
  act: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(
    () => late.abort(new MorayError("timedOut", `${what}: no answer within ${ms / 1000} s`)),
    ms,
  );
  try {
    return await act(AbortSignal.any([signal, late.signal]));
  } catch (error) {
    // Deno tells an aborted call as cancelled, whatever the reason.
    throw late.signal.aborted ? late.signal.reason : error;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Ends our direction and reads what the client still sends, up to a limit: closing with unread data resets
 * the connection, and the client loses the answer it was given. Never throws.
 */
export async function closeGently(stream: ByteStream, signal: AbortSignal): Promise<void> {
  try {
    await stream.closeWrite();
    const buffer = new Uint8Array(16_384);
    await withDeadline({ signal, ms: DRAIN_MS_MAX, what: "close" }, async (deadline) => {
      for (let left = DRAIN_BYTES_MAX; left > 0;) {
        const n = await abortable(stream.read(buffer), deadline);
        if (n === null) return;
        left -= n;
      }
    });
  } catch {
    // It is closed either way.
  }
}

function closeListener(listener: { close(): void }): void {
  try {
    listener.close();
  } catch {
    // Closed with the network beneath it.
  }
}

function listenLocally({ hostname, port }: SocketAddress): Deno.TcpListener {
  try {
    return Deno.listen({ hostname, port, transport: "tcp" });
  } catch (error) {
    throw fromSystem(error, `listen on TCP ${formatSocketAddress({ hostname, port })}`);
  }
}

/** Resolves after `ms` milliseconds or when `signal` is aborted. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) return Promise.resolve();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    resolve();
  }, { once: true });
  return promise;
}
