/**
 * The AEAD that the engine's host offers it, in place of the engine's own: native code on the engine's memory.
 *
 * @module
 */

/** A host's AEAD. Both functions take a `Call` of `wg/engine/ring/src/host.rs`. */
export interface HostAead {
  /** Seals what the call at `at` names, in the memory of `pages` at the address `high:low`; 1 when it is done. */
  readonly seal: (low: number, high: number, pages: number, at: number) => number;
  /** Opens, in the same way, and leaves the tag to compare. */
  readonly open: (low: number, high: number, pages: number, at: number) => number;
  /** Where a buffer lies in the process. */
  readonly addressOf: (bytes: Uint8Array<ArrayBuffer>) => bigint;
}

/** The imports of module `aead`. `memory` is called when memory may have moved: whenever it has grown. */
export function aeadImports(
  aead: HostAead | undefined,
  memory: () => ArrayBuffer,
): WebAssembly.ModuleImports {
  if (aead === undefined) return { seal: () => 0, open: () => 0 };
  let [known, low, high] = [-1, 0, 0];
  const find = (pages: number): void => {
    const address = aead.addressOf(new Uint8Array(memory()));
    // Two numbers are passed faster than a bigint.
    [known, low, high] = [pages, Number(address & 0xffff_ffffn), Number(address >> 32n)];
  };
  const { seal, open } = aead;
  return {
    seal(pages: number, at: number): number {
      if (pages !== known) find(pages);
      return seal(low, high, pages, at);
    },
    open(pages: number, at: number): number {
      if (pages !== known) find(pages);
      return open(low, high, pages, at);
    },
  };
}
