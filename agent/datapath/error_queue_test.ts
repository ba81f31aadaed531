import { deepStrictEqual as assertEquals } from "node:assert/strict";
import fc from "fast-check";
import type { SocketAddress } from "../../core/mod.ts";
import { parsePathError } from "./error_queue.ts";

const V4: SocketAddress = { hostname: "192.0.2.7", port: 51820 };
const V6: SocketAddress = { hostname: "2001:db8::7", port: 51820 };

interface Fields {
  readonly level?: number;
  readonly type?: number;
  readonly errno?: number;
  readonly origin: number;
  readonly icmp?: readonly [type: number, code: number];
  readonly info?: number;
}

/** A control message as the kernel writes it: 16 bytes of header, `sock_extended_err`, an IPv6 offender. */
function message(
  { level = 41, type = 25, errno = 111, origin, icmp = [0, 0], info = 0 }: Fields,
): Uint8Array {
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, 60n, true);
  view.setInt32(8, level, true);
  view.setInt32(12, type, true);
  view.setUint32(16, errno, true);
  bytes.set([origin, ...icmp], 20);
  view.setUint32(24, info, true);
  return bytes;
}

Deno.test("parsePathError reads what Linux wrote for a closed port on ::1", () => {
  // Recorded: recvmsg(MSG_ERRQUEUE) after a datagram to a port of ::1 that nobody listens on.
  const recorded = Uint8Array.fromHex(
    "3c00000000000000" + "29000000" + "19000000" + "6f000000030104000000000000000000" +
      "0a000000000000000000000000000000000000000000000100000000",
  );
  assertEquals(parsePathError(recorded, { hostname: "::1", port: 9 }), {
    kind: "unreachable",
    destination: { hostname: "::1", port: 9 },
    what: "port",
  });
});

Deno.test("parsePathError tells ICMP's unreachables apart, of both families and on either level", () => {
  const whats = [
    [{ origin: 2, icmp: [3, 0] }, "network"],
    [{ origin: 2, icmp: [3, 1] }, "host"],
    [{ origin: 2, icmp: [3, 3] }, "port"],
    [{ origin: 2, icmp: [3, 3], level: 0, type: 11 }, "port"],
    [{ origin: 2, icmp: [3, 13] }, "prohibited"],
    [{ origin: 3, icmp: [1, 0] }, "network"],
    [{ origin: 3, icmp: [1, 1] }, "prohibited"],
    [{ origin: 3, icmp: [1, 3] }, "host"],
    [{ origin: 3, icmp: [1, 4] }, "port"],
  ] as const;
  for (const [fields, what] of whats) {
    const error = parsePathError(message(fields), V4);
    assertEquals(error, { kind: "unreachable", destination: V4, what }, JSON.stringify(fields));
  }
});

Deno.test("parsePathError believes an MTU from a router down to what every link must take", () => {
  for (
    const [destination, info, mtu] of [[V4, 1400, 1400], [V4, 0, 576], [V6, 1280, 1280], [
      V6,
      68,
      1280,
    ]] as const
  ) {
    const origin = destination === V4 ? 2 : 3;
    const icmp = destination === V4 ? [3, 4] as const : [2, 0] as const;
    assertEquals(parsePathError(message({ errno: 90, origin, icmp, info }), destination), {
      kind: "packetTooBig",
      destination,
      mtu,
      local: false,
    });
  }
  const own = parsePathError(message({ errno: 90, origin: 1, info: 1450 }), V4);
  assertEquals(own, { kind: "packetTooBig", destination: V4, mtu: 1450, local: true });
});

Deno.test("parsePathError finds the error behind other control messages, and passes over what is none", () => {
  const other = new Uint8Array(24);
  new DataView(other.buffer).setBigUint64(0, 20n, true);
  const behind = Uint8Array.from([...other, ...message({ origin: 2, icmp: [3, 3] })]);
  assertEquals(parsePathError(behind, V4)?.kind, "unreachable");
  // Time exceeded, source quench, a code that does not exist, a timestamp.
  for (const icmp of [[11, 0], [4, 0], [3, 99]] as const) {
    assertEquals(parsePathError(message({ origin: 2, icmp }), V4), undefined);
  }
  assertEquals(parsePathError(message({ origin: 4, errno: 42 }), V4), undefined);
  assertEquals(parsePathError(new Uint8Array(), V4), undefined);
});

Deno.test("parsePathError takes any bytes without a throw or an endless loop", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 128 }), (bytes) => {
    const error = parsePathError(bytes, V6);
    return error === undefined || error.destination === V6;
  }));
  fc.assert(fc.property(fc.nat(63), fc.nat(255), (at, value) => {
    const bytes = message({ origin: 2, icmp: [3, 3] });
    bytes[at] = value;
    parsePathError(bytes, V4);
  }));
});
