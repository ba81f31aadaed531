/** Listeners whose connections carry short segments. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { DescriptorFinder } from "../io/descriptor_finder.ts";
import { Libc } from "../io/libc.ts";
import { limitSegments } from "../io/segments.ts";

const IPPROTO_TCP = 6;
const TCP_MAXSEG = 2;
const BYTES = 1060;

Deno.test({
  name: "connections to a listener with short segments have them both ways, those to others do not",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using libc = Libc.open();
    const finder = new DescriptorFinder(libc);
    const segment = (conn: Deno.Conn): number => {
      const fd = finder.find(conn);
      assert(fd !== undefined);
      const [value, length] = [new Int32Array(1), Uint32Array.of(4)];
      const [valueBytes, lengthBytes] = [value, length].map((of) => new Uint8Array(of.buffer));
      assert(valueBytes !== undefined && lengthBytes !== undefined);
      assertEquals(libc.calls.getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, valueBytes, lengthBytes), 0);
      return value[0] ?? 0;
    };
    using short = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    using long = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    assertEquals(limitSegments(short.addr, BYTES), true);
    for (const [listener, isShort] of [[short, true], [long, false]] as const) {
      const accepting = listener.accept();
      using near = await Deno.connect({ ...listener.addr, transport: "tcp" });
      using far = await accepting;
      for (const end of [near, far]) assertEquals(segment(end) <= BYTES, isShort);
    }
  },
});

Deno.test("a port that nobody listens on has no segments", () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { addr } = listener;
  listener.close();
  assertEquals(limitSegments(addr, BYTES), false);
});
