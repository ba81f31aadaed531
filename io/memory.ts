/**
 * Gives back what only the start of the program needed, on Linux.
 *
 * Deno's start reads much of its own file once: V8's snapshot for each thread, the compilers, the parsers of settings. Those
 * pages count as ours until the kernel is short of memory. They are clean, so nothing is lost with them: whoever
 * needs one again has it back from the page cache.
 *
 * @module
 */
import { Libc } from "./libc.ts";

const MADV_DONTNEED = 4;

/** A part of the address space. */
export interface Mapping {
  /** Its first byte. */
  readonly address: bigint;
  /** Its size. */
  readonly bytes: bigint;
}

/**
 * Finds the mappings of a file in the text of `/proc/PID/smaps` that hold the file's bytes and nothing else: not writable,
 * and no page of them ours alone, in memory or swapped out (the linker writes into pages that it then protects).
 */
export function cleanMappings(smaps: string, path: string): Mapping[] {
  const head = new RegExp(
    `^([0-9a-f]+)-([0-9a-f]+) r-[x-]p [0-9a-f]+ \\S+ [0-9]+ +${RegExp.escape(path)}$`,
    "gm",
  );
  const mappings: Mapping[] = [];
  for (const match of smaps.matchAll(head)) {
    const entry = smaps.slice(match.index, smaps.indexOf("\nVmFlags:", match.index));
    if (!/^Anonymous: +0 kB$/m.test(entry) || !/^Swap: +0 kB$/m.test(entry)) continue;
    const address = BigInt(`0x${match[1]}`);
    mappings.push({ address, bytes: BigInt(`0x${match[2]}`) - address });
  }
  return mappings;
}

/**
 * Gives back the clean pages of the running program and what its allocator keeps free. Costs milliseconds. Does nothing
 * where that is impossible: another system, no permission.
 */
export function releaseStartMemory(): void {
  try {
    using libc = Libc.open();
    const smaps = Deno.readTextFileSync("/proc/self/smaps");
    for (const { address, bytes } of cleanMappings(smaps, Deno.execPath())) {
      libc.calls.madvise(address, bytes, MADV_DONTNEED);
    }
    libc.calls.malloc_trim(0n);
  } catch {
    // Without the permission for one of the steps everything stays as it is.
  }
}
