/** The npm package, as somebody installs it: in an empty folder, with an empty HOME. */
import { deepStrictEqual as assertEquals, match as assertMatch } from "node:assert/strict";
import { Child, must, run } from "./support/child.ts";
import { ROOT } from "./support/needs.ts";
import { e2e } from "./support/scope.ts";

/** A program of somebody's: two nodes that talk over the Discovery that it is given, and a mesh in memory. */
const PROGRAM = `
import { Node, type NodeStatus } from "moray";
import { TestMesh } from "moray/testing";

const [discovery = ""] = Deno.args;
const common = { mesh: "reef", discovery, portMapping: false };
{
  await using colony = await Node.start({ ...common, role: "colony", open: true });
  colony.serve(() => new Response("from the package"));
  await using agent = await Node.start({ ...common, name: "walker" });
  console.log(await (await agent.fetch("http://colony/")).text());
  const status: NodeStatus = await agent.status();
  console.log(status.peers.map(({ name }) => name).join());
}
await using mesh = await TestMesh.start({ nodes: ["colony", "a"] });
console.log((await mesh.node("a").ping("colony")).rttMs);
// @ts-expect-error The types are there: there is no such option.
void Node.start({ ...common, colour: "blue" }).catch(() => {});
Deno.exit(0);
`;

e2e(
  "the npm package works where nothing else is: types, a mesh, the program, and a sentence in Node",
  { needs: ["full", "npm"], timeoutMs: 300_000 },
  async (scope) => {
    await must([Deno.execPath(), "run", "-A", "scripts/package.ts"], {
      cwd: ROOT,
      timeoutMs: 120_000,
    });
    const { version } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
    const [cwd, home] = [scope.directory(), scope.directory()];
    await Deno.copyFile(`${ROOT}dist/npm/moray-${version}.tgz`, `${cwd}/moray.tgz`);
    await Deno.writeTextFile(`${cwd}/package.json`, JSON.stringify({ type: "module" }));
    await Deno.writeTextFile(`${cwd}/program.ts`, PROGRAM);
    const env = {
      HOME: home,
      DENO_DIR: `${home}/deno`,
      "npm_config_cache": `${home}/npm`,
      NO_COLOR: "1",
      DENO_NO_UPDATE_CHECK: "1",
      MORAY_NO_PORT_MAPPING: "true",
    };
    const options = { cwd, env };
    await must(["npm", "install", "--no-audit", "--no-fund", "./moray.tgz"], {
      ...options,
      timeoutMs: 120_000,
    });
    const deno = [Deno.execPath()];
    await must([...deno, "check", "program.ts"], { ...options, timeoutMs: 60_000 });
    const main = [...deno, "run", "-A", "--unstable-net", "node_modules/moray/main.js"];
    assertEquals(await must([...main, "--version"], options), `moray ${version}\n`);
    const local = ["--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"];
    const discovery = scope.use(
      new Child([...main, "discovery", ...local, "--store", ":memory:"], options),
    );
    const ready = await discovery.line(/^ready/);
    const url = `http://${/http=(\S+)/.exec(ready)?.[1]}`;
    const said = await must([...deno, "run", "-A", "--unstable-net", "program.ts", url], options);
    assertEquals(said, "from the package\ncolony\n2\n");
    const node = await run(["node", "-e", 'import("moray").catch((e) => console.log(e.message))'], {
      ...options,
    });
    assertMatch(node.stdout, /^moray runs on Deno 2\.8\.3 or later; its README says/);
    assertEquals(await discovery.stop(), 0, discovery.log);
  },
);
