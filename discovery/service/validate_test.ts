import { deepStrictEqual as assertEquals, throws as assertThrows } from "node:assert/strict";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  NatHint,
  RegisterAgentRequestSchema,
  RegisterColonyRequestSchema,
} from "../../proto/mod.ts";
import { agent, colony, key } from "../testing/nodes.ts";
import { agentContent, colonyContent } from "./validate.ts";

type ColonyInit = MessageInitShape<typeof RegisterColonyRequestSchema>;

const COLONY = {
  meshId: "reef",
  pubkey: key(1),
  endpoints: ["192.0.2.1:51820"],
} satisfies ColonyInit;

function contentOf(part: ColonyInit): ReturnType<typeof colonyContent> {
  return colonyContent(create(RegisterColonyRequestSchema, { ...COLONY, ...part }), false);
}

Deno.test("colonyContent and agentContent keep everything of a good registration", () => {
  const observed = { ip: "203.0.113.1", port: 40001, protocol: "udp" };
  const request = {
    ...COLONY,
    name: "colony",
    observedEndpoint: observed,
    nat: NatHint.NAT_CONE,
    meshIpv4: "10.42.0.1",
    meshIpv6: "FD00:0::1",
    connectPort: 9000,
    metadata: { site: "home" },
  };
  assertEquals(colonyContent(create(RegisterColonyRequestSchema, request), false), colony());
  assertEquals(
    agentContent(
      create(RegisterAgentRequestSchema, {
        ...COLONY,
        pubkey: key(2),
        agentId: "a2",
        name: "a2",
        endpoints: ["192.0.2.2:51820"],
        nat: NatHint.NAT_CONE,
        metadata: { site: "home" },
      }),
      false,
    ),
    agent(2),
  );
});

Deno.test("colonyContent makes endpoints canonical and drops repetitions", () => {
  const { endpoints, observedEndpoints } = contentOf({
    endpoints: ["[2001:DB8:0::1]:5", "[2001:db8::1]:5", "[::ffff:192.0.2.9]:6", "127.0.0.1:7"],
    observedEndpoint: { ip: "203.0.113.1", port: 1 },
    observedEndpoints: [{ ip: "2001:DB8::2", port: 2, protocol: "udp" }, {
      ip: "203.0.113.1",
      port: 1,
      protocol: "udp",
    }],
  });
  assertEquals(endpoints, ["[2001:db8::1]:5", "192.0.2.9:6", "127.0.0.1:7"]);
  assertEquals(observedEndpoints, [
    { ip: "203.0.113.1", port: 1, viaRelay: false },
    { ip: "2001:db8::2", port: 2, viaRelay: false },
  ]);
});

Deno.test("colonyContent takes a registration with an observed endpoint only", () => {
  assertEquals(
    contentOf({ endpoints: [], observedEndpoint: { ip: "203.0.113.1", port: 1 } }).endpoints,
    [],
  );
});

const many = <T>(length: number, item: (i: number) => T): T[] =>
  Array.from({ length }, (_, i) => item(i));

/** A bad part, and words of the message that name the field and the fault. */
const REFUSED: readonly (readonly [ColonyInit, RegExp])[] = [
  [{ meshId: "" }, /^mesh_id is required$/],
  [{ meshId: "a b" }, /^mesh_id "a b" is not/],
  [{ meshId: "-a" }, /^mesh_id/],
  [{ meshId: "a\n" }, /^mesh_id "a\\n" is not/],
  [{ meshId: "a".repeat(254) }, /^mesh_id "a+\.\.\." is not/],
  [{ pubkey: "" }, /^pubkey is required$/],
  [{ pubkey: "x" }, /^pubkey is not 32 bytes in base64$/],
  [{ pubkey: key(1).slice(0, -1) }, /^pubkey is not/],
  [{ pubkey: btoa("a".repeat(31)) }, /^pubkey is not/],
  [{ pubkey: key(0) }, /^pubkey is all zeros$/],
  [{ endpoints: [] }, /^at least one of endpoints and observed_endpoint is required$/],
  [{ endpoints: ["192.0.2.1:51820", ""] }, /^endpoints\[1\] "" is empty$/],
  [{ endpoints: ["192.0.2.1:0"] }, /^endpoints\[0\] "192\.0\.2\.1:0" has port 0$/],
  [{ endpoints: [":51820"] }, /^endpoints\[0\] ":51820" has no host$/],
  [{ endpoints: ["[]:51820"] }, /has no host$/],
  [{ endpoints: ["192.0.2.1"] }, /has no port$/],
  [{ endpoints: ["192.0.2.1:"] }, /has no port$/],
  [{ endpoints: ["[2001:db8::1]"] }, /is not an IP literal with a port$|has no port$/],
  [{ endpoints: ["192.0.2.1:65536"] }, /has a port above 65535$/],
  [{ endpoints: ["192.0.2.1:-1"] }, /is not an IP literal with a port$|has no port$/],
  [{ endpoints: ["colony.example:51820"] }, /is not an IP literal with a port$/],
  [{ endpoints: ["localhost:51820"] }, /is not an IP literal/],
  [{ endpoints: ["2001:db8::1:51820"] }, /is an IPv6 address that needs brackets and a port$/],
  [{ endpoints: ["2001:db8::1"] }, /is an IPv6 address that needs brackets and a port$/],
  [{ endpoints: ["[192.0.2.1]:51820"] }, /has an IPv4 address in brackets$/],
  [{ endpoints: ["[fe80::1%eth0]:51820"] }, /is not an IP literal/],
  [{ endpoints: ["192.0.2.01:51820"] }, /is not an IP literal/],
  [{ endpoints: ["0.0.0.0:51820"] }, /^endpoints\[0\] 0\.0\.0\.0 is an address that nobody/],
  [{ endpoints: ["[::]:51820"] }, /nobody can send to$/],
  [{ endpoints: ["224.0.0.1:51820"] }, /nobody can send to$/],
  [{ endpoints: ["255.255.255.255:51820"] }, /nobody can send to$/],
  [{ endpoints: ["[ff02::1]:51820"] }, /nobody can send to$/],
  [
    { endpoints: many(33, (i) => `192.0.2.1:${i + 1}`) },
    /^endpoints has 33 entries, at most 32 are allowed$/,
  ],
  [{ observedEndpoint: { ip: "", port: 1 } }, /^observed_endpoint\.ip is required$/],
  [{ observedEndpoint: { ip: "host", port: 1 } }, /^observed_endpoint\.ip "host" is not an IP/],
  [
    { observedEndpoint: { ip: "192.0.2.1", port: 0 } },
    /^observed_endpoint\.port 0 is not 1 to 65535$/,
  ],
  [{ observedEndpoint: { ip: "192.0.2.1", port: 65536 } }, /^observed_endpoint\.port 65536/],
  [
    { observedEndpoint: { ip: "192.0.2.1", port: 1, protocol: "tcp" } },
    /^observed_endpoint\.protocol "tcp" is not "udp"$/,
  ],
  [
    { observedEndpoints: [{ ip: "192.0.2.1", port: 1 }, { ip: "::", port: 1 }] },
    /^observed_endpoints\[1\]\.ip :: is an address that nobody can send to$/,
  ],
  [
    { observedEndpoints: many(33, (i) => ({ ip: "192.0.2.1", port: i + 1 })) },
    /^observed_endpoints has 33 entries/,
  ],
  [{ meshIpv4: "fd00::1" }, /^mesh_ipv4 "fd00::1" is not an IPv4 literal$/],
  [{ meshIpv6: "10.42.0.1" }, /^mesh_ipv6 "10\.42\.0\.1" is not an IPv6 literal$/],
  [{ meshIpv6: "::ffff:10.42.0.1" }, /^mesh_ipv6/],
  [{ meshIpv4: "10.42.0.1/16" }, /^mesh_ipv4/],
  [{ connectPort: 65536 }, /^connect_port 65536 is above 65535$/],
  [{ publicPort: 70000 }, /^public_port 70000 is above 65535$/],
  [{ name: "Colony" }, /^name "Colony" is not a DNS label in lower case$/],
  [{ name: "a.b" }, /^name/],
  [{ name: "a".repeat(64) }, /^name/],
  [{ nat: 4 as 3 }, /^nat 4 is not a NatHint$/],
  [
    { metadata: Object.fromEntries(many(33, (i) => [`k${i}`, "v"])) },
    /^metadata has 33 entries, at most 32 are allowed$/,
  ],
  [{ metadata: { k: "ü".repeat(4096) } }, /^metadata has 8193 bytes, at most 8192 are allowed$/],
  [{ publicEndpoint: { caCert: "x".repeat(33_000) } }, /^public_endpoint has 330\d\d bytes/],
  [
    { publicEndpoint: { updatedAt: { seconds: 10n ** 15n } } },
    /^public_endpoint\.updated_at is out of range$/,
  ],
];

Deno.test("colonyContent refuses what makes no sense and names the field", () => {
  for (const [part, message] of REFUSED) {
    assertThrows(() => contentOf(part), (error: unknown) => {
      assertEquals(error instanceof ConnectError && error.code, Code.InvalidArgument);
      const text = error instanceof ConnectError ? error.rawMessage : String(error);
      assertEquals(message.test(text), true, `${text} for ${message}`);
      assertEquals(text.length < 200 && !text.includes("\n"), true, text);
      return true;
    });
  }
});

Deno.test("agentContent asks for an agent id", () => {
  for (const [agentId, message] of [["", /required/], ["a b", /printable/], ["é", /printable/]]) {
    const request = create(RegisterAgentRequestSchema, { ...COLONY, agentId: String(agentId) });
    assertThrows(() => agentContent(request, false), { rawMessage: message });
  }
});
