import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { Buffer } from "node:buffer";
// @ts-types="./dns_packet.d.ts"
import packet, { type Packet } from "dns-packet";
import fc from "fast-check";
import { meshIpv6Of } from "../addressing.ts";
import { NameTable } from "../names.ts";
import { type DnsReply, QUERY_BYTES_MAX, REPLY_BYTES_MAX, replyTo } from "./reply.ts";
import { MeshZone, NEGATIVE_TTL_SECONDS, TTL_SECONDS } from "./zone.ts";

const WEB = meshIpv6Of("reef", new Uint8Array(32).fill(7));
const SUBNET_REVERSE = reverseOf(WEB).split(".").slice(16).join(".");

function zone(): MeshZone {
  const names = new NameTable("reef");
  assert(names.set("web", WEB, "10.42.0.9"));
  assert(names.set("six", meshIpv6Of("reef", new Uint8Array(32).fill(8))));
  return new MeshZone("reef", names);
}

function query(name: string, type: string, more: Packet = {}): Uint8Array {
  const question = { name, type };
  return Uint8Array.from(packet.encode({
    type: "query",
    id: 77,
    flags: packet.RECURSION_DESIRED,
    questions: [question],
    ...more,
  }));
}

interface Read extends Packet {
  readonly rcode: number;
  readonly aa: boolean;
  readonly rd: boolean;
  readonly ra: boolean;
}

function read({ bytes }: DnsReply): Read {
  assert(bytes);
  const all = packet.decode(Buffer.from(bytes));
  const flags = all.flags ?? 0;
  return {
    ...all,
    rcode: flags & 15,
    aa: (flags & 0x400) !== 0,
    rd: (flags & 0x100) !== 0,
    ra: (flags & 0x80) !== 0,
  };
}

function ask(name: string, type: string, more?: Packet): Read {
  return read(replyTo(query(name, type, more), zone()));
}

/** The name of an IPv6 address in ip6.arpa. */
function reverseOf(address: string): string {
  const [head = "", tail = ""] = address.split("::");
  const groups = (text: string): string[] => text === "" ? [] : text.split(":");
  const [a, b] = [groups(head), groups(tail)];
  const zeros = Array.from({ length: 8 - a.length - b.length }, () => "0");
  const all = address.includes("::") ? [...a, ...zeros, ...b] : a;
  return `${
    all.map((one) => one.padStart(4, "0")).join("").split("").reverse().join(".")
  }.ip6.arpa`;
}

Deno.test("a node's name has its addresses, in the case it was asked in", () => {
  const four = ask("Web.REEF.internal", "A");
  assertEquals(four.answers, [{
    name: "Web.REEF.internal",
    type: "A",
    ttl: TTL_SECONDS,
    class: "IN",
    flush: false,
    data: "10.42.0.9",
  }]);
  assertEquals([four.id, four.rcode, four.aa, four.rd, four.ra], [
    77,
    0,
    true,
    true,
    false,
  ]);
  assertEquals(ask("web.reef.internal", "AAAA").answers?.map((one) => "data" in one && one.data), [
    WEB,
  ]);
  assertEquals(ask("web.reef.internal", "ANY").answers?.length, 2);
});

Deno.test("a name without such a record, and no such name, say by SOA how long that holds (RFC 2308)", () => {
  for (
    const [name, type, rcode, zoneName] of [
      ["six.reef.internal", "A", 0, "reef.internal"],
      ["web.reef.internal", "MX", 0, "reef.internal"],
      ["reef.internal", "A", 0, "reef.internal"],
      ["nobody.reef.internal", "A", 3, "reef.internal"],
      ["a.web.reef.internal", "A", 3, "reef.internal"],
      [reverseOf(WEB).replace(/^./, "x"), "PTR", 3, SUBNET_REVERSE],
      [reverseOf(WEB).slice(2), "PTR", 0, SUBNET_REVERSE],
    ] as const
  ) {
    const reply = ask(name, type);
    assertEquals([name, reply.rcode, reply.answers], [name, rcode, []]);
    const [soa] = reply.authorities ?? [];
    assert(soa?.type === "SOA", name);
    assertEquals([soa.name, soa.ttl, soa.data.minimum], [
      zoneName,
      NEGATIVE_TTL_SECONDS,
      NEGATIVE_TTL_SECONDS,
    ]);
  }
});

Deno.test("addresses of nodes have their names", () => {
  for (const name of [reverseOf(WEB), reverseOf(WEB).toUpperCase(), "9.0.42.10.in-addr.arpa"]) {
    const [pointer] = ask(name, "PTR").answers ?? [];
    assertEquals(pointer?.type === "PTR" && pointer.data, "web.reef.internal", name);
  }
});

Deno.test("what is not the mesh's is refused, and nothing is said of it", () => {
  for (
    const name of [
      "example.com",
      "internal",
      "other.internal",
      "web.other.internal",
      "notreef.internal",
      "web",
      ".",
      "1.0.42.10.in-addr.arpa",
      "42.10.in-addr.arpa",
      "x.y.in-addr.arpa",
      reverseOf("fd00::1"),
      reverseOf("::1"),
    ]
  ) {
    for (const type of ["A", "PTR", "SOA", "ANY"]) {
      const reply = ask(name, type);
      assertEquals([name, reply.rcode, reply.answers, reply.authorities], [name, 5, [], []]);
      assertEquals(reply.aa, false);
    }
  }
  const chaos = packet.encode({
    type: "query",
    questions: [{ name: "web.reef.internal", type: "TXT", class: "CH" }],
  });
  assertEquals(read(replyTo(chaos, zone())).rcode, 5);
});

Deno.test("EDNS is answered in its version 0, other versions are refused (RFC 6891 section 6.1.3)", () => {
  const opt = (ednsVersion: number) =>
    ({ type: "OPT", name: ".", udpPayloadSize: 4096, ednsVersion, flags: 0, options: [] }) as never;
  const plain = ask("web.reef.internal", "A");
  assertEquals(plain.additionals, []);
  const known = ask("web.reef.internal", "A", { additionals: [opt(0)] });
  assertEquals([known.answers?.length, known.additionals?.[0]?.type], [1, "OPT"]);
  const newer = ask("web.reef.internal", "A", { additionals: [opt(1)] });
  const [said] = newer.additionals ?? [];
  assert(said?.type === "OPT");
  assertEquals([newer.rcode, said.extendedRcode, newer.answers], [0, 1, []]);
  const twice = replyTo(
    query("web.reef.internal", "A", { additionals: [opt(0), opt(0)] }),
    zone(),
  );
  assertEquals([read(twice).rcode, twice.outcome], [1, "malformed"]);
});

Deno.test("the longest reply goes into the shortest datagram that every client takes", () => {
  const label = "a".repeat(63);
  const mesh = "m".repeat(63);
  const name = `${label}.${label}.${"b".repeat(52)}.${mesh}.internal`;
  assertEquals(name.length, 253);
  const opt = { type: "OPT", name: ".", udpPayloadSize: 4096, flags: 0, options: [] } as never;
  const zones = new MeshZone(mesh, new NameTable(mesh));
  const reply = replyTo(query(name, "A", { additionals: [opt] }), zones);
  assertEquals([read(reply).rcode, read(reply).authorities?.length], [3, 1]);
  assertEquals(reply.bytes?.length, 476);
  assert(476 <= REPLY_BYTES_MAX);
});

Deno.test("what is no query is ignored, and what is none of ours is told so", () => {
  const good = query("web.reef.internal", "A");
  const change = (act: (bytes: Uint8Array) => void): Uint8Array => {
    const bytes = good.slice();
    act(bytes);
    return bytes;
  };
  const outcomes = (bytes: Uint8Array) => {
    const { outcome, bytes: reply } = replyTo(bytes, zone());
    return [outcome, reply && [reply.length, (reply[3] ?? 0) & 15]];
  };
  assertEquals(outcomes(good.subarray(0, 11)), ["ignored", undefined]);
  assertEquals(outcomes(change((bytes) => bytes[2] = 0x81)), ["ignored", undefined]);
  // A NOTIFY, two questions, none, a name with a dot inside a label, one that points to itself, a question that ends early.
  assertEquals(outcomes(change((bytes) => bytes[2] = 0x21)), ["malformed", [12, 4]]);
  assertEquals(outcomes(change((bytes) => bytes[5] = 2)), ["malformed", [12, 1]]);
  assertEquals(outcomes(change((bytes) => bytes[5] = 0)), ["malformed", [12, 1]]);
  assertEquals(outcomes(change((bytes) => bytes[14] = 0x2e)), ["malformed", [12, 1]]);
  assertEquals(outcomes(change((bytes) => bytes.set([0xc0, 0x0c], 12))), ["malformed", [12, 1]]);
  assertEquals(outcomes(good.subarray(0, -1)), ["malformed", [12, 1]]);
  assertEquals(outcomes(new Uint8Array(QUERY_BYTES_MAX + 1)), ["malformed", [12, 1]]);
});

Deno.test("no bytes throw, and a reply is never longer than may be", () => {
  const zones = zone();
  const good = query("web.reef.internal", "A");
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 600 }),
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 }).map(
          (changes) => {
            const bytes = good.slice();
            for (const [at, value] of changes) bytes[at] = value;
            return bytes;
          },
        ),
      ),
      (bytes) => {
        const { bytes: reply } = replyTo(bytes, zones);
        if (reply === undefined) return;
        assert(reply.length <= REPLY_BYTES_MAX && reply.length >= 12);
        assertEquals([...reply.subarray(0, 2)], [...bytes.subarray(0, 2)]);
        assert((reply[2] ?? 0) >= 0x80, "a response");
      },
    ),
    { numRuns: 5000 },
  );
});
