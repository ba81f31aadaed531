/**
 * `deno task test`: every test that runs anywhere, then one line with the counts.
 *
 *     deno task test              unit tests and the mesh on 127.0.0.1; the rest is skipped with the reason
 *     deno task test:full         also NATs in network namespaces, wireguard-go, the binary (root and tools needed)
 *     deno task test [FLAGS] [FILES]
 *
 * `--full` runs the full suite, `--leaks` traces leaked operations and resources, `--doc` also runs the examples in
 * the documentation; files and folders narrow the run down.
 *
 * @module
 */
import { countTests, formatCounts } from "./junit.ts";
import { ROOT, runStep, say } from "./steps.ts";

const FLAGS = ["--full", "--leaks", "--doc"];

async function main(): Promise<number> {
  const unknown = Deno.args.find((arg) => arg.startsWith("-") && !FLAGS.includes(arg));
  if (unknown !== undefined) {
    say(`There is no flag ${unknown}; there are ${FLAGS.join(", ")}`);
    return 2;
  }
  const full = Deno.args.includes("--full");
  const files = Deno.args.filter((arg) => !arg.startsWith("-"));
  const report = await Deno.makeTempFile({ prefix: "moray-tests-", suffix: ".xml" });
  try {
    // The tests start the program as processes of its own: its packages must be there by then.
    const fetched = await runStep({
      title: "Fetch packages",
      command: ["deno", "install", "--quiet", "--frozen", "--entrypoint", "main.ts"],
    });
    const code = await runStep({
      title: full ? "Full suite" : "Tests",
      command: [
        "deno",
        "test",
        "-A",
        "--unstable-net",
        "--frozen",
        `--junit-path=${report}`,
        ...(Deno.args.includes("--leaks")
          ? ["--sanitize-ops", "--sanitize-resources", "--trace-leaks"]
          : []),
        ...(Deno.args.includes("--doc") ? ["--doc"] : []),
        ...files,
      ],
      env: full ? {} : { MORAY_QUICK: "1" },
    });
    const counts = countTests(await Deno.readTextFile(report));
    const { passed, failed } = counts;
    // A run that broke off (a type error, a crash) has failed even if no test has.
    const broken = fetched !== 0 || (code !== 0 && failed === 0) || passed === 0;
    say(formatCounts({ ...counts, failed: failed + (broken ? 1 : 0) }));
    return code === 0 && !broken ? 0 : 1;
  } finally {
    await Deno.remove(report);
  }
}

Deno.chdir(ROOT);
Deno.exit(await main());
