/**
 * What programs see of moray, as text in `docs/surface.txt`: so that no change of an exported type goes unnoticed.
 *
 *     deno run -A scripts/surface.ts            # rewrite
 *     deno run -A scripts/surface.ts --check    # exit status 1 unless it is current, with the difference
 *
 * @module
 */
import { ENTRIES, ROOT, say } from "./steps.ts";
import { type SymbolDoc, symbolLines } from "./type_text.ts";

const FILE = `${ROOT}docs/surface.txt`;
const HEAD = "Written by: deno run -A scripts/surface.ts\n";

/** The lines of an entry point. */
export async function surfaceOf(file: string): Promise<string[]> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", file],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  });
  const { success, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(decoder.decode(stderr));
  const { version, nodes }: {
    version: number;
    nodes: Record<string, { symbols: SymbolDoc[] }>;
  } = JSON.parse(decoder.decode(stdout));
  if (version !== 2) throw new Error(`deno doc --json has version ${version}, not 2`);
  const symbols = Object.values(nodes).flatMap((node) => node.symbols);
  return symbols.sort((a, b) => a.name < b.name ? -1 : 1).flatMap(symbolLines);
}

/** What turns `before` into `after`: lines that went (`-`) and that came (`+`), each below the symbol that it belongs to. */
export function difference(before: readonly string[], after: readonly string[]): string[] {
  const [old, present] = [bySymbol(before), bySymbol(after)];
  return [...new Set([...old.keys(), ...present.keys()])].sort().flatMap((symbol) => {
    const [went, came] = [old.get(symbol) ?? [], present.get(symbol) ?? []];
    const changes = [
      ...went.filter((line) => !came.includes(line)).map((line) => `- ${line}`),
      ...came.filter((line) => !went.includes(line)).map((line) => `+ ${line}`),
    ];
    // Its own line stands above what changed below it.
    const kept = came[0] !== undefined && went.includes(came[0]) ? [`  ${came[0]}`] : [];
    return changes.length === 0 ? [] : [...kept, ...changes];
  });
}

/** The lines by their symbol, `interface Name`, its own line first. */
function bySymbol(lines: readonly string[]): Map<string, string[]> {
  const symbols = new Map<string, string[]>();
  let symbol = "";
  for (const line of lines) {
    if (!line.startsWith(" ")) symbol = /^\w+ [\w$]+/.exec(line)?.[0] ?? line;
    symbols.set(symbol, [...symbols.get(symbol) ?? [], line]);
  }
  return symbols;
}

async function main(): Promise<number> {
  const parts: string[] = [];
  for (const [name, file] of Object.entries(ENTRIES)) {
    parts.push(`\n# ${name} (${file})\n`, ...(await surfaceOf(file)).map((line) => `${line}\n`));
  }
  const text = `${HEAD}${parts.join("")}`;
  if (!Deno.args.includes("--check")) {
    await Deno.writeTextFile(FILE, text);
    return 0;
  }
  const committed = await Deno.readTextFile(FILE);
  if (committed === text) return 0;
  const changes = difference(committed.trimEnd().split("\n"), text.trimEnd().split("\n"));
  say(`docs/surface.txt is not what mod.ts exports:\n${changes.join("\n")}`);
  say("If that is meant, run: deno run -A scripts/surface.ts");
  return 1;
}

if (import.meta.main) Deno.exitCode = await main();
