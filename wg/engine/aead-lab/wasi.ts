/**
 * Just enough of WASI (preview 1) to run this folder's modules and Rust's own test harness.
 *
 * Preopens no files and passes no environment but what the caller gives.
 *
 * @module
 */

/** `errno` of a call that is not supported here. */
const ENOSYS = 52;
const EBADF = 8;

/** What a module may see of the world. */
export interface WasiOptions {
  /** Arguments, the program's name first. */
  readonly args?: readonly string[];
  /** Environment variables, each as `NAME=value`. */
  readonly environment?: readonly string[];
}

/** A module called `proc_exit`. */
export class Exit extends Error {
  override readonly name = "Exit";
  /** The exit code that it gave. */
  readonly code: number;

  constructor(code: number) {
    super(`exit ${code}`);
    this.code = code;
  }
}

/** Instantiates a module and says what it exports. */
export async function instantiate(
  path: string | URL,
  options: WasiOptions = {},
): Promise<WebAssembly.Exports> {
  const module = await WebAssembly.compile(await Deno.readFile(path));
  const host = hostFunctions(options, () => memory);
  const imports: WebAssembly.Imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = host[name] ?? (() => ENOSYS);
  }
  const instance = await WebAssembly.instantiate(module, imports);
  const memory = instance.exports["memory"] as WebAssembly.Memory;
  return instance.exports;
}

function hostFunctions(
  options: WasiOptions,
  memory: () => WebAssembly.Memory,
): Record<string, WebAssembly.ImportValue> {
  const view = () => new DataView(memory().buffer);
  const bytes = (at: number, length: number) => new Uint8Array(memory().buffer, at, length);
  const encoder = new TextEncoder();
  const strings = (list: readonly string[]) => {
    const encoded = list.map((text) => encoder.encode(`${text}\0`));
    return {
      sizes(count: number, size: number): number {
        view().setUint32(count, encoded.length, true);
        view().setUint32(size, encoded.reduce((sum, text) => sum + text.length, 0), true);
        return 0;
      },
      copy(pointers: number, at: number): number {
        for (const [i, text] of encoded.entries()) {
          view().setUint32(pointers + 4 * i, at, true);
          bytes(at, text.length).set(text);
          at += text.length;
        }
        return 0;
      },
    };
  };
  const args = strings(options.args ?? []);
  const environment = strings(options.environment ?? []);
  return {
    args_sizes_get: args.sizes,
    args_get: args.copy,
    environ_sizes_get: environment.sizes,
    environ_get: environment.copy,
    clock_time_get(_clock: number, _precision: bigint, at: number): number {
      view().setBigUint64(at, BigInt(Math.round(performance.now() * 1e6)), true);
      return 0;
    },
    random_get(at: number, length: number): number {
      crypto.getRandomValues(bytes(at, length));
      return 0;
    },
    fd_write(descriptor: number, vectors: number, count: number, written: number): number {
      const out = descriptor === 1 ? Deno.stdout : Deno.stderr;
      let total = 0;
      for (let i = 0; i < count; i++) {
        const at = view().getUint32(vectors + 8 * i, true);
        const length = view().getUint32(vectors + 8 * i + 4, true);
        // A copy, since the memory may move while it is written.
        for (let rest = bytes(at, length).slice(); rest.length > 0;) {
          rest = rest.subarray(out.writeSync(rest));
        }
        total += length;
      }
      view().setUint32(written, total, true);
      return 0;
    },
    fd_prestat_get: () => EBADF,
    sched_yield: () => 0,
    proc_exit(code: number): never {
      throw new Exit(code);
    },
  };
}
