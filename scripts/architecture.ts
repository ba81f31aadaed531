/**
 * Writes the list of modules into ARCHITECTURE.md: the first sentence of each file, so that it is never out of date.
 *
 *     deno run -A scripts/architecture.ts            # rewrite
 *     deno run -A scripts/architecture.ts --check    # exit status 1 unless it is current
 *
 * @module
 */
import { ROOT, say } from "./steps.ts";

/** Top folders in the order of the picture. */
const FOLDERS = [
  "cli",
  "agent",
  "traversal",
  "wg",
  "discovery",
  "proto",
  "relay",
  "io",
  "core",
  "lint",
  "scripts",
  "bench",
  "tests",
  "examples",
];
const LEFT_OUT = new Set(["gen", "target", "testing", "natlab", "out", "aead-lab", "tcp-interop"]);
const START = "<!-- modules -->";
const END = "<!-- /modules -->";

/** Source files of a folder, its own first, then those of the folders in it. */
function list(folder: string): string[] {
  const entries = [...Deno.readDirSync(`${ROOT}${folder}`)].sort((a, b) =>
    a.name < b.name ? -1 : 1
  );
  const files = entries.filter(({ isFile, name }) => isFile && isModule(name));
  const folders = entries.filter(({ isDirectory, name }) => isDirectory && !LEFT_OUT.has(name));
  return [
    ...files.map(({ name }) => `${folder}/${name}`),
    ...folders.flatMap(({ name }) => list(`${folder}/${name}`)),
  ];
}

function isModule(name: string): boolean {
  return /\.(ts|rs)$/.test(name) && !/_test\.ts$|^tests?\.rs$/.test(name);
}

/** The first sentence of the comment that opens a file; empty if there is none. */
function firstSentence(path: string): string {
  const text = Deno.readTextFileSync(`${ROOT}${path}`);
  const comment = path.endsWith(".rs")
    ? /^(?:\/\/!.*\n)+/m.exec(text)?.[0].replaceAll(/^\/\/! ?/gm, "")
    : /^\/\*\*([^]*?)\*\//m.exec(text)?.[1]?.replaceAll(/^ *\* ?/gm, "");
  const [paragraph = ""] = (comment ?? "").trim().split(/\n\s*\n/);
  const line = paragraph.replace(/@module\b[^]*/, "").replaceAll(/\s+/g, " ").trim();
  return (/^.*?[^.]\.(?= |$)/.exec(line)?.[0] ?? line).replace(/[.:]$/, "");
}

function modules(): string {
  const sections = FOLDERS.flatMap((folder) => {
    const files = exists(folder) ? list(folder) : [];
    if (files.length === 0) return [];
    const rows = files.map((path) =>
      `- \`${path.slice(folder.length + 1)}\` ${firstSentence(path)}`
    );
    return [[`### ${folder}/`, "", ...rows, ""].join("\n")];
  });
  return sections.join("\n");
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(`${ROOT}${path}`).isDirectory;
  } catch {
    return false;
  }
}

/** ARCHITECTURE.md as it should be. */
function rewritten(text: string): string {
  const [head = "", rest = ""] = text.split(START);
  const tail = rest.split(END)[1] ?? "";
  return `${head}${START}\n${modules()}${END}${tail}`;
}

const path = `${ROOT}ARCHITECTURE.md`;
const text = Deno.readTextFileSync(path);
const current = rewritten(text);
if (Deno.args.includes("--check")) {
  if (current !== text) {
    say("ARCHITECTURE.md is out of date: deno run -A scripts/architecture.ts");
    Deno.exitCode = 1;
  }
} else {
  Deno.writeTextFileSync(path, current);
}
