import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import { systemClock, wallClock } from "./clock.ts";
import { systemRng } from "./entropy.ts";
import { type InterfaceAddress, listInterfaces, watchInterfaces } from "./interfaces.ts";

Deno.test("systemClock never goes back, wallClock is in this century", () => {
  let last = systemClock.now();
  for (let i = 0; i < 1000; i++) {
    const now = systemClock.now();
    ok(now >= last);
    last = now;
  }
  ok(wallClock.unixMs() > 1_700_000_000_000);
});

Deno.test("systemRng fills any length to the end", () => {
  for (const length of [0, 1, 32, 65_536, 200_000]) {
    const bytes = systemRng.bytes(length);
    assertEquals(bytes.length, length);
    // 64 zero bytes at the end of a filled buffer have a chance of 2^-512.
    if (length >= 64) ok(bytes.subarray(-64).some((byte) => byte !== 0));
  }
});

Deno.test("listInterfaces has the loopback address in canonical form", () => {
  ok(listInterfaces().some((i) => i.family === 4 && i.address === "127.0.0.1"));
  for (const { address, family } of listInterfaces()) {
    assertEquals(address.includes(":") ? 6 : 4, family);
    ok(!address.includes("%"));
  }
});

Deno.test("watchInterfaces tells each change once and stops with its signal", async () => {
  const a: InterfaceAddress = { name: "e", family: 4, address: "10.0.0.1" };
  const b: InterfaceAddress = { name: "e", family: 4, address: "10.0.0.2" };
  const looks: (InterfaceAddress[] | undefined)[] = [[a], [a], [a, b], undefined, [a, b], [b]];
  const told: unknown[] = [];
  const controller = new AbortController();
  const done = Promise.withResolvers<void>();
  const first = watchInterfaces({
    intervalMs: 1,
    signal: controller.signal,
    list: () => {
      const look = looks.shift();
      if (look === undefined) throw new Error("a look that fails");
      return look;
    },
    onChange: (addresses) => {
      told.push(addresses);
      if (looks.length > 0) return;
      controller.abort();
      done.resolve();
    },
  });
  // The watch alone does not keep the process alive.
  const alive = setTimeout(() => done.reject(new Error("no change was told")), 5000);
  await done.promise;
  clearTimeout(alive);
  assertEquals(first, [a]);
  assertEquals(told, [[a, b], [b]]);
});

Deno.test({
  name: "onTermination closes on the first signal and lets the second one kill",
  ignore: Deno.build.os === "windows",
  async fn(): Promise<void> {
    const script = `
      import { onTermination } from ${JSON.stringify(import.meta.resolve("./signals.ts"))};
      const { signal } = onTermination();
      signal.addEventListener("abort", () => console.log("closing " + signal.reason));
      setInterval(() => {}, 1000);
      console.log("ready");`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", script],
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assertEquals((await reader.read()).value, "ready\n");
    child.kill("SIGTERM");
    assertEquals((await reader.read()).value, "closing SIGTERM\n");
    child.kill("SIGINT");
    assertEquals((await child.status).signal, "SIGINT");
    await reader.cancel();
  },
});
