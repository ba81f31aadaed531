/**
 * `deno task doc`: the reference of what programs import, as HTML in `dist/reference`. Fails where `deno doc` has anything to say.
 *
 * @module
 */
import { ENTRIES, ROOT, say } from "./steps.ts";

const OUTPUT = "dist/reference";

async function main(): Promise<number> {
  await Deno.mkdir(`${ROOT}${OUTPUT}`, { recursive: true });
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--html", "--name=moray", `--output=${OUTPUT}`, ...Object.values(ENTRIES)],
    cwd: ROOT,
    env: { NO_COLOR: "1", RUST_BACKTRACE: "0" },
  }).output();
  const decoder = new TextDecoder();
  const said = `${decoder.decode(stdout)}${decoder.decode(stderr)}`.split("\n")
    .filter((line) => line !== "" && !/^(Written \d+ files? to|Download|Check) /.test(line));
  if (success && said.length === 0) {
    say(`${OUTPUT}/index.html`);
    return 0;
  }
  for (const line of said) say(line);
  return 1;
}

Deno.exitCode = await main();
