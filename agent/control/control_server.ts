/**
 * The control service as the colony's nodes reach it: ConnectRPC on a port of its mesh addresses.
 *
 * A call's key is that of the peer which the source address belongs to; the engine lets no packet in whose source is another's.
 *
 * @module
 */
import {
  Code,
  ConnectError,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
} from "@connectrpc/connect";
import { universalServerResponseToFetch } from "@connectrpc/connect/protocol";
import { readBody } from "../../discovery/mod.ts";
import {
  ControlService,
  type WatchMeshRequest,
  type WatchMeshResponse,
} from "../../proto/control.ts";
import { MeshServer } from "../embed/mesh_server.ts";
import type { Network } from "../network.ts";
import type { Log } from "../options.ts";
import type { MeshWatch } from "./colony_desk.ts";

/** Largest request body. */
const REQUEST_BYTES_MAX = 1024;
/** Connections at once: as many streams as stay open, and some that are just asked for. */
const CONNECTIONS_MAX = 320;
/** Who calls. */
const caller = createContextKey("", { description: "caller" });

/** What the service is made of. */
export interface ControlServerOptions {
  /** The mesh. */
  readonly network: Network;
  /** A mesh address of the colony. */
  readonly hostname: string;
  /** The port inside the mesh. */
  readonly port: number;
  /** The key of the peer with a mesh address. */
  readonly keyAt: (address: string) => string | undefined;
  /** Answers WatchMesh. */
  readonly watch: (watch: MeshWatch) => AsyncIterable<WatchMeshResponse>;
  /** Where the log goes. */
  readonly log: Log;
}

/** The running service. */
export interface ControlServer {
  /** Requests from addresses that are no peer's: those of peers that have just gone. */
  readonly strangers: number;
  /** Ends every stream. */
  stop(): Promise<void>;
}

/** Serves. Throws `Deno.errors.AddrInUse`. */
export function startControlServer(
  { network, hostname, port, keyAt, watch, log }: ControlServerOptions,
): ControlServer {
  const ended = new AbortController();
  let strangers = 0;
  const router = createConnectRouter({
    readMaxBytes: REQUEST_BYTES_MAX,
    // gRPC needs trailers, which a fetch response has not.
    grpc: false,
    grpcWeb: false,
  });
  router.service(ControlService, {
    watchMesh: (
      { name, instance, revision }: WatchMeshRequest,
      { signal, values }: HandlerContext,
    ): AsyncIterable<WatchMeshResponse> => {
      const publicKey = values.get(caller);
      if (publicKey === "") {
        throw new ConnectError("the address is no peer's", Code.PermissionDenied);
      }
      return watch({ publicKey, asked: name, instance, revision: Number(revision), signal });
    },
  });
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  const serve = async (request: Request, address: string): Promise<Response> => {
    const handler = handlers.get(new URL(request.url).pathname);
    if (handler === undefined) return new Response("Not found\n", { status: 404 });
    const publicKey = keyAt(address) ?? "";
    if (publicKey === "") strangers++;
    const body = await readBody(request, { bytesMax: REQUEST_BYTES_MAX });
    if (body === "slow") return new Response("Request timeout\n", { status: 408 });
    if (body === "large") return new Response("Content too large\n", { status: 413 });
    const contextValues = createContextValues().set(caller, publicKey);
    const { method, url, headers: header, signal } = request;
    const call = { httpVersion: "", method, url, header, signal, body: once(body), contextValues };
    const answer = universalServerResponseToFetch(await handler(call));
    // Deno would compress the stream, and so hold it back.
    answer.headers.set("cache-control", "no-transform");
    return answer;
  };
  const server = new MeshServer(
    (request, { remoteAddr }) => serve(request, remoteAddr.hostname),
    { port, signal: ended.signal, connectionsMax: CONNECTIONS_MAX },
    // The port is not chosen.
    { network, hostname, random: () => 0, log },
  );
  return {
    get strangers(): number {
      return strangers;
    },
    async stop(): Promise<void> {
      ended.abort();
      await server.shutdown();
    },
  };
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
