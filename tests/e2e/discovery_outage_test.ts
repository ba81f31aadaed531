/** Discovery dies and comes back with an empty memory, under a colony and an agent that are connected. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { wallMs } from "../support/path_watch.ts";
import { openScene } from "../support/scene.ts";
import { say } from "../support/say.ts";
import { e2e, eventually } from "../support/scope.ts";

const SITE = "portrestricted,delay=10ms,rate=20mbit";
/** How long there is no Discovery. */
const OUTAGE_MS = 5_000;
/** The longest pause of a transfer on a machine that does much else. */
const SILENCE_MS_MAX = 2_000;
/** Back-off of the reconnection, and a machine that does much else. */
const RETURN_MS_MAX = 60_000;

e2e(
  "Discovery is killed and started again with an empty memory: streams do not notice, and new agents find the colony",
  { needs: ["full", "natlab"], timeoutMs: 150_000 },
  async (scope) => {
    const scene = await openScene(scope, { colony: SITE, agent: SITE, sites: [`b=${SITE}`] });
    const { world, watch, colony, agent } = scene;
    const killedAt = wallMs();
    world.discovery.child.signal("SIGKILL");
    await world.discovery.child.exited;
    const resumed = await watch.resumed(killedAt + OUTAGE_MS, { timeoutMs: 2 * OUTAGE_MS });
    assert(Math.max(...Object.values(resumed)) < SILENCE_MS_MAX, JSON.stringify(resumed));
    for (const node of [colony, agent]) {
      await eventually(
        "a node to say that Discovery is away",
        async () => (await node.status()).discovery?.connected === false ? true : undefined,
      );
    }
    await world.restartDiscovery();
    const restartedAt = wallMs();
    for (const node of [colony, agent]) {
      await eventually(
        "a node to find Discovery again",
        async () => (await node.status()).discovery?.connected === true ? true : undefined,
        { timeoutMs: RETURN_MS_MAX },
      );
    }
    const second = await world.start("agent", { mesh: "reef", host: "b1", name: "second" });
    await eventually(
      "an agent that starts afterwards to reach the colony",
      async () => (await second.path("colony"))?.kind === "direct" ? true : undefined,
      { timeoutMs: RETURN_MS_MAX },
    );
    const now = wallMs();
    const longest = watch.longestSilence(killedAt, now);
    say(
      `both are back after ${((now - restartedAt) / 1000).toFixed(1)} s, a new agent with them; ` +
        `the transfer paused for ${longest.toFixed(0)} ms at most`,
    );
    assert(longest < SILENCE_MS_MAX, `the transfer paused for ${longest} ms`);
    assertEquals(watch.broken, undefined);
    assertEquals([watch.changesSince("colony", killedAt), watch.changesSince("agent", killedAt)], [
      0,
      0,
    ]);
  },
);
