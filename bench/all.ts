/**
 * `deno task bench:all [--quick | --brief] [NAME...]`: every benchmark (or those named) one after another, then the page.
 * Hours at full length; `--brief` leaves out what no target asks for, `--quick` takes one short run of each, to see that
 * all of them work.
 *
 * @module
 */
import { ROOT } from "../tests/support/needs.ts";
import { say } from "../tests/support/say.ts";
import { BENCHMARKS, writeReport } from "./report.ts";

type Name = typeof BENCHMARKS[number];

/** Flags of a quick look. */
const QUICK = "--runs 1 --seconds 2";
/** Flags of a run that answers every target. */
const BRIEF: Readonly<Record<Name, string>> = {
  tunnel: "--seconds 3",
  profile: "--seconds 3",
  udp: "--seconds 2",
  links: "--seconds 6 --cases userspace,netstack,bbr",
  untuned: "--seconds 6 --runs 3 --cases userspace,netstack,bbr",
  fairness: "--seconds 8 --runs 3 --cases ours+ours,ours+bbr,ours+cubic,bbr+cubic",
  stun: "--seconds 3",
  discovery: "",
  relay: "",
  start: "--runs 3",
  soak: "--cases forward",
  paths: "",
};

if (import.meta.main) {
  const quick = Deno.args.includes("--quick");
  const brief = Deno.args.includes("--brief");
  const names = Deno.args.filter((word) => word !== "--quick" && word !== "--brief");
  const unknown = names.find((name) => !BENCHMARKS.some((known) => known === name));
  if (unknown !== undefined) {
    throw new Error(`There is no ${unknown}; there are ${BENCHMARKS.join(", ")}`);
  }
  for (const name of BENCHMARKS) {
    if (names.length > 0 && !names.includes(name)) continue;
    const from = performance.now();
    const flags = quick ? QUICK : brief ? BRIEF[name] : "";
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `${ROOT}bench/${name}.ts`, ...flags.split(" ").filter(Boolean)],
      cwd: ROOT,
    }).spawn().status;
    const minutes = ((performance.now() - from) / 60_000).toFixed(1);
    say(`\n=== ${name}: exit ${code}, ${minutes} min\n`);
    if (code !== 0) Deno.exitCode = 1;
  }
  say(`docs/performance.md: ${(await writeReport()).join(", ")}`);
}
