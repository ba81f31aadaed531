import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { answer, type Dial, megabits, ping, transfer } from "../bench/load/protocol.ts";

/** A load server on the loopback interface for the time of `body`. */
async function withServer(body: (dial: Dial) => Promise<void>): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const served: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) served.push(answer(connection));
  })();
  await body(() => Deno.connect({ hostname: "127.0.0.1", port }));
  listener.close();
  await accepting;
  await Promise.all(served);
}

Deno.test("the load counts where bytes arrive, in both directions and on several streams", async () => {
  await withServer(async (dial) => {
    for (const kind of ["send", "receive"] as const) {
      const flows = await transfer(dial, { kind, streams: 2, skipMs: 5, measureMs: 20 });
      assertEquals(flows.length, 2);
      for (const { bytes, seconds } of flows) {
        assert(bytes > 0, `${kind}: bytes arrived`);
        assert(seconds >= 0.02 && seconds < 5, `${kind}: ${seconds} s are what was asked for`);
      }
    }
  });
});

Deno.test("the load's round trips come back in order of length", async () => {
  await withServer(async (dial) => {
    const { p50Ms, p99Ms } = await ping(dial, 20);
    assert(p50Ms > 0 && p50Ms <= p99Ms);
  });
});

Deno.test("megabits adds up streams side by side", () => {
  assertEquals(megabits([{ bytes: 1e6, seconds: 1 }, { bytes: 1e6, seconds: 2 }]), 12);
});
