/**
 * Runs Rust's tests in wasm: the SIMD code of `../ring` exists only there, and a `usize` has 32 bits there.
 *
 *     deno run --allow-read --allow-env=SEEDS selftest.ts $(./build.sh .)
 *
 * Runs any other module with a `main` too, such as the figures that `RELEASE=1 ./build.sh .` makes. A test that panics ends
 * its module. Exit code 1 when one failed.
 *
 * @module
 */

import { Exit, instantiate } from "./wasi.ts";

/** Tests in this process: there are no others in wasm. Figures take no notice. */
const HARNESS_ARGS = ["-Zunstable-options", "--force-run-in-process", "--test-threads=1"];

async function run(path: string): Promise<boolean> {
  const seeds = Deno.env.get("SEEDS");
  // The harness takes its unstable options only with the first.
  const environment = ["RUSTC_BOOTSTRAP=1", ...seeds === undefined ? [] : [`SEEDS=${seeds}`]];
  const exports = await instantiate(path, { args: [path, ...HARNESS_ARGS], environment });
  try {
    (exports["_start"] as () => void)();
    return true;
  } catch (error) {
    if (error instanceof Exit) return error.code === 0;
    console.error(`${path}: ${error instanceof Error ? error.message : error}`);
    return false;
  }
}

async function main(paths: readonly string[]): Promise<number> {
  if (paths.length === 0) {
    console.error("usage: selftest.ts MODULE.wasm...");
    return 2;
  }
  let failed = 0;
  for (const path of paths) failed += await run(path) ? 0 : 1;
  return failed === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
