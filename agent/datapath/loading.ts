/**
 * A datapath Worker and its engine that load while the node still finds out what it starts them with: its key, its peers of an
 * earlier run, what Discovery says.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type { NativeAeadFile } from "../../io/mod.ts";

/** Where the engine's file is: beside the source, inside a compiled binary, or at the other end of an import URL. */
const ENGINE_URL = new URL("../../wg/engine.wasm", import.meta.url);

/** The engine's cipher as native code, which only one kind of system can load. */
const AEAD_URL = new URL("../../wg/aead-x86_64.so", import.meta.url);

/** A Worker that has been told nothing yet, and the engine for it. Whoever starts it takes it over; otherwise it is disposed of. */
export class LoadingDatapath implements Disposable {
  /** The Worker; its messages belong to whoever starts it. */
  readonly worker: Worker;
  /** The compiled engine. */
  readonly engine: Promise<WebAssembly.Module>;
  /** The native cipher's file; `undefined` where it is of no use. */
  readonly aead: Promise<NativeAeadFile | undefined>;
  #taken = false;
  #failure: string | undefined;
  #onFailure = (_message: string): void => {};

  private constructor(
    worker: Worker,
    engine: Promise<WebAssembly.Module>,
    aead: Promise<NativeAeadFile | undefined>,
  ) {
    this.worker = worker;
    this.engine = engine;
    this.aead = aead;
    // Who waits for it hears of it; nobody has to.
    engine.catch(() => {});
    worker.onerror = (event): void => {
      // Handled here: an uncaught error of a Worker otherwise ends the process.
      event.preventDefault();
      this.#failure = event.message;
      this.#onFailure(event.message);
    };
  }

  /** Begins to load. */
  static begin(): LoadingDatapath {
    const engine = loadEngine();
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    return new LoadingDatapath(worker, engine, readAead());
  }

  /** Takes it over: the Worker's end is the caller's from now on, who is told of its failure, whenever that is or was. */
  take(onFailure: (message: string) => void): void {
    this.#taken = true;
    this.#onFailure = onFailure;
    if (this.#failure !== undefined) onFailure(this.#failure);
  }

  /** Ends the Worker, unless somebody has taken it over. */
  [Symbol.dispose](): void {
    if (!this.#taken) this.worker.terminate();
  }
}

async function loadEngine(): Promise<WebAssembly.Module> {
  return await WebAssembly.compile(await read(ENGINE_URL));
}

/** Whatever is wrong with it: the engine has a cipher of its own. */
async function readAead(): Promise<NativeAeadFile | undefined> {
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") return undefined;
  try {
    const onDisk = AEAD_URL.protocol === "file:" && !Deno.build.standalone;
    return onDisk ? { path: fileURLToPath(AEAD_URL) } : { bytes: await read(AEAD_URL) };
  } catch {
    return undefined;
  }
}

async function read(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  return url.protocol === "file:"
    ? await Deno.readFile(url)
    : new Uint8Array(await (await fetch(url)).arrayBuffer());
}
