/** A relay that is told to end while it carries a pair, which another relay carries on. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { testSha256 } from "../support/bytes.ts";
import type { Moray } from "../support/moray.ts";
import { startNatWorld } from "../support/nat_mesh.ts";
import { Lab } from "../support/natlab.ts";
import {
  DELAY,
  RELAY_SECRET as SECRET,
  startLabRelay,
  startWalker,
  startWebColony,
  streamFromColony,
} from "../support/relayed_pair.ts";
import { say } from "../support/say.ts";
import { e2e, eventually } from "../support/scope.ts";

const CASES = [
  // The nodes give the old relay back half a minute after they have the new one.
  { name: "that waits until its nodes give it back", drainSeconds: 60, streamSeconds: 42 },
  { name: "whose nodes still hold it when its time is over", drainSeconds: 5, streamSeconds: 15 },
] as const;

for (const { name, drainSeconds, streamSeconds } of CASES) {
  e2e(`a drained relay ${name} hands its pair to another one without a lost echo or byte`, {
    needs: ["full", "natlab", "curl"],
    timeoutMs: 180_000,
  }, async (scope) => {
    const lab = scope.use(
      await Lab.up(`relaydrain${drainSeconds}`, {
        servers: ["disco:2", "one", "two"],
        sites: [`c=symmetric,${DELAY}`, `a=symmetric,${DELAY}`],
      }),
    );
    const world = await startNatWorld(scope, { lab, discoveryFlags: ["--relay-secret", SECRET] });
    const url = `http://${lab.address("disco", 4)}:8080`;
    const relays = new Map<string, Moray>();
    for (const id of ["one", "two"]) {
      const flags = [
        ...["--discovery", url, "--relay-id", id],
        ...["--drain-seconds", `${drainSeconds}`],
      ];
      relays.set(id, await startLabRelay(scope, { lab, server: id, flags }));
    }
    await startWebColony(scope, { lab, world });
    const walker = await startWalker({ world });
    const used = (await walker.path("colony"))?.relay ?? "";
    const drained = relays.get(used);
    assert(drained !== undefined, `the path is over ${used}`);
    const other = used === "one" ? "two" : "one";

    const options = { lab, seconds: streamSeconds, timeoutMs: 90_000 };
    const stream = streamFromColony(walker, options);
    let streaming = true;
    const ended = stream.finally(() => streaming = false);
    // Awaited at the end; whatever fails before says more.
    ended.catch(() => {});
    let [echoes, lost, slowestMs] = [0, 0, 0];
    const echo = async (): Promise<void> => {
      const rttMs = await walker.echo("colony", 1_500);
      echoes++;
      if (rttMs === undefined) lost++;
      else slowestMs = Math.max(slowestMs, rttMs);
    };
    while (echoes < 10) await echo();
    drained.child.signal("SIGTERM");
    const signalledAt = performance.now();
    const exited = drained.child.exited.then(({ code }) => ({ code, at: performance.now() }));
    let movedAt: number | undefined;
    while (streaming) {
      await echo();
      const { relay } = await walker.path("colony") ?? {};
      if (relay === other) movedAt ??= performance.now();
      else assert(movedAt === undefined, `back on ${relay}`);
    }
    const got = await ended;
    const lastedMs = performance.now() - signalledAt;
    assert(movedAt !== undefined, "the pair is still over the relay that ends");
    say(
      `moved after ${Math.round(movedAt - signalledAt)} ms; ${echoes} echoes, ${lost} lost, the ` +
        `slowest ${Math.round(slowestMs)} ms; ${got.bytes} bytes`,
    );
    assertEquals([got.code, got.sha256], [0, testSha256(got.bytes)], got.stderr);
    assert(got.bytes > 0);
    assertEquals(lost, 0);
    const { code, at } = await exited;
    assertEquals(code, 0);
    assert(at - signalledAt < 35_000, "it waited in vain");
    assert(lastedMs > Math.min(drainSeconds, 30) * 1000, "the stream ended before the old relay");
    await eventually("an answer over the other relay alone", () => walker.echo("colony", 500));
    assertEquals((await walker.path("colony"))?.relay, other);
  });
}
