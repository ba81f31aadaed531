/** WireGuard keys: making them, and the file that a node keeps its own in. @module */
import { assert, formatBase64, KEY_BYTES, MorayError, parseKey, type Rng } from "../core/mod.ts";
import { createPrivateFile, ensurePrivateDirectory, fromSystem, quote } from "../io/mod.ts";
import { publicKeyOf, readTextFile, systemRng } from "../io/mod.ts";

/** The key file in a state directory: one line of base64, as `wg genkey` prints it; mode 0600. */
export const KEY_FILE = "wireguard.key";

/** Longest key file read: a key, a line end, and room for a few of them. */
const KEY_FILE_BYTES_MAX = 256;
/** A key pair. */
export interface KeyPair {
  /** 32 bytes. Never in a log, an error or JSON. */
  readonly privateKey: Uint8Array;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
}

/** Returns a new private key, clamped as `wg genkey` does (RFC 7748 section 5). */
export function generatePrivateKey(rng: Rng = systemRng): Uint8Array {
  const key = Uint8Array.from(rng.bytes(KEY_BYTES));
  assert(key.length === KEY_BYTES, "the entropy source gives what it is asked for");
  key[0] = (key[0] ?? 0) & 0xf8;
  key[31] = (key[31] ?? 0) & 0x7f | 0x40;
  return key;
}

/**
 * Reads the key of a state directory; makes directory (mode 0700) and key (mode 0600) where there are none.
 *
 * Throws `key` for a file that others may read, or that holds no key; never with the file's content.
 */
export async function loadOrCreateKey(state: string, rng: Rng = systemRng): Promise<KeyPair> {
  await ensurePrivateDirectory(state);
  const path = `${state.replace(/[/\\]+$/, "")}/${KEY_FILE}`;
  const existing = await loadKey(path);
  if (existing !== undefined) return existing;
  const privateKey = generatePrivateKey(rng);
  if (await createPrivateFile(path, `${formatBase64(privateKey)}\n`)) {
    return { privateKey, publicKey: await publicKeyOf(privateKey) };
  }
  // Another process made one at the same moment: its key counts.
  const other = await loadKey(path);
  if (other === undefined) throw new MorayError("key", `Cannot read ${path}: it comes and goes`);
  return other;
}

/** Reads the key of a file; `undefined` where there is none. Throws as {@linkcode loadOrCreateKey}. */
export async function loadKey(path: string): Promise<KeyPair | undefined> {
  const info = await statOf(path);
  if (info === undefined) return undefined;
  // Windows has no modes.
  if (info.mode !== null && (info.mode & 0o077) !== 0) {
    throw new MorayError(
      "key",
      `Others can read the private key in ${path}: run chmod 600 ${quote(path)}`,
    );
  }
  const key = info.isFile ? parseKey(await readKeyText(path)) : undefined;
  if (key === undefined) {
    throw new MorayError(
      "key",
      `${path} does not hold a WireGuard key: restore it, or remove it to become a new node`,
    );
  }
  return { privateKey: key, publicKey: await publicKeyOf(key) };
}

async function statOf(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    const { message } = fromSystem(error, `read ${path}`);
    throw new MorayError("key", message, error);
  }
}

/** The file's text without the spaces around it; what is no text or too long comes back as no key. */
async function readKeyText(path: string): Promise<string> {
  try {
    return (await readTextFile(path, { bytesMax: KEY_FILE_BYTES_MAX })).trim();
  } catch (error) {
    if (error instanceof MorayError && error.code === "config") return "";
    throw new MorayError("key", error instanceof Error ? error.message : String(error), error);
  }
}
