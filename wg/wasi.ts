/**
 * The system calls that the engine is linked against, supplied by the host: the wall clock (for the handshake's
 * TAI64N timestamp), entropy, and a way to print a panic. So unmodified code becomes deterministic in tests.
 *
 * @module
 */
import type { Rng } from "../core/mod.ts";
import type { HostAead } from "./host_aead.ts";

/** What the engine takes from outside. */
export interface EngineHost {
  /** Milliseconds since 1970, UTC; must grow from one run of the program to the next (WireGuard paper, section 5.1). */
  readonly wallClockMs: () => number;
  /** Cryptographic entropy. */
  readonly rng: Rng;
  /** Takes what the engine prints, which is a panic's message just before the call throws. */
  readonly onPrint: (text: string) => void;
  /** Seals and opens in place of the engine. Absent: the engine does. */
  readonly aead?: HostAead;
}

const SUCCESS = 0;

/** The imports of module `wasi_snapshot_preview1`. `memory` is called when a call is made. */
export function wasiImports(
  host: EngineHost,
  memory: () => ArrayBuffer,
): WebAssembly.ModuleImports {
  return {
    clock_time_get(_id: number, _precision: bigint, result: number): number {
      const nanoseconds = BigInt(Math.round(host.wallClockMs() * 1000)) * 1000n;
      new DataView(memory()).setBigUint64(result, nanoseconds, true);
      return SUCCESS;
    },
    random_get(start: number, length: number): number {
      new Uint8Array(memory(), start, length).set(host.rng.bytes(length));
      return SUCCESS;
    },
    fd_write(_fd: number, vectors: number, count: number, result: number): number {
      const view = new DataView(memory());
      let written = 0;
      let text = "";
      for (let i = 0; i < count; i++) {
        const start = view.getUint32(vectors + 8 * i, true);
        const length = view.getUint32(vectors + 8 * i + 4, true);
        text += new TextDecoder().decode(new Uint8Array(memory(), start, length));
        written += length;
      }
      if (text.trim() !== "") host.onPrint(text.trim());
      view.setUint32(result, written, true);
      return SUCCESS;
    },
    environ_get: () => SUCCESS,
    environ_sizes_get(count: number, bytes: number): number {
      const view = new DataView(memory());
      view.setUint32(count, 0, true);
      view.setUint32(bytes, 0, true);
      return SUCCESS;
    },
    proc_exit(code: number): never {
      throw new WebAssembly.RuntimeError(`The engine ended with status ${code}`);
    },
    sched_yield: () => SUCCESS,
  };
}
