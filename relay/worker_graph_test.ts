/** What a node's relay loads: nothing that knows keys of WireGuard. @module */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";

const ROOT = new URL("../", import.meta.url).pathname;
/** What follows an import in the sources, which are formatted: a path of ours. */
const IMPORTS = /(?:\bfrom|\bimport\(|\bimport)\s*"(\.[^"]+\.ts)"/g;
const TYPES_ONLY = /\b(?:import|export) type [^;]*?from "[^"]+";/g;

/** The folders that a file leads to, by imports of values, lazy ones too. */
async function foldersFrom(entry: string): Promise<ReadonlySet<string>> {
  const seen = new Set<string>();
  const waiting = [entry];
  for (let file; (file = waiting.pop()) !== undefined;) {
    if (seen.has(file)) continue;
    seen.add(file);
    const source = (await Deno.readTextFile(file)).replaceAll(TYPES_ONLY, "");
    for (const [, path = ""] of source.matchAll(IMPORTS)) {
      waiting.push(new URL(path, `file://${file}`).pathname);
    }
  }
  assert(seen.size > 10, `${seen.size} files`);
  return new Set([...seen].map((file) => file.slice(ROOT.length).split("/")[0] ?? ""));
}

Deno.test("no path of imports leads from a relay, in a Worker or in a process, to what holds a WireGuard key", async () => {
  for (const entry of ["relay_worker.ts", "server.ts", "mod.ts"]) {
    const folders = await foldersFrom(`${ROOT}relay/${entry}`);
    assertEquals([...folders].sort(), ["core", "io", "relay", "traversal"], entry);
  }
  // The same question finds the way where there is one.
  assert((await foldersFrom(`${ROOT}agent/datapath/worker.ts`)).has("wg"));
});
