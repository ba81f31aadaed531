/**
 * The engine's cipher as native code, on x86-64 Linux with AVX2: `wg/aead-x86_64.so`, loaded by FFI.
 *
 * It takes half the time of the same cipher in wasm (docs/decisions/0001-simd-aead.md), and works on the engine's memory only. Where
 * it cannot be loaded, the engine does without.
 *
 * @module
 */
import { messageOf, MorayError } from "../core/mod.ts";
import { Libc, openLibrary } from "./libc.ts";

const SYMBOLS = {
  aead_supported: { parameters: [], result: "u32" },
  aead_seal: { parameters: ["u32", "u32", "u32", "u32"], result: "u32" },
  aead_open: { parameters: ["u32", "u32", "u32", "u32"], result: "u32" },
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

/** The cipher. */
export class NativeAead implements Disposable {
  /** Seals what the call at `at` names, in the memory of `pages` at the address `high:low`; 1 when it is done. */
  readonly seal: (low: number, high: number, pages: number, at: number) => number;
  /** Opens, in the same way. */
  readonly open: (low: number, high: number, pages: number, at: number) => number;
  readonly #library: Deno.DynamicLibrary<typeof SYMBOLS>;
  readonly #libc: Libc;

  private constructor(library: Deno.DynamicLibrary<typeof SYMBOLS>, libc: Libc) {
    this.#library = library;
    this.#libc = libc;
    this.seal = library.symbols.aead_seal;
    this.open = library.symbols.aead_open;
  }

  /**
   * Loads the library from its own file, for which a permission can be given, or else from a copy of its bytes in memory. Throws
   * `unsupported` with the reason: another system or machine, no permission, or a wrong result.
   */
  static load(file: NativeAeadFile): NativeAead {
    const { os, arch } = Deno.build;
    if (os !== "linux" || arch !== "x86_64") {
      throw new MorayError("unsupported", `not on ${os} ${arch}`);
    }
    using opened = new DisposableStack();
    const libc = opened.use(Libc.open());
    const library = "path" in file ? loadFile(file.path) : loadCopy(libc, file.bytes);
    opened.defer(() => library.close());
    if (library.symbols.aead_supported() !== 1) {
      throw new MorayError("unsupported", "this processor has no AVX2");
    }
    const aead = new NativeAead(library, libc);
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

function loadFile(path: string): Deno.DynamicLibrary<typeof SYMBOLS> {
  if (Deno.permissions.querySync({ name: "ffi", path }).state !== "granted") {
    throw new MorayError("unsupported", `no permission: --allow-ffi=${path}`);
  }
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

/** Whether a text of two batches comes out as OpenSSL seals it, and comes back. */
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
