/** The program under `deno run` without the right to read itself. */
import { equal, match } from "node:assert/strict";
import { EXIT_CODES } from "../cli/exit_codes.ts";
import { ROOT } from "./support/needs.ts";

Deno.test("a command that may not be read is one line with the flag, and --version needs no right", async () => {
  const run = async (...args: string[]): Promise<readonly [number, string, string]> => {
    const command = [`${ROOT}main.ts`, ...args];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--quiet", ...command],
      stdin: "null",
    }).output();
    const [out = "", error = ""] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    return [code, out, error];
  };
  const [code, out, error] = await run("keygen");
  equal(code, EXIT_CODES.find((exit) => exit.code === "permission")?.status);
  equal(out, "");
  match(error, /^moray: Cannot load: [^\n]*--allow-read[^\n]*\n$/);
  const [status, version] = await run("--version");
  equal(status, 0);
  match(version, /^moray \d/);
});
