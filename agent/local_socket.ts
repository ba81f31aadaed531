/** Where the local API's socket is, and who holds it. @module */
import { createHash } from "node:crypto";
import { formatHex, MorayError } from "../core/mod.ts";
import { ensurePrivateDirectory, fromSystem } from "../io/mod.ts";

/** The socket in a state directory. */
export const SOCKET_FILE = "api.sock";
/** Held while the socket is opened or removed, so that two processes do not replace each other's. */
const LOCK_FILE = "api.lock";
/** Longest path of a unix socket: 104 bytes on macOS and the BSDs, 108 on Linux, with the final zero. */
const SOCKET_PATH_BYTES_MAX = 103;

/** A listening socket. */
export interface SocketFile {
  /** Its path. */
  readonly path: string;
  /** The listener. */
  readonly listener: Deno.UnixListener;
  /** Stops listening and removes the file. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * Opens the socket of a state directory that exists. A socket that nobody answers on is replaced; throws `portInUse` where
 * somebody does.
 */
export async function openSocket(state: string): Promise<SocketFile> {
  const directory = await realPath(state);
  return await locked(directory, async () => {
    const named = `${directory}/${SOCKET_FILE}`;
    if (await isAlive(await linkTarget(named) ?? named)) {
      throw new MorayError("portInUse", `Another moray is running with --state ${state}`);
    }
    const path = await placeOf(directory);
    try {
      await remove(path);
      const listener = Deno.listen({ transport: "unix", path });
      await Deno.chmod(path, 0o600);
      let closed = false;
      const close = async (): Promise<void> => {
        if (closed) return;
        closed = true;
        // Deno removes the file as it closes; under the lock it can be nobody else's.
        await locked(directory, async () => {
          listener.close();
          await remove(path);
          await remove(named);
        });
      };
      return { path, listener, close };
    } catch (error) {
      throw fromSystem(error, `open ${path}`);
    }
  });
}

/** Connects to the socket of a state directory. Rejects with `unreachable` or `permission`. */
export async function connectStream(state: string): Promise<Deno.UnixConn> {
  try {
    const path = `${await Deno.realPath(state)}/${SOCKET_FILE}`;
    return await Deno.connect({ transport: "unix", path: await linkTarget(path) ?? path });
  } catch (error) {
    if (fromSystem(error, "").code === "permission") {
      throw new MorayError(
        "permission",
        `The node with --state ${state} is another user's: permission denied`,
        error,
      );
    }
    throw new MorayError("unreachable", `No node is running with --state ${state}`, error);
  }
}

/** Returns where the socket goes; where the path is too long, leaves a link to that place. */
async function placeOf(directory: string): Promise<string> {
  const path = `${directory}/${SOCKET_FILE}`;
  if (new TextEncoder().encode(path).length <= SOCKET_PATH_BYTES_MAX) return path;
  const hash = formatHex(createHash("sha256").update(directory).digest().subarray(0, 12));
  const short = `${await privateDirectory()}/${hash}.sock`;
  try {
    if (await linkTarget(path) === short) return short;
    await remove(path);
    await Deno.symlink(short, path);
  } catch (error) {
    throw fromSystem(error, `write ${path}`);
  }
  return short;
}

/** A short directory that only this user can enter: in `$XDG_RUNTIME_DIR`, else in `/tmp`. */
async function privateDirectory(): Promise<string> {
  const uid = Deno.uid();
  const runtime = Deno.env.get("XDG_RUNTIME_DIR");
  const path = runtime !== undefined && runtime.startsWith("/") && runtime.length <= 48
    ? `${runtime}/moray`
    : `/tmp/moray-${uid}`;
  await ensurePrivateDirectory(path);
  const info = await Deno.lstat(path);
  // In a directory that all can write to, somebody else may have been first.
  if (!info.isDirectory || info.uid !== uid || ((info.mode ?? 0) & 0o077) !== 0) {
    throw new MorayError(
      "permission",
      `Cannot use ${path} for a socket: it is not private; choose a shorter --state`,
    );
  }
  return path;
}

async function locked<T>(directory: string, act: () => Promise<T>): Promise<T> {
  let file: Deno.FsFile;
  try {
    const options = { create: true, write: true, mode: 0o600 };
    file = await Deno.open(`${directory}/${LOCK_FILE}`, options);
    await file.lock(true);
  } catch (error) {
    throw fromSystem(error, `lock ${directory}/${LOCK_FILE}`);
  }
  try {
    return await act();
  } finally {
    file.close();
  }
}

async function isAlive(path: string): Promise<boolean> {
  try {
    const conn = await Deno.connect({ transport: "unix", path });
    conn.close();
    return true;
  } catch (error) {
    // A full backlog is a process that is alive, only slow.
    return error instanceof Deno.errors.WouldBlock;
  }
}

async function realPath(state: string): Promise<string> {
  try {
    return await Deno.realPath(state);
  } catch (error) {
    throw fromSystem(error, `use directory ${state}`);
  }
}

async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return await Deno.readLink(path);
  } catch {
    return undefined;
  }
}

async function remove(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
