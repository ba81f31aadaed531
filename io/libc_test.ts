import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { Libc } from "./libc.ts";

Deno.test({
  name: "Libc is open as long as anybody on the thread uses it",
  ignore: Deno.build.os !== "linux",
  fn: () => {
    const used = (libc: Libc): boolean => libc.addressOf(new Uint8Array(8)) > 0n;
    const first = Libc.open();
    const second = Libc.open();
    assertEquals(first.calls, second.calls);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    assertEquals(used(second), true);
    second[Symbol.dispose]();
    using again = Libc.open();
    assertEquals(used(again), true);
  },
});
