/** What the relay imports, and what it must not. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { run } from "./support/child.ts";
import { ROOT } from "./support/needs.ts";

Deno.test("no way leads from the relay to a WireGuard key: it imports neither the engine nor the agent", async () => {
  const reached = await reachableFrom(["cli/relay.ts"]);
  for (const path of [COMMANDS, "relay/server.ts", "relay/core/relay_server.ts"]) {
    assert(reached.has(path), path);
  }
  const forbidden = [...reached].filter((path) => /^(?:wg|agent)\//.test(path));
  assertEquals(forbidden, []);
  assertEquals([...reached].filter((path) => /key_file|keygen/.test(path)), []);
});

/** Where the commands are listed, of which each loads only when it is asked for. */
const COMMANDS = "cli/command.ts";

/** Every file that is loaded when one of these runs; types are not, and other commands. */
async function reachableFrom(roots: readonly string[]): Promise<ReadonlySet<string>> {
  interface Dependency {
    readonly code?: { readonly specifier?: string };
    readonly isDynamic?: boolean;
  }
  interface Graph {
    readonly modules: readonly {
      readonly specifier: string;
      readonly dependencies?: readonly Dependency[];
    }[];
  }
  const found = new Set<string>();
  // What is imported `as string` is not in the graph of who imports it.
  const starts = [...roots];
  for (const root of starts) {
    const { code, stdout, stderr } = await run([
      Deno.execPath(),
      "info",
      "--json",
      `${ROOT}${root}`,
    ], { cwd: ROOT });
    assertEquals(code, 0, stderr);
    const { modules } = JSON.parse(stdout) as Graph;
    const byName = new Map(modules.map((module) => [module.specifier, module]));
    const open = [`file://${ROOT}${root}`];
    for (let name; (name = open.pop()) !== undefined;) {
      const path = name.replace(`file://${ROOT}`, "");
      if (found.has(path)) continue;
      found.add(path);
      if (path !== COMMANDS) starts.push(...await lateImportsOf(path));
      for (const { code: loaded, isDynamic } of byName.get(name)?.dependencies ?? []) {
        if (isDynamic === true && path === COMMANDS) continue;
        if (loaded?.specifier?.startsWith("file://")) open.push(loaded.specifier);
      }
    }
  }
  return found;
}

/** The files that a file imports as `import("./x.ts" as string)`. */
async function lateImportsOf(path: string): Promise<string[]> {
  const text = await Deno.readTextFile(`${ROOT}${path}`);
  const late = [...text.matchAll(/\bimport\(\s*"(\.[^"]+)" as string\s*\)/g)];
  return late.map(([, to = ""]) =>
    new URL(to, `file://${ROOT}${path}`).pathname.slice(ROOT.length)
  );
}
