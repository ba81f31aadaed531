/**
 * The engine's cipher as native code, on x86-64 Linux with AVX2 or AVX-512: `wg/aead-x86_64.so`, loaded by FFI.
 *
 * It takes a half or a quarter of the time of the same cipher in wasm (docs/decisions/0036-native-cipher.md), and works on the
 * engine's memory only. Where it cannot be loaded, the engine does without.
 *
 * @module
 */
import { messageOf, MorayError } from "../core/mod.ts";
import { Libc, openLibrary } from "./libc.ts";

const SYMBOLS = {
  aead_supported: { parameters: [], result: "u32" },
  aead_seal: { parameters: ["u32", "u32", "u32", "u32"], result: "u32" },
  aead_open: { parameters: ["u32", "u32", "u32", "u32"], result: "u32" },
  aead_seal_wide: { parameters: ["u32", "u32", "u32", "u32"], result: "u32" },
  aead_open_wide: { parameters: ["u32", "u32", "u32", "u32"], result: "u32" },
} as const;

/** memfd_create(2): gone with the next `exec`. */
const MFD_CLOEXEC = 1;
/** `struct Call` of wg/engine/native/src/library.rs. */
const CALL = {
  nonce: 32,
  aad: 44,
  aadLength: 48,
  text: 52,
  length: 56,
  tag: 60,
  bytes: 76,
} as const;
/** What OpenSSL makes of the text of `isRight`. */
const TAG = "c7078f5b95bcffb12ce86841779d8332";
/** Bytes of a page of WebAssembly's memory. */
const PAGE = 65_536;

/** The library: its file, or what is in it where that is inside of the executable or came over the network. */
export type NativeAeadFile = { readonly path: string } | {
  readonly bytes: Uint8Array<ArrayBuffer>;
};

/** What the library's file is known to be. */
export interface NativeAeadDigest {
  /** Its length in bytes. */
  readonly bytes: number;
  /** SHA-256, in hexadecimal. */
  readonly sha256: string;
}

/** How the library computes: `wide` with AVX-512, `narrow` with AVX2. */
export type NativeAeadForm = "wide" | "narrow";

/** How to load the cipher. */
export interface NativeAeadOptions {
  /** What the file is known to be; another is not given to the system's loader, which a damaged one would end the process in. */
  readonly known: NativeAeadDigest;
  /** How it computes. @default "wide" where the processor can */
  readonly form?: NativeAeadForm;
}

/** The cipher. */
export class NativeAead implements Disposable {
  /** How it computes. */
  readonly form: NativeAeadForm;
  /** Seals what the call at `at` names, in the memory of `pages` at the address `high:low`; 1 when it is done. */
  readonly seal: (low: number, high: number, pages: number, at: number) => number;
  /** Opens, in the same way. */
  readonly open: (low: number, high: number, pages: number, at: number) => number;
  readonly #library: Deno.DynamicLibrary<typeof SYMBOLS>;
  readonly #libc: Libc;

  private constructor(
    library: Deno.DynamicLibrary<typeof SYMBOLS>,
    libc: Libc,
    form: NativeAeadForm,
  ) {
    const { aead_seal, aead_open, aead_seal_wide, aead_open_wide } = library.symbols;
    this.#library = library;
    this.#libc = libc;
    this.form = form;
    [this.seal, this.open] = form === "wide"
      ? [aead_seal_wide, aead_open_wide]
      : [aead_seal, aead_open];
  }

  /**
   * Loads the library from its own file, for which a permission can be given, or else from a copy of its bytes in memory. Rejects
   * with `unsupported` and the reason: another system or machine, no permission, another file than is known, or a wrong result.
   */
  static async load(
    file: NativeAeadFile,
    { known, form }: NativeAeadOptions,
  ): Promise<NativeAead> {
    const { os, arch } = Deno.build;
    if (os !== "linux" || arch !== "x86_64") {
      throw new MorayError("unsupported", `not on ${os} ${arch}`);
    }
    if ("path" in file) allow(file.path);
    await check(file, known);
    using opened = new DisposableStack();
    const libc = opened.use(Libc.open());
    const library = "path" in file ? loadFile(file.path) : loadCopy(libc, file.bytes);
    opened.defer(() => library.close());
    const supported = library.symbols.aead_supported();
    if (supported === 0) throw new MorayError("unsupported", "this processor has no AVX2");
    if (form === "wide" && supported < 2) {
      throw new MorayError("unsupported", "this processor has no AVX-512");
    }
    const aead = new NativeAead(library, libc, form ?? (supported < 2 ? "narrow" : "wide"));
    if (!isRight(aead)) throw new MorayError("unsupported", "the native cipher computes wrongly");
    opened.move();
    return aead;
  }

  /** Where a buffer lies. It stays there as long as its `ArrayBuffer` lives and is not resized. */
  addressOf(bytes: Uint8Array<ArrayBuffer>): bigint {
    return this.#libc.addressOf(bytes);
  }

  /** Lets go of the library; nothing may be called afterwards. */
  [Symbol.dispose](): void {
    this.#library.close();
    this.#libc[Symbol.dispose]();
  }
}

/** Throws unless the library at the path may be loaded. */
function allow(path: string): void {
  if (Deno.permissions.querySync({ name: "ffi", path }).state !== "granted") {
    throw new MorayError("unsupported", `no permission: --allow-ffi=${path}`);
  }
}

/** Rejects if it is not the library that is known. Whoever can write to the file can still change it after that. */
async function check(file: NativeAeadFile, known: NativeAeadDigest): Promise<void> {
  try {
    const size = "path" in file ? (await Deno.stat(file.path)).size : file.bytes.length;
    if (size !== known.bytes) {
      throw new MorayError("unsupported", `its file has ${size} bytes, not ${known.bytes}`);
    }
    const bytes = "path" in file ? await Deno.readFile(file.path) : file.bytes;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    if (digest.toHex() === known.sha256) return;
  } catch (error) {
    if (error instanceof MorayError) throw error;
    throw new MorayError("unsupported", messageOf(error), error);
  }
  throw new MorayError("unsupported", "its file is damaged, or of another version");
}

function loadFile(path: string): Deno.DynamicLibrary<typeof SYMBOLS> {
  allow(path);
  try {
    return Deno.dlopen(path, SYMBOLS);
  } catch (error) {
    throw new MorayError("unsupported", messageOf(error), error);
  }
}

/** A file in memory that only this process has a name for: nobody can change it between the look and the load. */
function loadCopy(
  libc: Libc,
  bytes: Uint8Array<ArrayBuffer>,
): Deno.DynamicLibrary<typeof SYMBOLS> {
  const memory = openLibrary({
    memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
  });
  if (memory === undefined) throw new MorayError("unsupported", "no memfd_create");
  const name = new TextEncoder().encode("moray-aead\0");
  const fd = memory.symbols.memfd_create(name, MFD_CLOEXEC);
  memory.close();
  if (fd < 0) throw new MorayError("unsupported", `memfd_create: errno ${libc.errno()}`);
  try {
    const written = libc.calls.write(fd, bytes, BigInt(bytes.length));
    if (Number(written) !== bytes.length) {
      throw new MorayError("unsupported", "the native cipher cannot be written to memory");
    }
    return loadFile(`/proc/self/fd/${fd}`);
  } finally {
    libc.calls.close(fd);
  }
}

/** Whether a text of more than one batch comes out as OpenSSL seals it, and comes back. */
function isRight(aead: NativeAead): boolean {
  const memory = new Uint8Array(PAGE);
  const address = aead.addressOf(memory);
  const [low, high] = [Number(address & 0xffff_ffffn), Number(address >> 32n)];
  const [at, aad, text] = [64, 512, 1024];
  const fill = (start: number, length: number, byte: (i: number) => number): void => {
    for (let i = 0; i < length; i++) memory[start + i] = byte(i);
  };
  fill(at, 32, (i) => i);
  fill(at + CALL.nonce, 12, () => 7);
  fill(aad, 13, (i) => 200 + i);
  fill(text, 1000, (i) => 7 * i + 3);
  const before = memory.slice(text, text + 1000);
  const view = new DataView(memory.buffer);
  view.setUint32(at + CALL.aad, aad, true);
  view.setUint32(at + CALL.aadLength, 13, true);
  view.setUint32(at + CALL.text, text, true);
  view.setUint32(at + CALL.length, 1000, true);
  const tag = memory.subarray(at + CALL.tag, at + CALL.bytes);
  const sealed = aead.seal(low, high, 1, at) === 1 && tag.toHex() === TAG;
  tag.fill(0);
  const opened = aead.open(low, high, 1, at) === 1 && tag.toHex() === TAG;
  return sealed && opened && before.every((byte, i) => memory[text + i] === byte);
}
