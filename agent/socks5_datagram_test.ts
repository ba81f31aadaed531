import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import fc from "fast-check";
import { decodeSocks5Datagram, encodeSocks5Datagram } from "./socks5_datagram.ts";

const text = (text: string): number[] => [...new TextEncoder().encode(text)];

Deno.test("a client's datagram names an address of either family, or a name", () => {
  const cases: [number[], string][] = [
    [[1, 10, 42, 0, 7], "10.42.0.7"],
    [[4, 0xfd, ...Array(14).fill(0), 7], "fd00::7"],
    [[3, 6, ...text("colony")], "colony"],
  ];
  for (const [address, host] of cases) {
    const bytes = Uint8Array.of(0, 0, 0, ...address, 0, 53, ...text("query"));
    const decoded = decodeSocks5Datagram(bytes);
    assert(decoded.kind === "datagram");
    assertEquals([decoded.host, decoded.port], [host, 53]);
    assertEquals([...decoded.payload], text("query"));
    for (let cut = 0; cut < 4 + address.length + 1; cut++) {
      assertEquals(decodeSocks5Datagram(bytes.subarray(0, cut)).kind, "malformed");
    }
  }
});

Deno.test("fragments, foreign bytes, empty names and port 0 are told apart", () => {
  const kind = (...bytes: number[]): string => decodeSocks5Datagram(Uint8Array.from(bytes)).kind;
  assertEquals(kind(0, 0, 1, 1, 10, 42, 0, 7, 0, 53, 1), "fragment");
  assertEquals(kind(0, 0, 0x80, 1), "fragment");
  assertEquals(kind(0, 1, 0, 1, 10, 42, 0, 7, 0, 53), "malformed");
  assertEquals(kind(0, 0, 0, 2, 10, 42, 0, 7, 0, 53), "malformed");
  assertEquals(kind(0, 0, 0, 3, 0, 0, 53), "malformed");
  assertEquals(kind(0, 0, 0, 3, 1, 32, 0, 53), "malformed");
  assertEquals(kind(0, 0, 0, 1, 10, 42, 0, 7, 0, 0), "malformed");
  assertEquals(kind(0, 0, 0, 1, 10, 42, 0, 7, 0, 53), "datagram");
});

Deno.test("what is encoded is decoded, and no bytes make the decoder throw", () => {
  for (const hostname of ["10.42.0.7", "fd00::7"]) {
    const payload = Uint8Array.from(text("answer"));
    const bytes = encodeSocks5Datagram({ hostname, port: 65_535 }, payload);
    assertEquals(decodeSocks5Datagram(bytes), {
      kind: "datagram",
      host: hostname,
      port: 65_535,
      payload,
    });
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      decodeSocks5Datagram(bytes);
      decodeSocks5Datagram(Uint8Array.of(0, 0, 0, ...bytes));
    }),
    { numRuns: 2000 },
  );
});
