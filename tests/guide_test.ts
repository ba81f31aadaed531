/** The commands of docs/guide.md, section by section, as they stand. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { Node } from "../agent/embed/mod.ts";
import { startDiscovery } from "../discovery/mod.ts";
import { Child, run } from "./support/child.ts";
import { Island } from "./support/island.ts";
import { ROOT } from "./support/needs.ts";
import { e2e, type Scope } from "./support/scope.ts";

/** Commands that go on running, by what they say once they are of use. */
const SERVICES: readonly (readonly [RegExp, RegExp])[] = [
  [/^moray (discovery|colony)\b/, /^ready\b/],
  // As the guide says: a new node is let in a moment after it is ready.
  [/^moray agent\b/, /connected to colony/],
  [/^python3 -m http\.server/, /^Serving HTTP/],
];
const COMMAND_MS_MAX = 60_000;
/** What the guide says of commands, by section: each is said at least once. */
const SAID: Readonly<Record<string, readonly (readonly [RegExp, RegExp])[]>> = {
  "First mesh": [
    [/^curl .*--socks5/, /Directory listing/],
    [/^curl .*--proxy/, /Directory listing/],
    [/^moray ping/, /reply from colony: seq=1/],
    [/--list/, /walker/],
  ],
  Expose: [[/^curl/, /Directory listing/]],
  Relay: [[/^moray ping/, /seq=\d+ relayed/], [/^moray status/, /relayed/]],
  "At home, in a cloud, on the road": [
    [/^curl .*8081/, /Directory listing/],
    [/^curl .*--socks5/, /Directory listing/],
    [/--list/, /laptop[^\n]*(revoked|thrown out)/],
  ],
  Troubleshoot: [[/^moray ping/, /seq=\d+ direct/], [/^moray netcheck --disc/, /UDP/]],
};

interface Section {
  readonly title: string;
  readonly commands: readonly string[];
}

/** The sections that have commands. */
function sections(text: string): Section[] {
  return text.split(/^## /m).slice(1).map((part) => {
    const blocks = [...part.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block = ""]) => block);
    const lines = blocks.join("").split("\n").filter((line) => line !== "");
    return { title: part.split("\n")[0] ?? "", commands: lines };
  }).filter(({ commands }) => commands.length > 0);
}

/** A shell's environment with `moray` in its path. */
async function environment(scope: Scope): Promise<Record<string, string>> {
  const [home, bin] = [scope.directory(), scope.directory()];
  const program = `exec "${Deno.execPath()}" run -A "${ROOT}main.ts" "$@"`;
  await Deno.writeTextFile(`${bin}/moray`, `#!/bin/sh\n${program}\n`, { mode: 0o755 });
  const cache = Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`;
  return {
    PATH: `${bin}:${Deno.env.get("PATH")}`,
    HOME: home,
    DENO_DIR: cache,
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
    PYTHONUNBUFFERED: "1",
  };
}

const GUIDE = sections(await Deno.readTextFile(`${ROOT}docs/guide.md`));

Deno.test("the guide has the commands of every section that it promises", () => {
  const titles = GUIDE.map(({ title }) => title);
  for (const title of ["Install", "First mesh", "Expose", "Relay", "Troubleshoot"]) {
    assert(titles.includes(title), `${title}: ${titles.join()}`);
  }
  assert(GUIDE.flatMap(({ commands }) => commands).length > 30);
});

for (const { title, commands } of GUIDE) {
  e2e(
    `the guide's commands work: ${title}`,
    { needs: ["full", "root", "curl", "python3"], timeoutMs: 180_000 },
    async (scope) => {
      const island = scope.use(await Island.up({ names: ["discovery.example.com"] }));
      const cwd = scope.directory();
      const env = await environment(scope);
      const options = { cwd, env, clearEnv: true };
      const confirmed = new Set<RegExp>();
      for (const text of commands) {
        const command = island.command("bash", "-c", text);
        const ready = SERVICES.find(([pattern]) => pattern.test(text))?.[1];
        if (ready === undefined) {
          const { code, stdout, stderr } = await run(command, {
            ...options,
            timeoutMs: COMMAND_MS_MAX,
          });
          const said = `$ ${text}\nexit ${code}\n${stdout}${stderr}`;
          assert(code === 0, said);
          for (const [pattern, output] of SAID[title] ?? []) {
            if (!pattern.test(text)) continue;
            assert(output.test(stdout), `not ${output}: ${said}`);
            confirmed.add(output);
          }
          continue;
        }
        // Of the shell nothing stays: who is ended is the program.
        const child = new Child(island.command("bash", "-c", `exec ${text}`), options);
        scope.use(child);
        scope.explain(() => Promise.resolve(`$ ${text}\n${child.log.slice(-3000)}`));
        await child.line(ready);
      }
      for (const [, output] of SAID[title] ?? []) assert(confirmed.has(output), `${output}`);
    },
  );
}

e2e(
  "the guide's programs do what it says",
  { needs: ["full"], timeoutMs: 120_000 },
  async (scope) => {
    const text = await Deno.readTextFile(`${ROOT}docs/guide.md`);
    const programs = [...text.matchAll(/^```ts ignore\n([^]*?)^```$/gm)].map(([, block = ""]) =>
      block
    );
    assert(programs.length === 2, "a test for each");
    const local = { hostname: "127.0.0.1", port: 0 };
    const discovery = scope.use(
      await startDiscovery({
        listen: local,
        stunListen: [local],
        store: ":memory:",
        log: () => {},
      }),
    );
    const { url } = discovery;
    const state = scope.directory();
    const colony = scope.use(
      await Node.start({ role: "colony", mesh: "reef", discovery: url, state, portMapping: false }),
    );
    colony.serve(() => new Response("hello from the reef"));
    const { invite } = await colony.invite();
    const cwd = scope.directory();
    const imports = { moray: `${ROOT}mod.ts`, "moray/testing": `${ROOT}testing.ts` };
    const own = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
    const config = { ...own, tasks: {}, imports: { ...own.imports, ...imports } };
    await Deno.writeTextFile(`${cwd}/deno.json`, JSON.stringify(config));
    const outputs = await Promise.all(programs.map(async (program, i) => {
      const placeholder = "moray1.eyJ...";
      await Deno.writeTextFile(`${cwd}/${i}.ts`, program.replace(placeholder, invite));
      const command = [Deno.execPath(), "run", "-A", "--check", `${cwd}/${i}.ts`];
      const { code, stdout, stderr } = await run(command, { cwd, timeoutMs: COMMAND_MS_MAX });
      assert(code === 0, `${program}\n${stderr}`);
      return stdout;
    }));
    assertEquals(outputs, ["hello from the reef\n", ""]);
  },
);
