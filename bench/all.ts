/**
 * `deno task bench:all [--quick] [NAME...]`: every benchmark (or those named) one after another, then the page. Hours at
 * full length; `--quick` takes one short run of each, to see that all of them work.
 *
 * @module
 */
import { ROOT } from "../tests/support/needs.ts";
import { say } from "../tests/support/say.ts";
import { BENCHMARKS, writeReport } from "./report.ts";

/** Flags of a quick look. */
const QUICK = ["--runs", "1", "--seconds", "2"];

if (import.meta.main) {
  const quick = Deno.args.includes("--quick");
  const names = Deno.args.filter((word) => word !== "--quick");
  const unknown = names.find((name) => !BENCHMARKS.some((known) => known === name));
  if (unknown !== undefined) {
    throw new Error(`There is no ${unknown}; there are ${BENCHMARKS.join(", ")}`);
  }
  for (const name of BENCHMARKS) {
    if (names.length > 0 && !names.includes(name)) continue;
    const from = performance.now();
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `${ROOT}bench/${name}.ts`, ...(quick ? QUICK : [])],
      cwd: ROOT,
    }).spawn().status;
    const minutes = ((performance.now() - from) / 60_000).toFixed(1);
    say(`\n=== ${name}: exit ${code}, ${minutes} min\n`);
    if (code !== 0) Deno.exitCode = 1;
  }
  say(`docs/performance.md: ${(await writeReport()).join(", ")}`);
}
