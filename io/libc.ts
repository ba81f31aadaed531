/**
 * The calls of the C library that we make, on Linux. Everything here is synchronous.
 *
 * Structures are laid out for 64-bit little-endian Linux (x86-64, AArch64). Addresses of buffers come from `memmove`,
 * which returns its first argument, since a permission for one library forbids `Deno.UnsafePointer`.
 *
 * @module
 */
import { messageOf, MorayError } from "../core/mod.ts";

/**
 * Where glibc is: by its name, which needs the permission for every library, then by the paths of the common
 * distributions, since a permission for one library is a permission for a path.
 */
const LIBRARIES = [
  "libc.so.6",
  `/lib/${Deno.build.arch}-linux-gnu/libc.so.6`,
  "/lib64/libc.so.6",
  "/usr/lib/libc.so.6",
];

/** Values of `errno` (asm-generic/errno-base.h, errno.h) that the datapath tells apart. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EAGAIN: 11,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  EPIPE: 32,
  EBADFD: 77,
  EMSGSIZE: 90,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  ENETUNREACH: 101,
  ECONNRESET: 104,
  ENOBUFS: 105,
  ETIMEDOUT: 110,
  EHOSTUNREACH: 113,
} as const;

/** Signatures of the functions that are called, under the names of their C originals. */
export const SYMBOLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "isize" },
  sendmsg: { parameters: ["i32", "buffer", "i32"], result: "isize" },
  recvmmsg: { parameters: ["i32", "buffer", "u32", "i32", "pointer"], result: "i32" },
  ppoll: { parameters: ["buffer", "usize", "buffer", "pointer"], result: "i32" },
  // A count of bytes fits into 32 bits here, and an i32 needs no bigint.
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  dup3: { parameters: ["i32", "i32", "i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  writev: { parameters: ["i32", "buffer", "i32"], result: "isize" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  ioctl: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  ioctl_value: { name: "ioctl", parameters: ["i32", "usize", "usize"], result: "i32" },
  if_nametoindex: { parameters: ["buffer"], result: "u32" },
  close: { parameters: ["i32"], result: "i32" },
  memmove: { parameters: ["buffer", "buffer", "usize"], result: "usize" },
  madvise: { parameters: ["usize", "usize", "i32"], result: "i32" },
  malloc_trim: { parameters: ["usize"], result: "i32" },
  errno_location: { name: "__errno_location", parameters: [], result: "pointer" },
  errno_copy: { name: "memcpy", parameters: ["buffer", "pointer", "usize"], result: "usize" },
} as const;

/** The functions of {@linkcode Libc.calls}, with the parameters and results of `man 2` and `man 3`. */
export type LibcCalls = Deno.StaticForeignLibraryInterface<typeof SYMBOLS>;

type Library = Deno.DynamicLibrary<typeof SYMBOLS>;

/** This thread's library: to bind its functions takes 9 ms (0.14 to 0.4 each), so all who use it share it. */
let shared: { readonly library: Library; users: number } | undefined;

/** The C library. */
export class Libc implements Disposable {
  /** The functions, as libc declares them. */
  readonly calls: LibcCalls;
  readonly #errno = new Int32Array(1);
  readonly #errnoBytes = new Uint8Array(this.#errno.buffer);
  #open = true;

  private constructor(calls: LibcCalls) {
    this.calls = calls;
  }

  /** Opens the library. Throws `unsupported` with the reason: another system, no permission, no glibc. */
  static open(): Libc {
    shared ??= { library: loadLibrary(), users: 0 };
    shared.users++;
    return new Libc(shared.library.symbols);
  }

  /** `errno` of the call just before on this thread. */
  errno(): number {
    this.calls.errno_copy(this.#errnoBytes, this.calls.errno_location(), 4n);
    return this.#errno[0] ?? 0;
  }

  /** Where a buffer lies. It stays there as long as its `ArrayBuffer` lives and is not resized. */
  addressOf(bytes: Uint8Array<ArrayBuffer>): bigint {
    return this.calls.memmove(bytes, bytes, 0n);
  }

  /** Lets go of the library; no function may be called afterwards. Safe to call twice. */
  [Symbol.dispose](): void {
    if (!this.#open || shared === undefined) return;
    this.#open = false;
    if (--shared.users > 0) return;
    shared.library.close();
    shared = undefined;
  }
}

/**
 * Binds a few functions, for the rest of the program. `undefined` where that is impossible, or would first ask the user for
 * the permission.
 */
export function openLibrary<const S extends Deno.ForeignLibraryInterface>(
  symbols: S,
): Deno.DynamicLibrary<S> | undefined {
  if (Deno.build.os !== "linux") return undefined;
  for (const path of LIBRARIES) {
    if (Deno.permissions.querySync({ name: "ffi", path }).state !== "granted") continue;
    try {
      return Deno.dlopen(path, symbols);
    } catch {
      // The next path, or none.
    }
  }
  return undefined;
}

function loadLibrary(): Library {
  const { os, arch } = Deno.build;
  if (os !== "linux" || (arch !== "x86_64" && arch !== "aarch64")) {
    throw new MorayError("unsupported", `not on ${os} ${arch}`);
  }
  let denied = false;
  let reason = "";
  for (const path of LIBRARIES) {
    try {
      return Deno.dlopen(path, SYMBOLS);
    } catch (error) {
      denied ||= error instanceof Deno.errors.NotCapable;
      reason = messageOf(error);
    }
  }
  throw new MorayError(
    "unsupported",
    denied ? `no permission: --allow-ffi=${LIBRARIES[1]}` : reason,
  );
}
