/** A pair whose direct path comes and goes while a stream runs. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { testSha256 } from "../support/bytes.ts";
import { Lab } from "../support/natlab.ts";
import {
  DELAY,
  RELAY_PORT as PORT,
  startRelayWorld,
  startWalker,
  startWebColony,
  streamFromColony,
} from "../support/relayed_pair.ts";
import { say } from "../support/say.ts";
import { e2e, eventually } from "../support/scope.ts";

/** What becoming relayed again may cost. */
const OUTAGE_MS_MAX = 6_500;

e2e(
  "relayed becomes direct without a lost echo or byte of a stream, and the stream survives the way back",
  {
    needs: ["full", "natlab", "curl"],
    timeoutMs: 180_000,
  },
  async (scope) => {
    const lab = scope.use(
      await Lab.up("relaystream", {
        servers: ["disco:2"],
        sites: [`c=portrestricted,${DELAY}`, `a=fullcone,${DELAY}`],
      }),
    );
    const world = await startRelayWorld(scope, lab);
    // STUN and the relay alone: the pair begins relayed.
    await lab.ctl("a", `set udpports=3478+${PORT}`);
    await startWebColony(scope, { lab, world });
    const walker = await startWalker({ world });
    const pathIs = (kind: string) => async (): Promise<true | undefined> =>
      (await walker.path("colony"))?.kind === kind || undefined;
    assertEquals(await pathIs("relayed")(), true);
    const stream = streamFromColony(walker, { lab, seconds: 30, timeoutMs: 120_000 });
    let [echoes, lost, slowestMs] = [0, 0, 0];
    const echoUntil = async (done: () => Promise<boolean>): Promise<void> => {
      do {
        const rttMs = await walker.echo("colony", 1_500);
        echoes++;
        if (rttMs === undefined) lost++;
        else slowestMs = Math.max(slowestMs, rttMs);
      } while (!await done());
    };
    await echoUntil(() => Promise.resolve(echoes >= 10));
    await lab.ctl("a", "set udpports=");
    const openedAt = performance.now();
    const within = (ms: number): boolean => performance.now() - openedAt < ms;
    await echoUntil(async () => await pathIs("direct")() === true || !within(20_000));
    const directMs = performance.now() - openedAt;
    assertEquals(await pathIs("direct")(), true, "no direct path within 20 s");
    // Long enough for the old path to be missed.
    const settledAt = performance.now();
    await echoUntil(() => Promise.resolve(performance.now() - settledAt > 3_000));
    say(
      `direct ${
        Math.round(directMs)
      } ms after the NAT let it; ${echoes} echoes, ${lost} lost, the ` +
        `slowest ${Math.round(slowestMs)} ms`,
    );
    assertEquals(lost, 0);
    await lab.ctl("a", `set udpports=3478+${PORT}`);
    const cutAt = performance.now();
    await eventually("an answer over the relay", async () => {
      return await pathIs("relayed")() && await walker.echo("colony", 300);
    }, { timeoutMs: OUTAGE_MS_MAX, everyMs: 20 });
    say(`relayed again ${Math.round(performance.now() - cutAt)} ms after the cut`);
    const got = await stream;
    assertEquals([got.code, got.sha256], [0, testSha256(got.bytes)], got.stderr);
    assert(got.bytes > 0);
  },
);
