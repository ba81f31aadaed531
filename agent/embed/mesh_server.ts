/**
 * HTTP inside the mesh: `Deno.serve` on a mesh port.
 *
 * HTTP is Deno's own server's work. It listens on a loopback port of its own, each mesh connection is joined to a connection
 * there, and by the port which that comes from the server knows the peer; whoever else finds the port is turned away.
 *
 * @module
 */
import { MorayError, type SocketAddress } from "../../core/mod.ts";
import type { Network, TunnelConn } from "../network.ts";
import type { Log } from "../options.ts";
import { splice } from "../splice.ts";
import {
  NOT_CONNECTED,
  sendAtOnce,
  startStreamServer,
  type StreamOutcome,
  type StreamServer,
} from "../stream_server.ts";
import { listenOn } from "./mesh_listener.ts";

const LOOPBACK = "127.0.0.1";
/** Longest grace that a timer can hold: answers under way are waited for, however long they take. */
const FOR_EVER_MS = 2 ** 31 - 1;

/** What a handler learns besides the request. */
export interface MeshServeInfo {
  /** The peer's address in the mesh, and its port. */
  readonly remoteAddr: Deno.NetAddr;
  /** Resolves when the answer has been sent; rejects if it could not be, which has to be heard by who asks for it. */
  readonly completed: Promise<void>;
}

/** Answers a request, as a handler of `Deno.serve`. */
export type MeshServeHandler = (
  request: Request,
  info: MeshServeInfo,
) => Response | Promise<Response>;

/** Options of `Node.serve`. */
export interface MeshServeOptions {
  /** Port inside the mesh, 1 to 65535; 0 for any that is free. @default 80 */
  readonly port?: number;
  /** Ends the server at once, with the connections that it has. Absent: {@linkcode MeshServer.shutdown} ends it. */
  readonly signal?: AbortSignal;
  /** Answers where the handler throws. @default status 500 without a word of what was thrown, which the log gets */
  readonly onError?: (error: unknown) => Response | Promise<Response>;
  /** Called once it listens. */
  readonly onListen?: (address: Deno.NetAddr) => void;
  /** Connections at once. One more is reset. @default 1024 */
  readonly connectionsMax?: number;
}

/** What a {@linkcode MeshServer} is made of. */
export interface MeshServerParts {
  /** The mesh. */
  readonly network: Network;
  /** An address of the node, for {@linkcode MeshServer.addr}. */
  readonly hostname: string;
  /** A number of [0, 1), by which a port is chosen. */
  readonly random: () => number;
  /** Where failures go. */
  readonly log: Log;
}

/** A server inside the mesh, as `Deno.HttpServer`. */
export class MeshServer implements AsyncDisposable {
  /** The address listened on: one of the node's, and the port. */
  readonly addr: Deno.NetAddr;
  /** Resolves once the server has ended. */
  readonly finished: Promise<void>;
  readonly #inner: Deno.HttpServer<Deno.NetAddr>;
  readonly #streams: StreamServer;
  readonly #aborted = new AbortController();
  /** Peers by the port that their connection to the inner server comes from. */
  readonly #peers = new Map<number, SocketAddress>();
  #stopping: Promise<void> | undefined;

  /** Starts one. Throws `Deno.errors.AddrInUse`. */
  constructor(
    handler: MeshServeHandler,
    options: MeshServeOptions,
    { network, hostname, random, log }: MeshServerParts,
  ) {
    const { port = 80, signal, onError, onListen, connectionsMax } = options;
    signal?.throwIfAborted();
    const listener = listenOn(network, port, random);
    this.addr = { transport: "tcp", hostname, port: listener.port };
    this.#inner = Deno.serve({
      hostname: LOOPBACK,
      port: 0,
      onListen: () => {},
      onError: onError ?? ((error) => {
        log("error", `serve: ${error instanceof Error ? error.stack : String(error)}`);
        return new Response("Internal Server Error", { status: 500 });
      }),
    }, (request, info) => {
      const peer = this.#peers.get(info.remoteAddr.port);
      if (peer === undefined) {
        log("warn", "serve: refused a connection that did not come from the mesh");
        return new Response("Forbidden\n", { status: 403, headers: { connection: "close" } });
      }
      const remoteAddr: Deno.NetAddr = { transport: "tcp", ...peer };
      return handler(request, {
        remoteAddr,
        // Asked for only by who wants it: where the answer cannot be sent it rejects, and what nobody hears ends the program.
        get completed(): Promise<void> {
          return info.completed;
        },
      });
    });
    this.#streams = startStreamServer({
      name: "serve",
      listener,
      serve: (conn, ending) => this.#carry(conn, ending),
      log,
      graceMs: FOR_EVER_MS,
      ...(connectionsMax !== undefined && { connectionsMax }),
    });
    const onAbort = (): void => this.#abort();
    signal?.addEventListener("abort", onAbort, { once: true });
    const finished = Promise.withResolvers<void>();
    this.finished = finished.promise;
    void this.#inner.finished.finally(async () => {
      signal?.removeEventListener("abort", onAbort);
      await this.#streams.stop();
      finished.resolve();
    });
    onListen?.(this.addr);
  }

  /** Stops listening, lets the answers that are under way be sent, and resolves when all is over. Safe to call twice. */
  shutdown(): Promise<void> {
    this.#stopping ??= this.#shutdown();
    return this.#stopping;
  }

  /** As {@linkcode MeshServer.shutdown}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  /** Does nothing: a node keeps its program alive until it is stopped. */
  ref(): void {}

  /** Does nothing, as {@linkcode MeshServer.ref}. */
  unref(): void {}

  async #shutdown(): Promise<void> {
    const ended = this.#streams.stop();
    await this.#inner.shutdown();
    await ended;
    await this.finished;
  }

  /** Ends every connection now. */
  #abort(): void {
    this.#aborted.abort(new MorayError("closed", "the server was aborted"));
    void this.shutdown();
  }

  async #carry(conn: TunnelConn, ending: AbortSignal): Promise<StreamOutcome> {
    const signal = AbortSignal.any([ending, this.#aborted.signal]);
    const inner = await Deno.connect({ hostname: LOOPBACK, port: this.#inner.addr.port })
      .catch(() => undefined);
    if (inner === undefined) return NOT_CONNECTED;
    sendAtOnce(inner);
    const { port } = inner.localAddr as Deno.NetAddr;
    this.#peers.set(port, conn.remote);
    try {
      const { aToB, bToA } = await splice(conn, inner, { signal });
      return { connected: true, bytesOut: aToB, bytesIn: bToA };
    } finally {
      this.#peers.delete(port);
    }
  }
}
