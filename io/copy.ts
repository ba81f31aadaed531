/** Copies between ordinary and shared memory. @module */
import { openLibrary } from "./libc.ts";

/** Fewer bytes are copied by V8: a call of libc costs more than it saves. */
const LIBC_BYTES_MIN = 512;

/** One function, bound when this is loaded, by whoever may: nobody is asked, and nobody has to let go of it. */
const copy = openLibrary({
  copy: { name: "memmove", parameters: ["buffer", "buffer", "usize"], result: "void" },
})?.symbols.copy;

/**
 * Copies all of `source` to the start of `target`, where there must be room.
 *
 * V8 copies shared memory word by word, and byte by byte where the two ends are not aligned alike: 1.1 to 4 GB/s, libc
 * 30 to 50 (measured, 16 and 64 KiB). Where libc cannot be called, it is V8 all the same.
 */
export function copyBytes(target: Uint8Array, source: Uint8Array): void {
  if (source.length < LIBC_BYTES_MIN || source.length > target.length) return target.set(source);
  if (copy === undefined) return target.set(source);
  copy(target as Uint8Array<ArrayBuffer>, source as Uint8Array<ArrayBuffer>, BigInt(source.length));
}
