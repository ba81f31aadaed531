/** The source as text: what neither the formatter nor the linter looks at. */
import { deepStrictEqual as assertEquals, match as assertMatch } from "node:assert/strict";

const ROOT = new URL("../", import.meta.url).pathname;
const LEFT_OUT = new Set([
  ".git",
  "node_modules",
  "target",
  "dist",
  "coverage",
  "gen",
  "out",
  "results",
]);
/** Files of one idea: rarely over 400 lines, never over this. */
const LINES_MAX = 600;
/** Folders whose outside is a `mod.ts`. */
const MODULES = ["agent", "cli", "core", "discovery", "io", "proto", "traversal", "wg"];

interface Source {
  readonly path: string;
  readonly text: string;
}

function* walk(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(`${ROOT}${folder}`)) {
    const path = folder === "" ? name : `${folder}/${name}`;
    if (!isDirectory) yield path;
    else if (!LEFT_OUT.has(name)) yield* walk(path);
  }
}

function sources(pattern: RegExp): Source[] {
  return [...walk("")].filter((path) => pattern.test(path)).sort()
    .map((path) => ({ path, text: Deno.readTextFileSync(`${ROOT}${path}`) }));
}

/** Lines that match, as `path:line: text`. */
function findLines(files: readonly Source[], pattern: RegExp): string[] {
  return files.flatMap(({ path, text }) =>
    text.split("\n").flatMap((line, i) =>
      pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : []
    )
  );
}

const CODE = /\.(ts|rs|sh|py|go|proto)$|^\.ci\/run$|natlab$/;
const TEXT = /\.(ts|rs|sh|py|go|proto|md|json|toml|yaml|svg)$|^\.ci\/run$|natlab$/;

Deno.test("no source file of ours is longer than 600 lines", () => {
  const long = sources(/\.(ts|rs)$/)
    .map(({ path, text }) => [path, text.split("\n").length - 1] as const)
    .filter(([, lines]) => lines > LINES_MAX);
  assertEquals(long, []);
});

Deno.test("nothing is left to do, and no test is singled out", () => {
  // In pieces, so that this file does not find itself.
  const marks = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "todo" + "!\\(", "unimplemented" + "!\\("];
  const found = findLines(sources(CODE), new RegExp(`\\b(${marks.join("|")})|\\.on` + "ly\\("));
  assertEquals(found, []);
});

Deno.test("no file names a path of the machine it was written on, or a package host", () => {
  const paths = ["/wo" + "rk/", "/fa" + "rm/", "/tmp/set" + "up", "bash_jo" + "bs"].join("|");
  const hosts = `https?://(registry|proxy|deb|index|static)${"\\."}`;
  assertEquals(findLines(sources(TEXT), new RegExp(`${paths}|${hosts}`)), []);
});

Deno.test("no line ends in a blank, and every file ends in one newline", () => {
  const files = sources(CODE);
  assertEquals(findLines(files, /[ \t]$/), []);
  const badEnd = files.filter(({ text }) => text !== "" && !/[^\n]\n$/.test(text));
  assertEquals(badEnd.map(({ path }) => path), []);
});

Deno.test("every folder of modules has a mod.ts that says what the folder is", () => {
  for (const folder of MODULES) {
    const text = Deno.readTextFileSync(`${ROOT}${folder}/mod.ts`);
    assertMatch(
      text,
      /^\/\*\*[^]*?@module[^]*?\*\//,
      `${folder}/mod.ts starts with its documentation`,
    );
  }
});

Deno.test("decision records are numbered without gaps and have their four parts", () => {
  const records = [...Deno.readDirSync(`${ROOT}docs/decisions`)].map(({ name }) => name).sort();
  assertEquals(records.length > 0, true, "there are decision records");
  for (const [i, name] of records.entries()) {
    assertMatch(name, new RegExp(`^${String(i + 1).padStart(4, "0")}-[a-z0-9-]+\\.md$`));
    const text = Deno.readTextFileSync(`${ROOT}docs/decisions/${name}`);
    assertMatch(text, new RegExp(`^# ${name.slice(0, 4)}: `), `${name}: its number`);
    for (const part of ["Context", "Decision", "Consequences", "Refused"]) {
      assertMatch(text, new RegExp(`^(## |\\*\\*)${part}`, "m"), `${name}: ${part}`);
    }
  }
});

Deno.test("every relative link in the project's texts leads to a file", () => {
  const broken = sources(/\.md$/).flatMap(({ path, text }) => {
    const folder = path.replace(/[^/]*$/, "");
    return [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map(([, target = ""]) =>
      target
    )
      .filter((target) => !exists(`${ROOT}${folder}${target}`)).map((target) =>
        `${path}: ${target}`
      );
  });
  assertEquals(broken, []);
});

Deno.test("the README's exit codes are those of the program", async () => {
  const { EXIT_CODES } = await import("../cli/exit_codes.ts");
  const readme = await Deno.readTextFile(`${ROOT}README.md`);
  const rows = [...readme.matchAll(/^\| (\d+) \| `?(\w*)`? ?\| (.*) \|$/gm)]
    .map(([, status, code, meaning]) => ({ status: Number(status), code: code || null, meaning }));
  assertEquals(rows, EXIT_CODES.map((row) => ({ ...row })));
});

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
