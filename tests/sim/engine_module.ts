/** The compiled engine, for all nodes of all worlds of a thread. @module */

/** Compiles `wg/engine.wasm`. */
export function loadEngine(): WebAssembly.Module {
  return new WebAssembly.Module(
    Deno.readFileSync(new URL("../../wg/engine.wasm", import.meta.url)),
  );
}
