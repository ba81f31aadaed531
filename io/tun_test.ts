import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { isInterfaceName, kernelPorts, portsBeside } from "./tun.ts";

Deno.test("userspace ports lie beside the kernel's, above where there are enough", () => {
  assertEquals(portsBeside({ low: 32_768, high: 60_999 }), { first: 61_000, count: 4_536 });
  assertEquals(portsBeside({ low: 32_768, high: 65_535 }), { first: 16_384, count: 16_384 });
  assertEquals(portsBeside({ low: 10_000, high: 65_000 }), { first: 1_024, count: 8_976 });
  assertEquals(portsBeside({ low: 1_024, high: 65_535 }), { first: 64_512, count: 1_024 });
});

Deno.test("the kernel's ports are a range", () => {
  const { low, high } = kernelPorts();
  assert(low > 0 && high >= low && high <= 65_535, `${low} to ${high}`);
});

Deno.test("an interface's name is what the kernel takes", () => {
  for (const name of ["moray0", "a", "x".repeat(15), "w.1-_"]) assert(isInterfaceName(name), name);
  for (const name of ["", "x".repeat(16), "a b", "a/b", "a:b", "tun%d", ".", "..", "\n"]) {
    assert(!isInterfaceName(name), JSON.stringify(name));
  }
});
