import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  DiscoveryService,
  EndpointSchema,
  LookupAgentRequestSchema,
  NatHint,
  OpenInviteSchema,
  PathReportSchema,
  ReportPathRequestSchema,
  SignedStatementSchema,
} from "../../proto/mod.ts";
import { SqliteStore } from "../store/sqlite_store.ts";
import { key } from "../testing/nodes.ts";
import { provingClients } from "../testing/proving_client.ts";
import { parseWanted } from "./requests.ts";
import { Service } from "./service.ts";

type Calls = Client<typeof DiscoveryService>;
/** A bad request and what is said of it. */
type Bad = readonly [request: object, message: RegExp];

const KEY = key(1);
const OTHER = key(2);
const LONG = "x".repeat(254);
const SHORT_KEY = btoa("\x01".repeat(31));
const ZERO_KEY = key(0);
const SIGNED = { statement: new Uint8Array(10), signature: new Uint8Array(64) };

const ENDPOINT = { ip: "192.0.2.1", port: 1, protocol: "udp" };
const NODE = { meshId: "reef", pubkey: KEY };
const COLONY = { ...NODE, endpoints: ["192.0.2.1:51820"] };
const AGENT = { ...COLONY, agentId: "a" };
const TOKEN = { colonyId: "reef", agentId: "a", intent: "register" };
const PUNCH = { meshId: "reef", fromPubkey: KEY, toPubkey: OTHER };
const RELAY = { meshId: "reef", nodePubkey: new Uint8Array(32).fill(1) };
const VOLUNTEER = { ...NODE, secret: "s".repeat(32) };
const MANY = <T>(count: number, one: T): T[] => new Array<T>(count).fill(one);

/** A mesh id and a key that are bad, in whatever else is good. */
function badNode(good: object): Bad[] {
  return [
    [{ ...good, meshId: "" }, /^mesh_id is required$/],
    [{ ...good, meshId: LONG }, /^mesh_id "x{77}\.\.\." is not 1 to 253 /],
    [{ ...good, meshId: "re ef" }, /^mesh_id "re ef" is not/],
    [{ ...good, pubkey: "" }, /^pubkey is required$/],
    [{ ...good, pubkey: SHORT_KEY }, /^pubkey is not 32 bytes in base64$/],
    [{ ...good, pubkey: "x".repeat(1000) }, /^pubkey is not 32 bytes in base64$/],
    [{ ...good, pubkey: ZERO_KEY }, /^pubkey is all zeros$/],
  ];
}

/** What both kinds of registration must not hold. */
function badRegistration(good: object): Bad[] {
  const endpoints = (...texts: string[]): object => ({ ...good, endpoints: texts });
  const observed = (part: object): object => ({
    ...good,
    observedEndpoints: [{ ...ENDPOINT, ...part }],
  });
  const observations = (part: object): object => ({
    ...good,
    observations: [{
      endpoint: create(EndpointSchema, ENDPOINT),
      receipt: new Uint8Array(20),
      ...part,
    }],
  });
  return [
    ...badNode(good),
    [endpoints(), /^at least one of endpoints and observed_endpoint is required$/],
    [endpoints(...MANY(33, "192.0.2.1:1")), /^endpoints has 33 entries, at most 32 are allowed$/],
    [endpoints(""), /^endpoints\[0\] "" is empty$/],
    [endpoints("192.0.2.1:1", "192.0.2.1"), /^endpoints\[1\] "192\.0\.2\.1" has no port$/],
    [endpoints("192.0.2.1:0"), /has port 0$/],
    [endpoints("192.0.2.1:65536"), /has a port above 65535$/],
    [endpoints("colony.example:1"), /is not an IP literal with a port$/],
    [endpoints("2001:db8::1:51820"), /needs brackets and a port$/],
    [endpoints("255.255.255.255:1"), /is an address that nobody can send to$/],
    [endpoints("x".repeat(5000)), /^endpoints\[0\] "x{77}\.\.\." has no port$/],
    [observed({ ip: "" }), /^observed_endpoints\[0\]\.ip is required$/],
    [observed({ ip: "example" }), /\.ip "example" is not an IP literal$/],
    [observed({ ip: "ff02::1" }), /is an address that nobody can send to$/],
    [observed({ port: 0 }), /\.port 0 is not 1 to 65535$/],
    [observed({ port: 65536 }), /\.port 65536 is not 1 to 65535$/],
    [observed({ protocol: "tcp" }), /\.protocol "tcp" is not "udp"$/],
    [{ ...good, observedEndpoints: MANY(33, ENDPOINT) }, /^observed_endpoints has 33 entries/],
    [observations({ endpoint: undefined }), /^observations\[0\]\.endpoint is required$/],
    [
      observations({ receipt: new Uint8Array(19) }),
      /^observations\[0\]\.receipt has 19 bytes, not 20$/,
    ],
    [
      observations({ endpoint: create(EndpointSchema, { ...ENDPOINT, port: 0 }) }),
      /^observations\[0\]\.endpoint\.port 0 is not 1 to 65535$/,
    ],
    [
      { ...good, observations: MANY(33, {}) },
      /^observations has 33 entries, at most 32 are allowed$/,
    ],
    [{ ...good, nat: 4 as NatHint }, /^nat 4 is not a NatHint$/],
    [{ ...good, nat: -1 as NatHint }, /^nat -1 is not a NatHint$/],
    [{ ...good, name: "Not a label" }, /^name "Not a label" is not a DNS label/],
    [{ ...good, name: "x".repeat(64) }, /is not a DNS label/],
    [{ ...good, meshIpv4: "fd00::1" }, /^mesh_ipv4 "fd00::1" is not an IPv4 literal$/],
    [{ ...good, meshIpv6: "10.0.0.1" }, /^mesh_ipv6 "10\.0\.0\.1" is not an IPv6 literal$/],
    [
      { ...good, metadata: Object.fromEntries(MANY(33, 0).map((_, i) => [`k${i}`, ""])) },
      /^metadata has 33 entries, at most 32 are allowed$/,
    ],
    [{ ...good, metadata: { k: "é".repeat(4100) } }, /^metadata has 8201 bytes, at most 8192/],
    [
      { ...good, statement: { ...SIGNED, statement: new Uint8Array(60_000) } },
      /^statement has 60000 bytes, at most \d+ are allowed$/,
    ],
    [{ ...good, statement: SIGNED }, /^statement is not a record that its node has signed$/],
  ];
}

const SIGNATURE = create(SignedStatementSchema, SIGNED);
const INVITE = { key: "A".repeat(43), expiresAtMs: 1n };
const invites = (part: object): object => ({
  ...NODE,
  invites: [create(OpenInviteSchema, { ...INVITE, ...part })],
});
const paths = (part: object): object => ({
  ...NODE,
  paths: [create(PathReportSchema, { peerPubkey: OTHER, ...part })],
});

/** Every method that takes anything, what it must not be asked, and why. */
const RULES: Readonly<Record<string, readonly Bad[]>> = {
  registerColony: [
    ...badRegistration(COLONY),
    [{ ...COLONY, connectPort: 65536 }, /^connect_port 65536 is above 65535$/],
    [{ ...COLONY, publicPort: 70_000 }, /^public_port 70000 is above 65535$/],
    [
      { ...COLONY, publicEndpoint: { url: "x".repeat(33_000) } },
      /^public_endpoint has \d+ bytes, at most 32768 are allowed$/,
    ],
    [
      { ...COLONY, publicEndpoint: { updatedAt: { seconds: 1n << 60n } } },
      /^public_endpoint\.updated_at is out of range$/,
    ],
  ],
  registerAgent: [
    ...badRegistration(AGENT),
    [{ ...AGENT, agentId: "" }, /^agent_id is required$/],
    [{ ...AGENT, agentId: LONG }, /^agent_id "x{77}\.\.\." is not 1 to 253 /],
    [{ ...AGENT, agentId: "a b" }, /^agent_id "a b" is not/],
    [{ ...AGENT, admission: "x".repeat(10_000) }, /^admission has 10000 characters, at most/],
  ],
  lookupColony: badNode(NODE).filter(([request]) =>
    "meshId" in request && request.meshId !== "reef"
  ),
  lookupAgent: [
    [{ meshId: "reef" }, /^agent_id is required$/],
    [{ meshId: "reef", agentId: LONG }, /^agent_id "x/],
    [{ meshId: "reef", agentId: "ä" }, /^agent_id "ä" is not/],
    [{ agentId: "a" }, /^mesh_id is required$/],
    [{ meshId: "/", agentId: "a" }, /^mesh_id "\/" is not/],
    [{ meshId: "reef", pubkey: SHORT_KEY }, /^pubkey is not 32 bytes/],
    [{ meshId: "reef", pubkey: OTHER, agentId: "a\n" }, /^agent_id "a\\n" is not/],
  ],
  // Without a key its credentials are for nobody in particular.
  getServerInfo: badNode(NODE).filter(([request]) => "pubkey" in request && request.pubkey !== ""),
  deregisterColony: badNode(NODE),
  deregisterAgent: badNode(NODE),
  watch: badNode(NODE),
  initiatePunch: [
    [{ ...PUNCH, meshId: "" }, /^mesh_id is required$/],
    [{ ...PUNCH, meshId: LONG }, /^mesh_id "x/],
    [{ ...PUNCH, fromPubkey: "" }, /^from_pubkey is required$/],
    [{ ...PUNCH, toPubkey: SHORT_KEY }, /^to_pubkey is not 32 bytes in base64$/],
    [{ ...PUNCH, toPubkey: KEY }, /^from_pubkey and to_pubkey are the same$/],
  ],
  requestRelay: [
    [{ ...RELAY, meshId: "" }, /^mesh_id is required$/],
    [{ meshId: "reef" }, /^node_pubkey or agent_pubkey is required$/],
    [{ ...RELAY, nodePubkey: new Uint8Array(31) }, /^node_pubkey is not 32 bytes/],
    [{ ...RELAY, agentPubkey: new Uint8Array(33) }, /^agent_pubkey is not 32 bytes/],
    [{ ...RELAY, colonyPubkey: new Uint8Array(32) }, /^colony_pubkey is all zeros$/],
    [
      { ...RELAY, agentPubkey: RELAY.nodePubkey, colonyPubkey: RELAY.nodePubkey },
      /^agent_pubkey and colony_pubkey are the same$/,
    ],
    [{ ...RELAY, relayId: "a b" }, /^relay_id is not a relay's id$/],
    [{ ...RELAY, relayId: "x".repeat(64) }, /^relay_id is not a relay's id$/],
    [{ ...RELAY, region: "-" }, /^region is not a name$/],
    [{ ...RELAY, failedRelayIds: MANY(17, "r") }, /^failed_relay_ids has more than 16 entries$/],
    [{ ...RELAY, failedRelayIds: ["r", LONG] }, /^failed_relay_ids holds what is no relay's id$/],
  ],
  releaseRelay: [
    [{ sessionId: "s" }, /^mesh_id is required$/],
    [{ meshId: "reef" }, /^session_id is required$/],
    [{ meshId: "reef", sessionId: LONG }, /^session_id is not 1 to 253/],
    [{ meshId: "reef", sessionId: "a b" }, /^session_id is not 1 to 253/],
  ],
  registerRelay: [
    ...badNode(VOLUNTEER),
    [{ ...VOLUNTEER, secret: "s".repeat(31) }, /^secret is not 32 to 128/],
    [{ ...VOLUNTEER, secret: "s".repeat(129) }, /^secret is not 32 to 128/],
    [{ ...VOLUNTEER, secret: `${"s".repeat(32)}\n` }, /^secret is not 32 to 128/],
  ],
  createBootstrapToken: [
    [{ ...TOKEN, colonyId: "" }, /^colony_id is required$/],
    [{ ...TOKEN, colonyId: LONG }, /^colony_id "x/],
    [{ ...TOKEN, agentId: "" }, /^agent_id is required$/],
    [{ ...TOKEN, intent: "" }, /^intent is required$/],
    [{ ...TOKEN, intent: "Register" }, /^intent is not 1 to 64 of/],
    [{ ...TOKEN, intent: "x".repeat(65) }, /^intent is not 1 to 64 of/],
    [{ ...TOKEN, reefId: LONG }, /^reef_id is not at most 253/],
  ],
  rotateKey: [
    [{}, /^rotation is required$/],
    [{ rotation: SIGNED }, /^rotation is not one that the key which it gives up has signed$/],
    [{ rotation: { ...SIGNED, statement: new Uint8Array(50_000) } }, /^rotation is not one/],
  ],
  publishMembership: [
    ...badNode(NODE),
    [{ ...NODE, members: MANY(501, SIGNATURE) }, /^members has more than 500 entries$/],
    [{ ...NODE, members: [SIGNATURE] }, /^members holds what the colony has not signed/],
    [
      { ...NODE, invites: MANY(257, create(OpenInviteSchema, INVITE)) },
      /^invites has more than 256/,
    ],
    [invites({ key: "" }), /^invites holds what is no key$/],
    [invites({ key: "A".repeat(44) }), /^invites holds what is no key$/],
    [invites({ expiresAtMs: 0n }), /^expires_at_ms is no time$/],
    [invites({ expiresAtMs: 1n << 53n }), /^expires_at_ms is too great$/],
    [{ ...NODE, revision: 1n << 63n }, /^revision is too great$/],
  ],
  listMembers: [
    [{ meshId: "" }, /^mesh_id is required$/],
    [{ meshId: "reef", after: SHORT_KEY }, /^after is not 32 bytes in base64$/],
    [{ meshId: "reef", since: 1n << 60n }, /^since is too great$/],
  ],
  reportPath: [
    ...badNode(NODE),
    [
      { ...NODE, paths: MANY(257, create(PathReportSchema, { peerPubkey: OTHER })) },
      /^paths has more than 256 entries$/,
    ],
    [paths({ peerPubkey: SHORT_KEY }), /^peer_pubkey is not 32 bytes/],
    [paths({ relayId: "a b" }), /^relay_id is not a relay's id$/],
    [paths({ punchSuccesses: 1 }), /^punch_successes is greater than punch_attempts$/],
  ],
};
/** Methods that take nothing. */
const TAKE_NOTHING = ["health"];

function openService(): Service {
  return new Service({
    store: SqliteStore.open(":memory:"),
    ttlMs: 300_000,
    heartbeatMs: 15_000,
    stun: [],
    version: "1",
    now: () => Date.UTC(2026, 0, 2),
    randomId: () => "id",
    log: () => {},
    allowUnproven: true,
    relays: { volunteers: { check: () => Promise.resolve({ reason: "not looked at" }) } },
  });
}

/** Calls a method and returns how it was refused. */
async function refusal(client: Calls, name: string, request: object): Promise<ConnectError> {
  const method = client[name as keyof Calls] as (request: object) => unknown;
  try {
    const answer = method(request);
    if (name === "watch") { for await (const _ of answer as AsyncIterable<unknown>) break; }
    else await answer;
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new Error(`${name} took ${JSON.stringify(request, (_, it) => String(it))}`);
}

Deno.test("each method has rules, and refuses what breaks them in words that name the field", async (t) => {
  const names = [...Object.keys(RULES), ...TAKE_NOTHING];
  assertEquals(names.sort(), Object.keys(DiscoveryService.method).sort());
  const service = openService();
  // What is refused is refused for the rule: whoever asks has proven the key that is in the request, or need prove none.
  const as = provingClients(service);
  for (const [name, cases] of Object.entries(RULES)) {
    await t.step(name, async () => {
      assert(cases.length >= 3);
      for (const [request, message] of cases) {
        const client = as("pubkey" in request && request.pubkey !== KEY ? "" : KEY);
        const error = await refusal(client, name, request);
        assertMatch(error.rawMessage, message);
        assertEquals([error.rawMessage, error.code], [error.rawMessage, Code.InvalidArgument]);
        assert(error.rawMessage.length <= 200, error.rawMessage);
      }
    });
  }
  service.close();
});

Deno.test("a number that a later client has a name for counts as not known in a report of paths", async () => {
  const service = openService();
  const client = provingClients(service)(KEY);
  await client.registerColony(COLONY);
  const later = 99 as number;
  const path = { peerPubkey: OTHER, kind: later, reason: later, peerNat: later };
  const report = { ...NODE, nat: later, mapping: later, filtering: -1, paths: [path] };
  // Open enums: the wire carries numbers that this version has no name for.
  assertEquals(
    (await client.reportPath(report as MessageInitShape<typeof ReportPathRequestSchema>)).taken,
    1,
  );
  service.close();
});

Deno.test("whom a look-up wants depends on whether the asker has proven a key", () => {
  const wanted = (part: object, proven = ""): object =>
    parseWanted(create(LookupAgentRequestSchema, part), proven);
  const anywhere = { agentId: "a", meshId: undefined, publicKey: undefined };
  assertEquals(wanted({ agentId: "a" }), anywhere);
  const here = { ...anywhere, meshId: "reef" };
  assertEquals(wanted({ agentId: "a", meshId: "reef" }, KEY), here);
  const byKey = { agentId: "", meshId: "reef", publicKey: KEY };
  assertEquals(wanted({ meshId: "reef", pubkey: KEY }), byKey);
});
