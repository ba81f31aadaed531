import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import fc from "fast-check";
import { formatSocketAddress } from "../core/mod.ts";
import {
  type Candidate,
  type CandidateKind,
  CANDIDATES_MAX,
  HOST_CANDIDATES_MAX,
  hostCandidates,
  type InterfaceAddress,
  mergeCandidates,
  parseEndpoint,
  UNROUTED_CANDIDATES_MAX,
} from "./candidate.ts";
import { fuzzRuns, mutate, seeded } from "./testing/fuzz.ts";

Deno.test("hostCandidates leaves out loopback, link-local and virtual interfaces", () => {
  const interfaces = [
    of("lo", "127.0.0.1"),
    of("lo", "::1"),
    of("eth0", "192.168.1.20"),
    of("eth0", "fe80::1"),
    of("eth0", "2001:DB8:0::5"),
    of("wlan0", "169.254.7.7"),
    of("wlan0", "10.0.0.5"),
    of("vEthernet (External)", "10.9.9.9"),
    of("broken", "fe80::1%eth0"),
    of("self", "10.42.0.1"),
  ];
  const virtual = ["tun0", "tap3", "docker0", "vethab12", "br-77aa", "wg0", "moray0", "tailscale0"];
  for (const name of [...virtual, "Tailscale", "ZeroTier One", "ztabc", "utun4", "virbr0"]) {
    interfaces.push(of(name, "10.1.1.1"));
  }
  const candidates = hostCandidates(interfaces, 51820, { exclude: ["self"] });
  assertEquals(candidates.map(show), [
    "host [2001:db8::5]:51820",
    "host 192.168.1.20:51820",
    "host 10.0.0.5:51820",
    "host 10.9.9.9:51820",
  ]);
  assertEquals(candidates[0]?.via, "eth0");
});

Deno.test("hostCandidates lists an address once and at most HOST_CANDIDATES_MAX", () => {
  const many = Array.from({ length: 300 }, (_, i) => of("eth0", `10.0.${i >> 8}.${i & 255}`));
  assertEquals(hostCandidates([...many, ...many], 1).length, HOST_CANDIDATES_MAX);
  assertEquals(hostCandidates([of("eth0", "10.0.0.1"), of("eth1", "10.0.0.1")], 1).length, 1);
});

Deno.test("hostCandidates keeps what leads everywhere among 32 interfaces that lead nowhere", () => {
  const bogus = Array.from({ length: 32 }, (_, i) => [
    of(`a${i}`, `10.200.${i}.1`),
    of(`a${i}`, `fd00:200:${i}::1`),
  ]).flat();
  const real = [of("eth0", "192.168.1.20"), of("eth0", "2001:db8::5")]
    .map((address) => ({ ...address, routed: true }));
  const shown = hostCandidates([...bogus, ...real], 1).map(show);
  assertEquals(shown.length, 2 + UNROUTED_CANDIDATES_MAX);
  assertEquals(shown[0], "host [2001:db8::5]:1");
  assert(shown.includes("host 192.168.1.20:1"));
  assertEquals(hostCandidates(bogus, 1).length, HOST_CANDIDATES_MAX, "nothing better is known");
});

Deno.test("mergeCandidates ranks by kind, then family, and keeps the best kind of an address", () => {
  const merged = mergeCandidates(
    [of4("relayed", 1), of4("serverReflexive", 2), of4("peerReflexive", 3)],
    [of4("host", 2), of4("configured", 4), of4("portMapped", 5), of4("host", 6)],
    [{ kind: "host", address: { hostname: "2001:db8::1", port: 1 } }],
  );
  assertEquals(merged.map(show), [
    "host [2001:db8::1]:1",
    "host 198.51.100.2:1",
    "host 198.51.100.6:1",
    "configured 198.51.100.4:1",
    "portMapped 198.51.100.5:1",
    "peerReflexive 198.51.100.3:1",
    "relayed 198.51.100.1:1",
  ]);
});

Deno.test("mergeCandidates keeps at most CANDIDATES_MAX, the best", () => {
  const relayed = Array.from({ length: 40 }, (_, i) => of4("relayed", i));
  const merged = mergeCandidates(relayed, [of4("host", 99)]);
  assertEquals(merged.length, CANDIDATES_MAX);
  assertEquals(merged[0]?.kind, "host");
});

Deno.test("merging is idempotent and never lists an address twice", () => {
  const kind = fc.constantFrom<CandidateKind>("host", "relayed", "serverReflexive", "configured");
  const candidate = fc.tuple(kind, fc.integer({ min: 0, max: 50 })).map(([k, n]) => of4(k, n));
  fc.assert(fc.property(fc.array(candidate, { maxLength: 80 }), (list) => {
    const merged = mergeCandidates(list);
    assertEquals(mergeCandidates(merged, merged), merged);
    assertEquals(new Set(merged.map(({ address }) => address.hostname)).size, merged.length);
  }));
});

Deno.test("parseEndpoint accepts what a peer can have and gives the canonical form", () => {
  const good = {
    "192.0.2.1:51820": "192.0.2.1:51820",
    "10.0.0.1:1": "10.0.0.1:1",
    "[2001:DB8::1]:65535": "[2001:db8::1]:65535",
    "[::ffff:203.0.113.9]:80": "203.0.113.9:80",
    "[fd00::1]:9": "[fd00::1]:9",
  };
  for (const [text, expected] of Object.entries(good)) {
    const endpoint = parseEndpoint(text);
    assertEquals(endpoint && formatSocketAddress(endpoint), expected);
  }
  const address = { hostname: "2001:DB8::1", port: 9 };
  assertEquals(parseEndpoint(address), { hostname: "2001:db8::1", port: 9 });
});

Deno.test("parseEndpoint refuses what no peer can have", () => {
  const never = [
    "",
    "x",
    "example.com:80",
    "192.0.2.1",
    "192.0.2.1:0",
    "192.0.2.1:65536",
    "1.2.3:4",
  ];
  never.push("0.0.0.0:1", "0.1.2.3:1", "224.0.0.1:1", "255.255.255.255:1", "240.0.0.1:1", "[::]:1");
  never.push(
    "[ff02::1]:1",
    "[::ffff:224.0.0.1]:1",
    "[::7f00:1]:1",
    "[::ffff:0.0.0.0]:1",
    "[::1]:0",
  );
  for (const text of never) {
    assertEquals(parseEndpoint(text, { allowLocal: true }), undefined, text);
  }
  for (const port of [0, -1, 1.5, NaN, 70000]) {
    assertEquals(parseEndpoint({ hostname: "192.0.2.1", port }), undefined);
  }
  assertEquals(parseEndpoint({ hostname: "example.com", port: 1 }), undefined);
});

Deno.test("parseEndpoint accepts local addresses only when allowed", () => {
  const local = ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "169.254.169.254:80", "[fe80::1]:1"];
  for (const text of [...local, "[::ffff:127.0.0.1]:1"]) {
    assertEquals(parseEndpoint(text), undefined, text);
    assert(parseEndpoint(text, { allowLocal: true }) !== undefined, text);
  }
});

Deno.test("no text makes parseEndpoint throw, and what it accepts it accepts again", () => {
  function check(text: string): boolean {
    const endpoint = parseEndpoint(text);
    if (endpoint !== undefined) {
      assertEquals(parseEndpoint(formatSocketAddress(endpoint)), endpoint);
    }
    return endpoint !== undefined;
  }
  fc.assert(fc.property(fc.string(), (text) => void check(text)));
  const rng = seeded(4);
  const samples = ["192.0.2.1:51820", "[2001:db8::1]:51820", "[::ffff:203.0.113.9]:80"]
    .map((text) => new TextEncoder().encode(text));
  let accepted = 0;
  for (let run = fuzzRuns(); run > 0; run--) {
    const bytes = mutate(rng, samples[run % samples.length] ?? new Uint8Array());
    if (check(String.fromCharCode(...bytes))) accepted++;
  }
  assert(accepted > 100, `${accepted} accepted`);
});

function of(name: string, address: string): InterfaceAddress {
  return { name, address };
}

function of4(kind: CandidateKind, n: number): Candidate {
  return { kind, address: { hostname: `198.51.100.${n}`, port: 1 } };
}

function show({ kind, address }: Candidate): string {
  return `${kind} ${formatSocketAddress(address)}`;
}
