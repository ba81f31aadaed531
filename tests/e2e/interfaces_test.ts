/** A host with many interfaces that lead nowhere, as virtual machines, containers and other tunnels leave behind. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { startNatWorld } from "../support/nat_mesh.ts";
import { Lab } from "../support/natlab.ts";
import { say } from "../support/say.ts";
import { e2e, eventually } from "../support/scope.ts";

const SITE = "portrestricted,delay=10ms";
const INTERFACES = 32;
const DIRECT_MS_MAX = 15_000;

e2e(
  `${INTERFACES} interfaces that lead nowhere at both ends do not keep an agent from its colony`,
  { needs: ["full", "natlab"], timeoutMs: 90_000 },
  async (scope) => {
    const lab = scope.use(await Lab.up("bogus", { sites: [`c=${SITE}`, `a=${SITE}`] }));
    for (const [host, block] of [["c1", 20], ["a1", 21]] as const) {
      // A pair of veths each: carrier and an address, but nobody there.
      const lines = Array.from({ length: INTERFACES }, (_, i) => [
        `link add name nic${i} type veth peer name far${i}`,
        `addr add 10.${block}.${i}.2/24 dev nic${i}`,
        `link set nic${i} up`,
        `link set far${i} up`,
      ]).flat();
      const file = `${scope.directory()}/lines`;
      await Deno.writeTextFile(file, `${lines.join("\n")}\n`);
      const { code, stderr } = await lab.exec(host, ["ip", "-batch", file]);
      assertEquals(code, 0, stderr);
    }
    const world = await startNatWorld(scope, { lab });
    const colony = await world.start("colony", { mesh: "reef", host: "c1" });
    const agent = await world.start("agent", { mesh: "reef", host: "a1", name: "walker" });
    await eventually("a direct path", async () => {
      const path = await agent.path("colony");
      return path?.kind === "direct" && await agent.echo("colony") !== undefined ? true : undefined;
    }, { timeoutMs: DIRECT_MS_MAX });
    const remote = (await agent.path("colony"))?.remote ?? "";
    assert(remote.startsWith(`${lab.publicAddress("c")}:`), remote);
    const { endpoints } = (await colony.status()).node;
    assert(
      endpoints.some((endpoint) => endpoint.startsWith(`${lab.publicAddress("c")}:`)),
      `the public address is among the ${endpoints.length} that are announced`,
    );
    const ms = performance.now() - agent.startedAt;
    say(
      `direct ${(ms / 1000).toFixed(1)} s after the agent's start; ${endpoints.length} endpoints`,
    );
  },
);
