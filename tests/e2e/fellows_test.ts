/** Agents that reach each other behind NATs, as the policy of their colony lets them: directly where the NATs do, else by a relay. */
import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { Lab } from "../support/natlab.ts";
import { DELAY, startRelayWorld } from "../support/relayed_pair.ts";
import { run } from "../support/child.ts";
import { e2e, eventually } from "../support/scope.ts";
import { startWebServer } from "../support/http.ts";

const POLICY = `
[[allow]]
from = ["agents"]
to = ["colony"]

[[allow]]
from = ["one"]
to = ["two"]
ports = ["tcp/80", "icmp"]
`;

/** The agents' sites, the colony's, and how the agents must reach each other. */
const CASES = [
  { colony: "portrestricted", one: "portrestricted", two: "restricted", kind: "direct" },
  { colony: "fullcone", one: "symmetric", two: "symmetric", kind: "relayed" },
  { colony: "udpblocked", one: "portrestricted", two: "portrestricted", kind: "direct" },
] as const;

for (const { colony, one, two, kind } of CASES) {
  e2e(`agents behind ${one} and ${two} of a colony behind ${colony}: ${kind}`, {
    needs: ["full", "natlab", "curl"],
    timeoutMs: 120_000,
  }, async (scope) => {
    const sites = [`c=${colony},${DELAY}`, `a=${one},${DELAY}`, `b=${two},${DELAY}`];
    const name = `fel-${colony}-${one}`.slice(0, 12);
    const lab = scope.use(await Lab.up(name, { servers: ["disco:2"], sites }));
    const world = await startRelayWorld(scope, lab, { httpPort: 80 });
    const policy = `${scope.directory()}/policy.toml`;
    await Deno.writeTextFile(policy, POLICY);
    await world.start("colony", { mesh: "reef", host: "c1", flags: ["--policy", policy] });
    const web = await startWebServer(scope, { namespace: lab.namespace("b1") });
    const [first, second] = await Promise.all([
      world.start("agent", {
        mesh: "reef",
        host: "a1",
        name: "one",
        flags: ["--socks5", "127.0.0.1:0", "--no-guess"],
      }),
      world.start("agent", {
        mesh: "reef",
        host: "b1",
        name: "two",
        flags: ["--expose", `80:${web}`, "--no-guess"],
      }),
    ]);
    const socks5 = first.process.address("socks5");
    const fetched = await eventually("a page of the other agent", async () => {
      const { code, stdout } = await run(
        [
          "curl",
          "-sS",
          "--max-time",
          "5",
          "-x",
          `socks5h://${socks5}`,
          "http://two.reef.internal/hello",
        ],
        { namespace: lab.namespace("a1"), timeoutMs: 10_000 },
      );
      return code === 0 ? stdout : undefined;
    }, { timeoutMs: 30_000 });
    const local = await run(["curl", "-sS", `http://${web}/hello`], {
      namespace: lab.namespace("b1"),
      timeoutMs: 10_000,
    });
    assertEquals(fetched, local.stdout);
    await eventually(`the path to be ${kind}`, async () => {
      const paths = [await first.path("two"), await second.path("one")];
      return paths.every((path) => path?.kind === kind) || undefined;
    }, { timeoutMs: 20_000 });
    assertEquals(typeof await first.echo("two"), "number");
    assertEquals(await second.echo("one", 1_000), undefined, "the policy leads one way");
  });
}
