/**
 * Gives back what a resting program does not need, on Linux.
 *
 * Deno's start reads much of its own file once: V8's snapshot for each thread, the compilers, the parsers of settings; later
 * the optimizing compilers come and go. Those pages count as ours until the kernel is short of memory. They are
 * clean, so nothing is lost with them: whoever needs one again has it back from the page cache.
 *
 * @module
 */
import { Libc } from "./libc.ts";

const SMAPS = "/proc/self/smaps";
const MADV_DONTNEED = 4;
/** V8 maps a part of the program again, far away, for each isolate, and unmaps it with the isolate: that is left alone. */
const IMAGE_BYTES_MAX = 1n << 30n;

/** A part of the address space. */
export interface Mapping {
  /** Its first byte. */
  readonly address: bigint;
  /** Its size. */
  readonly bytes: bigint;
}

/**
 * Finds in the text of `/proc/PID/smaps` the mappings of a program's file that hold the file's bytes and nothing else, and stay
 * as long as the program runs: not writable, and no page of them ours alone, in memory or swapped out (the linker writes
 * into pages that it then protects).
 */
export function cleanMappings(smaps: string, path: string): Mapping[] {
  const head = new RegExp(
    `^([0-9a-f]+)-([0-9a-f]+) (\\S+) [0-9a-f]+ \\S+ [0-9]+ +${RegExp.escape(path)}$`,
    "gm",
  );
  const mappings: Mapping[] = [];
  let image: bigint | undefined;
  for (const match of smaps.matchAll(head)) {
    const address = BigInt(`0x${match[1]}`);
    image ??= address;
    if (address - image >= IMAGE_BYTES_MAX || !/^r-[x-]p$/.test(match[3] ?? "")) continue;
    const entry = smaps.slice(match.index, smaps.indexOf("\nVmFlags:", match.index));
    if (!/^Anonymous: +0 kB$/m.test(entry) || !/^Swap: +0 kB$/m.test(entry)) continue;
    mappings.push({ address, bytes: BigInt(`0x${match[2]}`) - address });
  }
  return mappings;
}

/** The running program's memory that can be given back. */
export class IdleMemory implements Disposable {
  readonly #libc: Libc;
  readonly #mappings: readonly Mapping[];

  private constructor(libc: Libc, mappings: readonly Mapping[]) {
    this.#libc = libc;
    this.#mappings = mappings;
  }

  /** Looks for it, which costs milliseconds. `undefined` on another system or without the permission. */
  static find(): IdleMemory | undefined {
    try {
      // Asked first, as a read without the right would ask the user.
      const right = Deno.permissions.querySync({ name: "read", path: SMAPS });
      if (right.state !== "granted") return undefined;
      const smaps = Deno.readTextFileSync(SMAPS);
      return new IdleMemory(Libc.open(), cleanMappings(smaps, Deno.execPath()));
    } catch {
      return undefined;
    }
  }

  /** Gives back the program's clean pages, and what the allocator keeps free. */
  release(): void {
    for (const { address, bytes } of this.#mappings) {
      this.#libc.calls.madvise(address, bytes, MADV_DONTNEED);
    }
    this.#libc.calls.malloc_trim(0n);
  }

  /** Lets go of the C library; nothing may be released afterwards. */
  [Symbol.dispose](): void {
    this.#libc[Symbol.dispose]();
  }
}
