/** Unix sockets that lead into the mesh. @module */
import { MorayError } from "../core/mod.ts";
import { fromSystem } from "../io/mod.ts";
import { startStreamServer, type StreamServer, type StreamServerOptions } from "./stream_server.ts";

/** Longest path of a unix socket: 104 bytes on macOS and the BSDs, 108 on Linux, with the final zero. */
export const UNIX_PATH_BYTES_MAX = 103;

/** What {@linkcode startUnixServer} is made of. */
export interface UnixServerOptions extends Omit<StreamServerOptions<Deno.UnixConn>, "listener"> {
  /** Where to listen. A socket there that nobody answers on is replaced; anything else stays. */
  readonly path: string;
}

/** A running listener on a unix socket. */
export interface UnixServer extends StreamServer {
  /** Where it listens. */
  readonly address: { readonly path: string };
}

/**
 * Listens on a unix socket that only this user may connect to, and serves each connection; the socket goes with the server. Rejects with
 * `portInUse` where somebody listens already or something else has the path, `permission` or `usage`, with the path in the message.
 */
export async function startUnixServer(
  { path, ...options }: UnixServerOptions,
): Promise<UnixServer> {
  const listener = await listenAt(path);
  const server = startStreamServer({ ...options, listener });
  return {
    address: { path },
    get counters() {
      return server.counters;
    },
    stop: () => server.stop(),
  };
}

async function listenAt(path: string): Promise<Deno.UnixListener> {
  if (Deno.build.os === "windows") {
    throw new MorayError(
      "unsupported",
      `Cannot listen on ${path}: Windows has no unix sockets here`,
    );
  }
  if (new TextEncoder().encode(path).length > UNIX_PATH_BYTES_MAX) {
    throw new MorayError(
      "usage",
      `Cannot listen on ${path}: a socket's path has at most ${UNIX_PATH_BYTES_MAX} bytes`,
    );
  }
  await removeStale(path);
  // From its first moment on: whoever connects uses the mesh as this node.
  const umask = Deno.umask(0o177);
  try {
    return Deno.listen({ transport: "unix", path });
  } catch (error) {
    throw fromSystem(error, `listen on ${path}`);
  } finally {
    Deno.umask(umask);
  }
}

/** Removes a socket that its process has left behind. */
async function removeStale(path: string): Promise<void> {
  try {
    if (!(await Deno.lstat(path)).isSocket) {
      throw new MorayError("portInUse", `Cannot listen on ${path}: something else is there`);
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw fromSystem(error, `listen on ${path}`);
  }
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return await Deno.remove(path);
    // A full backlog is a process that is alive, only slow.
    if (!(error instanceof Deno.errors.WouldBlock)) throw fromSystem(error, `listen on ${path}`);
  }
  throw new MorayError("portInUse", `Cannot listen on ${path}: somebody does already`);
}
