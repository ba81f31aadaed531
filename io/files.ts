/** Reading and writing files: errors in our words, private modes, writes that are whole or absent. @module */
import { formatHex, MorayError } from "../core/mod.ts";
import { systemRng } from "./entropy.ts";
import { fromSystem } from "./errors.ts";

/** Default of {@linkcode ReadOptions.bytesMax}. */
export const FILE_BYTES_MAX = 1 << 20;

/** Options of {@linkcode readTextFile}. */
export interface ReadOptions {
  /** Longest file accepted, in bytes. @default FILE_BYTES_MAX */
  readonly bytesMax?: number;
}

/** Reads a UTF-8 file. Throws `config` if it is too long or not UTF-8, else as {@linkcode fromSystem}. */
export async function readTextFile(
  path: string,
  { bytesMax = FILE_BYTES_MAX }: ReadOptions = {},
): Promise<string> {
  const bytes = await readAtMost(path, bytesMax + 1);
  if (bytes.length > bytesMax) {
    throw new MorayError("config", `Cannot read ${path}: it is longer than ${bytesMax} bytes`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new MorayError("config", `Cannot read ${path}: it is not UTF-8 text`);
  }
}

/**
 * Writes a file that only its owner may read (mode 0600) and puts it in place whole: a crash or a full disk
 * leaves the old content. It is on the disk when the promise resolves.
 */
export async function writePrivateFile(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = await writeBeside(path, content);
  try {
    await Deno.rename(temporary, path);
  } catch (error) {
    await remove(temporary);
    throw fromSystem(error, `write ${path}`);
  }
  await syncDirectory(path);
}

/**
 * As {@linkcode writePrivateFile}, but never replaces: returns `false` and changes nothing if `path` exists. Of
 * several processes that create the same file at once, one wins.
 */
export async function createPrivateFile(
  path: string,
  content: string | Uint8Array,
): Promise<boolean> {
  const temporary = await writeBeside(path, content);
  try {
    await Deno.link(temporary, path);
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw fromSystem(error, `write ${path}`);
  } finally {
    await remove(temporary);
  }
  await syncDirectory(path);
  return true;
}

/**
 * Creates a directory that only its owner may enter (mode 0700), with its parents.
 *
 * An existing directory must not be writable by others (`permission`). It keeps its mode, unless it is empty and ours:
 * a directory with other people's files in it (`/tmp`, a home) is not for us to close.
 */
export async function ensurePrivateDirectory(path: string): Promise<void> {
  try {
    // The parents come with the usual mode; only the last directory is private.
    const parent = path.replace(/[/\\]+[^/\\]+[/\\]*$/, "");
    if (parent !== "" && parent !== path) await Deno.mkdir(parent, { recursive: true });
    await Deno.mkdir(path, { mode: 0o700 });
    return;
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) {
      throw fromSystem(error, `create directory ${path}`);
    }
  }
  try {
    const info = await Deno.stat(path);
    if (!info.isDirectory) {
      throw new MorayError("usage", `Cannot use ${path} as a directory: it is a file`);
    }
    // Windows has no modes; its access lists are inherited from the profile.
    if (info.mode === null || (info.mode & 0o077) === 0) return;
    if (info.uid === Deno.uid() && await isEmpty(path)) return await Deno.chmod(path, 0o700);
    if ((info.mode & 0o022) !== 0) {
      throw new MorayError(
        "permission",
        `Others can write to ${path}: run chmod 700 ${quote(path)}, or choose another directory`,
      );
    }
  } catch (error) {
    throw fromSystem(error, `use directory ${path}`);
  }
}

/** Returns a path as one word for a shell, for messages that tell what to run. */
export function quote(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

async function readAtMost(path: string, bytesMax: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(bytesMax);
  let length = 0;
  try {
    using file = await Deno.open(path);
    while (length < bytesMax) {
      const n = await file.read(buffer.subarray(length));
      if (n === null) break;
      length += n;
    }
  } catch (error) {
    throw fromSystem(error, `read ${path}`);
  }
  return buffer.subarray(0, length);
}

/** Writes a temporary file next to `path` and returns its name; removes it if that fails. */
async function writeBeside(path: string, content: string | Uint8Array): Promise<string> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const temporary = `${path}.${formatHex(systemRng.bytes(6))}.tmp`;
  try {
    using file = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    await file.sync();
  } catch (error) {
    await remove(temporary);
    throw fromSystem(error, `write ${path}`);
  }
  return temporary;
}

async function remove(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch {
    // It was never there; what led here is the error that counts.
  }
}

/** Makes a new name durable. Not every file system can, and the content is safe without. */
async function syncDirectory(path: string): Promise<void> {
  try {
    using directory = await Deno.open(path.replace(/[^/\\]*$/, "") || ".");
    await directory.sync();
  } catch {
    // Windows opens no directories.
  }
}

async function isEmpty(path: string): Promise<boolean> {
  for await (const _ of Deno.readDir(path)) return false;
  return true;
}
