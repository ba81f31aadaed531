import { deepStrictEqual as assertEquals, strictEqual } from "node:assert/strict";
import { MorayError } from "../core/mod.ts";
import { fromSystem } from "./errors.ts";

Deno.test("fromSystem names what the system threw", async () => {
  const held = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = held.addr as Deno.NetAddr;
  const cases: readonly [string, () => unknown, string, string][] = [
    [
      `bind TCP port ${port}`,
      () => Deno.listen({ hostname: "127.0.0.1", port }),
      "portInUse",
      `Cannot bind TCP port ${port}: address is in use`,
    ],
    [
      "bind",
      () => Deno.listen({ hostname: "192.0.2.77", port: 0 }),
      "usage",
      "Cannot bind: this host has no such address",
    ],
    ["read x", () => Deno.readTextFile("/nowhere/x"), "usage", "Cannot read x: no such file"],
    [
      "connect",
      () => Deno.connect({ hostname: "127.0.0.1", port: 1 }),
      "refused",
      "Cannot connect: connection refused",
    ],
    [
      "connect",
      () => Deno.connect({ hostname: "nowhere.invalid", port: 1 }),
      "unreachable",
      "Cannot connect: no such host name",
    ],
    [
      "wait",
      () => Promise.reject(new DOMException("x", "AbortError")),
      "closed",
      "Cannot wait: cancelled",
    ],
    [
      "open",
      () => Promise.reject(new Deno.errors.PermissionDenied("x")),
      "permission",
      "Cannot open: permission denied",
    ],
    ["go on", () => Promise.reject(new Error("a\n b")), "internal", "Cannot go on: a; b"],
    ["go on", () => Promise.reject("text"), "internal", "Cannot go on: text"],
    [
      "go on",
      () => Promise.reject({ code: "constructor" }),
      "internal",
      "Cannot go on: [object Object]",
    ],
  ];
  for (const [what, act, code, message] of cases) {
    const error = fromSystem(await thrownBy(act), what);
    assertEquals([error.code, error.message], [code, message]);
  }
  held.close();
});

Deno.test({
  name: "fromSystem tells a full disk",
  ignore: Deno.build.os !== "linux",
  async fn(): Promise<void> {
    const error = fromSystem(
      await thrownBy(() => Deno.writeTextFile("/dev/full", "x")),
      "write /dev/full",
    );
    assertEquals([error.code, error.message], ["diskFull", "No space left to write /dev/full"]);
  },
});

Deno.test("fromSystem leaves our own errors alone", () => {
  const ours = new MorayError("key", "x");
  strictEqual(fromSystem(ours, "y"), ours);
});

async function thrownBy(act: () => unknown): Promise<unknown> {
  try {
    await act();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
