import { deepStrictEqual as assertEquals, throws } from "node:assert/strict";
import { CONFIG_CHARACTERS_MAX, parseConfigFile } from "./config_file.ts";
import { FILE_KEYS, MESH_NODE } from "./parameters.ts";

function parse(text: string): ReturnType<typeof parseConfigFile> {
  return parseConfigFile("moray.toml", text, FILE_KEYS);
}

Deno.test("a file gives texts with their place", () => {
  const file = parse('mesh = "reef" # ours\n\nwg-port = 51_820\ndiscovery = ["http://a,b"]\n');
  assertEquals(file.given(MESH_NODE.mesh), {
    origin: "moray.toml:1: mesh",
    file: true,
    texts: ["reef"],
  });
  assertEquals(file.given(MESH_NODE.wgPort)?.texts, ["51820"]);
  // A list already separates: commas inside its items stay.
  assertEquals(file.given(MESH_NODE.discovery)?.texts, ["http://a,b"]);
  assertEquals(file.given(MESH_NODE.name), undefined);
});

const BAD: readonly (readonly [title: string, text: string, message: RegExp])[] = [
  ["text that is no TOML", 'mesh = "reef"\nwg-port 51820\n', /^moray\.toml:2: not TOML: \S.*$/],
  ["an unfinished text", 'mesh = "reef\n', /^moray\.toml:1: not TOML: /],
  ["a key twice", 'mesh = "a"\nmesh = "b"\n', /^moray\.toml:2: not TOML: /],
  ["an unknown key", '\n\nmehs = "reef"\n', /^moray\.toml:3: mehs is no setting; there are .*mesh/],
  ["a table", "[colony]\nopen = true\n", /^moray\.toml:1: colony is no setting/],
  ["a date", "mesh = 1979-05-27\n", /^moray\.toml:1: mesh must be a text, a number/],
  ["a table as value", "mesh = { a = 1 }\n", /^moray\.toml:1: mesh must be a text, a number/],
];

for (const [title, text, message] of BAD) {
  Deno.test(`a file with ${title} is refused with file and line`, () => {
    throws(() => parse(text), { code: "config", message });
  });
}

Deno.test("a list where one value is taken is refused", () => {
  const file = parse('mesh = ["a", "b"]\n');
  throws(() => file.given(MESH_NODE.mesh), {
    code: "config",
    message: "moray.toml:1: mesh takes one value, not a list",
  });
});

Deno.test("a file that is too large is refused", () => {
  throws(() => parse("#".repeat(CONFIG_CHARACTERS_MAX + 1)), { code: "config" });
});
