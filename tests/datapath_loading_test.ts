import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { LoadingDatapath } from "../agent/datapath/loading.ts";
import { startDatapath } from "../agent/datapath/start.ts";
import { eventually } from "./support/scope.ts";

const OPTIONS = {
  privateKey: new Uint8Array(32).fill(7),
  port: 0,
  mtu: 1420,
  driver: "portable",
  onEvent: (): void => {},
} as const;

Deno.test("a datapath that loads already is taken over, and is not ended by whoever began it", async () => {
  const datapath = await (async () => {
    using loading = LoadingDatapath.begin();
    return await startDatapath(OPTIONS, loading);
  })();
  const { driver } = await datapath.client.send({ kind: "status" });
  assertEquals(driver, "portable");
  await datapath.stop(2000);
});

Deno.test({
  name: "a loading datapath that nobody takes over ends",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const threads = (): number => [...Deno.readDirSync("/proc/self/task")].length;
    // The first Worker of a process also starts threads that stay.
    LoadingDatapath.begin()[Symbol.dispose]();
    await eventually("the threads of the first to be there", () => threads() > 1 || undefined);
    const loading = LoadingDatapath.begin();
    await loading.engine;
    const before = threads();
    loading[Symbol.dispose]();
    await eventually("its thread to end", () => threads() < before || undefined);
  },
});

Deno.test("a loading datapath tells whoever takes it over of a failure, before and after", () => {
  using loading = LoadingDatapath.begin();
  const fail = (message: string): void =>
    void loading.worker.dispatchEvent(new ErrorEvent("error", { message, cancelable: true }));
  const told: string[] = [];
  fail("early");
  loading.take((message) => told.push(message));
  fail("late");
  assertEquals(told, ["early", "late"]);
  loading.worker.terminate();
});
