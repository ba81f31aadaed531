import { deepStrictEqual as assertEquals, rejects } from "node:assert/strict";
import { MorayError } from "../core/mod.ts";
import { readyLine, runService, type Service } from "./service.ts";
import { ExitCalled, testContext } from "./testing/context.ts";

/** A service whose end and stop are in the test's hands. */
function controlled(): {
  service: Service;
  ended: PromiseWithResolvers<void>;
  stopped: PromiseWithResolvers<void>;
  stops: () => number;
} {
  const ended = Promise.withResolvers<void>();
  const stopped = Promise.withResolvers<void>();
  let stops = 0;
  const service: Service = {
    finished: ended.promise,
    stop(): Promise<void> {
      stops++;
      return stopped.promise;
    },
  };
  return { service, ended, stopped, stops: () => stops };
}

Deno.test("a signal stops a service in order, with status 0", async () => {
  const context = testContext();
  const { service, stopped, stops } = controlled();
  stopped.resolve();
  const status = await runService({
    start: () => Promise.resolve(service),
    onReady: () => context.signal("SIGTERM"),
  }, context);
  assertEquals([status, stops(), context.listeners.size], [0, 1, 0]);
  assertEquals(context.settlings, [1]);
});

Deno.test("a second signal ends the process at once", async () => {
  for (const [signal, expected] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
    const context = testContext();
    const { service, stopped } = controlled();
    const ready = Promise.withResolvers<void>();
    const running = runService({
      start: () => Promise.resolve(service),
      onReady: () => ready.resolve(),
    }, context);
    await ready.promise;
    context.signal(signal);
    let status = 0;
    try {
      context.signal(signal);
    } catch (error) {
      if (error instanceof ExitCalled) status = error.status;
    }
    assertEquals(status, expected);
    stopped.resolve();
    assertEquals(await running, 0);
  }
});

Deno.test("a service that ends by itself is stopped, with status 0", async () => {
  const { service, ended, stopped, stops } = controlled();
  stopped.resolve();
  ended.resolve();
  const status = await runService(
    { start: () => Promise.resolve(service), onReady: () => {} },
    testContext(),
  );
  assertEquals([status, stops()], [0, 1]);
});

Deno.test("what kills a service is what the command fails with", async () => {
  const context = testContext();
  const { service, ended } = controlled();
  const running = runService({
    start: () => Promise.resolve(service),
    onReady: () => ended.reject(new MorayError("diskFull", "No space")),
  }, context);
  await rejects(running, { code: "diskFull" });
  assertEquals(context.listeners.size, 0);
});

Deno.test("a start that fails is what the command fails with", async () => {
  const running = runService({
    start: () => Promise.reject(new MorayError("portInUse", "Port 1 is in use")),
    onReady: () => {},
  }, testContext());
  await rejects(running, { code: "portInUse" });
});

Deno.test("a signal during the start aborts it, with status 0 and no ready line", async () => {
  const context = testContext();
  let ready = false;
  const running = runService({
    start: (signal) => {
      const { promise, reject } = Promise.withResolvers<never>();
      signal.addEventListener("abort", () => reject(signal.reason));
      return promise;
    },
    onReady: () => void (ready = true),
  }, context);
  context.signal("SIGINT");
  assertEquals([await running, ready], [0, false]);
});

Deno.test("a stop that hangs is cut short and said", async () => {
  const context = testContext();
  const { service } = controlled();
  const running = runService({
    start: () => Promise.resolve(service),
    onReady: () => context.signal("SIGTERM"),
    stopMsMax: 5,
  }, context);
  await rejects(running, { code: "timedOut" });
});

Deno.test("the ready line is one line", () => {
  assertEquals(
    readyLine("colony", ["mesh=reef", "name=co\nlony", "wg=0.0.0.0:51820"]),
    "ready colony mesh=reef name=co; lony wg=0.0.0.0:51820",
  );
});
