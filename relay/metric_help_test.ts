import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { METRIC_HELP } from "./metric_help.ts";

/** Where counters are counted: `.add("name")`, also with a kind behind it, and names chosen just before. */
const COUNTED = /\bcounters?\.add\(([^;]*?)[,)]/gs;
const NAME = /["`]([a-z][A-Za-z]+)/g;
/** What is not counted but asked for: gauges, and what a limiter counts itself. */
const ASKED = ["allocations", "streams", "streamsHalfOpen", "unprovenRefused"];

async function namesIn(folder: string): Promise<Set<string>> {
  const names = new Set<string>();
  for await (const { name, isFile } of Deno.readDir(new URL(folder, import.meta.url))) {
    if (!isFile || !name.endsWith(".ts") || name.endsWith("_test.ts")) continue;
    const source = await Deno.readTextFile(new URL(`${folder}/${name}`, import.meta.url));
    for (const [, call = ""] of source.matchAll(COUNTED)) {
      for (const [, found = ""] of call.matchAll(NAME)) names.add(found);
    }
  }
  return names;
}

Deno.test("every counter of the relay is explained, and nothing else", async () => {
  const counted = await Promise.all(["./core", "./listeners"].map(namesIn));
  const names = new Set([...counted.flatMap((found) => [...found]), ...ASKED]);
  assertEquals(Object.keys(METRIC_HELP).sort(), [...names].sort());
});
