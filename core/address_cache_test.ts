import { deepStrictEqual as assertEquals, ok, strictEqual } from "node:assert/strict";
import { formatIp } from "./address.ts";
import { AddressCache } from "./address_cache.ts";

Deno.test("AddressCache gives the same object for the same bytes, and never another's", () => {
  const cache = new AddressCache();
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  // Far more than it remembers, so that most are forgotten again.
  for (let i = 0; i < 20_000; i++) {
    const words = i % 2 === 0 ? 1 : 4;
    const port = i * 7 % 65_536;
    for (let word = 0; word < 4; word++) {
      view.setUint32(5 + 4 * word, Math.imul(i, 0x9e3779b1 + word));
    }
    const found = cache.find(view, 5, { words, port });
    assertEquals(found, { hostname: formatIp(bytes.subarray(5, 5 + 4 * words)), port });
    strictEqual(cache.find(view, 5, { words, port }), found);
  }
});

Deno.test("AddressCache tells port, family and each word apart", () => {
  const cache = new AddressCache();
  const view = new DataView(new ArrayBuffer(16));
  const first = cache.find(view, 0, { words: 4, port: 1 });
  ok(cache.find(view, 0, { words: 4, port: 2 }) !== first);
  ok(cache.find(view, 0, { words: 1, port: 1 }).hostname === "0.0.0.0");
  for (const word of [0, 4, 8, 12]) {
    view.setUint32(word, 1);
    ok(cache.find(view, 0, { words: 4, port: 1 }).hostname !== first.hostname);
    view.setUint32(word, 0);
  }
});

Deno.test("AddressCache makes an IPv4-mapped address an IPv4 one", () => {
  const view = new DataView(
    Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1).buffer,
  );
  assertEquals(new AddressCache().find(view, 0, { words: 4, port: 9 }), {
    hostname: "10.0.0.1",
    port: 9,
  });
});
