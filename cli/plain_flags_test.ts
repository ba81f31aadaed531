import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import fc from "fast-check";
import { COMMANDS } from "./command.ts";
import { parseFlags } from "./command_line.ts";
import type { Parameters } from "./parameter.ts";
import { MESH_NODE, OPEN } from "./parameters.ts";
import { asksForHelp, readPlainFlags } from "./plain_flags.ts";

const COLONY = { ...MESH_NODE, open: OPEN };

Deno.test("readPlainFlags reads flags in both spellings, repeated ones, switches and operands", async () => {
  const texts = readPlainFlags(COLONY, [
    ...["--mesh", "A B", "--discovery=http://x?a=b", "--discovery", "y", "--open"],
  ]);
  assertEquals(texts?.["mesh"], "A B");
  assertEquals(texts?.["discovery"], ["http://x?a=b", "y"]);
  assertEquals(texts?.["open"], true);
  assertEquals([texts?.["name"], texts?.["forward"]], [undefined, []]);
  const ping = await COMMANDS.find(({ name }) => name === "ping")?.load();
  assert(ping !== undefined);
  const peer = readPlainFlags(ping.parameters, ["--count", "3", "colony"]);
  assertEquals([peer?.["count"], Object.values(peer ?? {}).includes("colony")], ["3", true]);
  assertEquals(readPlainFlags(ping.parameters, ["-c", "3", "colony"]), peer);
  assertEquals(readPlainFlags(ping.parameters, ["-c=3", "colony"]), undefined);
});

Deno.test("readPlainFlags leaves to the parser what needs judgement", () => {
  for (
    const args of [
      ["--mehs", "x"],
      ["--mesh"],
      ["--mesh", "--open"],
      ["--mesh", "-1"],
      ["--mesh", ""],
      ["--mesh="],
      ["--mesh", "a", "--mesh", "b"],
      ["--open", "--open"],
      ["--open=yes"],
      ["word"],
      [""],
      ["-x"],
      ["--"],
      ["-"],
    ]
  ) assertEquals(readPlainFlags(COLONY, args), undefined, args.join(" "));
});

Deno.test("whatever readPlainFlags reads, the parser reads alike", async () => {
  for (const { name, load } of COMMANDS) {
    const { parameters } = await load();
    const flags = Object.values(parameters).flatMap((parameter) => [
      `--${parameter.name}`,
      ...parameter.letter === undefined ? [] : [`-${parameter.letter}`],
    ]);
    const word = fc.oneof(
      fc.constantFrom(...flags, "--help", "--", "-", "", "a", "a b", "-5", "--unknown"),
      fc.constantFrom(...flags, "--x").chain((flag) =>
        fc.constantFrom("", "=", "v", "a=b").map((value) => `${flag}=${value}`)
      ),
    );
    let plain = 0;
    fc.assert(fc.property(fc.array(word, { maxLength: 6 }), (args) => {
      if (asksForHelp(args)) return;
      const texts = readPlainFlags(parameters, args);
      if (texts === undefined) return;
      plain++;
      assertEquals({ ...texts, help: undefined }, {
        help: undefined,
        ...parsed(name, parameters, args),
      });
    }));
    assert(plain > 0, name);
  }
});

function parsed(name: string, parameters: Parameters, args: readonly string[]): object {
  const absent = Object.fromEntries(Object.keys(parameters).map((key) => [key, undefined]));
  return { ...absent, ...parseFlags(name, parameters, args) };
}

Deno.test("--help counts before --, and nowhere else", () => {
  assertEquals(asksForHelp(["--mesh", "a", "-h"]), true);
  assertEquals(asksForHelp(["--help"]), true);
  assertEquals(asksForHelp(["--", "--help"]), false);
  assertEquals(asksForHelp([]), false);
});
