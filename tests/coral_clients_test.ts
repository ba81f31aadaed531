/** Coral-style clients at a Discovery that runs as a process: every method, by Connect for Go and by plain JSON, let in and not. */
import {
  deepStrictEqual as assertEquals,
  doesNotMatch as assertNoMatch,
  match as assertMatch,
} from "node:assert/strict";
import { callByFetch, callByGo, type CoralAnswer, type CoralCall } from "./support/coral_client.ts";
import { key } from "../discovery/testing/nodes.ts";
import { urlOf } from "./support/mesh.ts";
import { Moray } from "./support/moray.ts";
import { e2e, type Scope } from "./support/scope.ts";
import { selfSigned } from "./support/turn.ts";

const TIME = "2026-01-02T03:04:05Z";
/** Where the mesh's colony can be reached without WireGuard. */
const PUBLIC_ENDPOINT = {
  enabled: true,
  url: "https://colony.example:8443",
  caCert: "LS0t",
  caFingerprint: { algorithm: "FINGERPRINT_ALGORITHM_SHA256", value: key(7) },
  updatedAt: TIME,
};
const OBSERVED = { ip: "203.0.113.1", port: 40001, protocol: "udp" };
const COLONY = {
  meshId: "reef",
  pubkey: key(1),
  endpoints: ["192.0.2.1:51820", "[2001:db8::1]:51820"],
  meshIpv4: "10.42.0.1",
  meshIpv6: "fd42::1",
  connectPort: 9000,
  metadata: { site: "home" },
};
const AGENT = {
  agentId: "a2",
  meshId: "reef",
  pubkey: key(2),
  endpoints: ["192.0.2.2:51820"],
  metadata: { os: "linux" },
};
const SESSION = "SESSION";

/** Every method of Coral's, in an order in which each finds what it needs. */
const CALLS: readonly CoralCall[] = [
  ["Health", {}],
  ["RegisterColony", {
    ...COLONY,
    observedEndpoint: OBSERVED,
    publicPort: 8443,
    publicEndpoint: PUBLIC_ENDPOINT,
  }],
  ["LookupColony", { meshId: "reef" }],
  ["RegisterAgent", { ...AGENT, observedEndpoint: OBSERVED }],
  ["LookupAgent", { agentId: "a2" }],
  ["LookupAgent", { agentId: "a2", meshId: "reef" }],
  ["RequestRelay", { meshId: "reef", agentPubkey: key(2), colonyPubkey: key(1) }],
  ["ReleaseRelay", { meshId: "reef", sessionId: "none" }],
  ["CreateBootstrapToken", {
    reefId: "r",
    colonyId: "reef",
    agentId: "a2",
    intent: "register",
  }],
  // A known mesh with another key, and what is not there.
  ["RegisterColony", { ...COLONY, pubkey: key(9) }],
  ["LookupColony", { meshId: "atoll" }],
  ["LookupAgent", { agentId: "a9" }],
];

const RELAY = { ip: "203.0.113.5", port: 3478, protocol: "udp", viaRelay: true };
const REGISTERED = {
  success: true,
  ttl: 300,
  expiresAt: TIME,
  observedEndpoint: OBSERVED,
  stunServers: ["STUN"],
};
const LOOKED_UP = {
  ...COLONY,
  lastSeen: TIME,
  observedEndpoints: [OBSERVED],
  relays: [{ endpoint: RELAY, relayId: "r1" }],
  publicPort: 8443,
  publicEndpoint: PUBLIC_ENDPOINT,
};
const FOUND_AGENT = { ...AGENT, lastSeen: TIME, observedEndpoints: [OBSERVED] };

/** How each of {@linkcode CALLS} is answered where clients need prove nothing: what a Coral client sees of it. */
const ANSWERS: readonly CoralAnswer[] = [
  { method: "Health", message: { status: "ok", version: "VERSION" } },
  { method: "RegisterColony", message: REGISTERED },
  { method: "LookupColony", message: LOOKED_UP },
  { method: "RegisterAgent", message: REGISTERED },
  { method: "LookupAgent", message: FOUND_AGENT },
  { method: "LookupAgent", message: FOUND_AGENT },
  {
    method: "RequestRelay",
    message: { relayEndpoint: RELAY, sessionId: SESSION, expiresAt: "SECONDS", relayId: "r1" },
  },
  { method: "ReleaseRelay", message: {} },
  {
    method: "CreateBootstrapToken",
    code: "unauthenticated",
    error: "a proof of possession of the node's key is required",
  },
  {
    method: "RegisterColony",
    code: "already_exists",
    error: "mesh_id reef already registered with different pubkey",
  },
  { method: "LookupColony", code: "not_found", error: "colony atoll not found" },
  { method: "LookupAgent", code: "not_found", error: "agent a9 not found" },
];
/** What is ours in answers, beyond what Coral's schema names. */
const OURS = [
  ...["registeredAt", "generation", "allowUnproven", "transports", "username", "password"],
  ...["realm", "bandwidthBytesPerSecond", "ttlSeconds"],
];

/** An answer with words for what differs from run to run, without what is ours. */
function steady({ message, ...rest }: CoralAnswer): CoralAnswer {
  if (message === undefined) return rest;
  const { uptimeSeconds: _, registeredColonies: __, ...kept } = message;
  const relayed = rest.method === "RequestRelay";
  const fields = Object.entries(kept).filter(([name]) =>
    !OURS.includes(name) && !(relayed && (name === "relays" || name === "ttl"))
  );
  const text = JSON.stringify(Object.fromEntries(fields))
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, TIME)
    .replaceAll(/127\.0\.0\.1:\d+/g, "STUN")
    .replace(/"sessionId":"[^"]+"/, `"sessionId":"${SESSION}"`)
    .replace(/"expiresAt":"\d+"/, '"expiresAt":"SECONDS"')
    .replace(/"version":"[^"]+"/, '"version":"VERSION"');
  return { ...rest, message: JSON.parse(text) };
}

async function startDiscovery(scope: Scope, flags: readonly string[]): Promise<Moray> {
  return scope.use(
    await Moray.start([
      ...["discovery", "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"],
      ...["--store", ":memory:", "--log-level", "info"],
      ...["--relay-server", "r1=turn:203.0.113.5:3478", "--relay-secret", "s".repeat(32)],
      ...flags,
    ]),
  );
}

e2e("Coral's clients find every method with --allow-unproven, by plain JSON", {}, async (scope) => {
  const discovery = await startDiscovery(scope, ["--allow-unproven"]);
  const url = urlOf(discovery);
  const answers = await callByFetch(CALLS, url);
  assertEquals(answers.map(steady), ANSWERS);
  // It says that it takes them: to people in the log, to programs in Health.
  assertMatch(discovery.child.log, /^[\d:]+ warn unproven registrations are taken/m);
  assertEquals(answers[0]?.message?.["allowUnproven"], true);
  const page = await (await fetch(`${url}/health`)).json();
  assertEquals(page.allowUnproven, true);
  const keySet = await (await fetch(`${url}/.well-known/jwks.json`)).json();
  const [{ kty, crv, alg, use, d }] = keySet.keys;
  assertEquals([kty, crv, alg, use, d], ["OKP", "Ed25519", "EdDSA", "sig", undefined]);
  // A client of a later version says more, and a NAT by its number.
  const later = { ...AGENT, nat: 2, laterField: { a: [1] } };
  const [registered] = await callByFetch([["RegisterAgent", later]], url);
  assertEquals(registered?.message?.["success"], true);
  const [found] = await callByFetch([["LookupAgent", { agentId: "a2" }]], url);
  assertEquals(found?.message?.["nat"], "NAT_RESTRICTED");
  // Nothing of all this is in the log.
  assertNoMatch(discovery.child.log.replace(discovery.ready, ""), /192\.0\.2|203\.0\.113|2001:db8/);
});

e2e("Coral's clients are refused without --allow-unproven, by plain JSON", {}, async (scope) => {
  const discovery = await startDiscovery(scope, []);
  const url = urlOf(discovery);
  const [health, ...others] = await callByFetch(CALLS, url);
  assertEquals([health?.message?.["status"], health?.message?.["allowUnproven"]], [
    "ok",
    undefined,
  ]);
  for (const { method, code, error } of others) {
    assertEquals([method, code], [method, "unauthenticated"]);
    assertEquals(error, "a proof of possession of the node's key is required");
  }
  assertNoMatch(discovery.child.log, /unproven/);
  const page = await (await fetch(`${url}/health`)).json();
  assertEquals([page.allowUnproven, page.registeredColonies], [false, 0]);
});

e2e("Coral's clients find every method with --allow-unproven, by Connect for Go", {
  needs: ["full", "go"],
  timeoutMs: 450_000,
}, async (scope) => {
  const url = urlOf(await startDiscovery(scope, ["--allow-unproven"]));
  assertEquals((await callByGo(CALLS, { url })).map(steady), ANSWERS);
  const strict = urlOf(await startDiscovery(scope, []));
  const [health, ...others] = await callByGo(CALLS, { url: strict });
  assertEquals(health?.message?.["status"], "ok");
  assertEquals(new Set(others.map(({ code }) => code)), new Set(["unauthenticated"]));
});

e2e("Discovery speaks Connect and gRPC-web over HTTP/2 with TLS, and says that it has no gRPC", {
  needs: ["full", "go"],
  timeoutMs: 450_000,
}, async (scope) => {
  const { certificate, key: keyFile } = await selfSigned(scope.directory());
  const tls = ["--tls-cert", certificate, "--tls-key", keyFile];
  const url = urlOf(await startDiscovery(scope, ["--allow-unproven", ...tls]));
  assertMatch(url, /^https:/);
  const calls = CALLS.filter(([method]) => /Colony$|Agent$|^Health$/.test(method));
  const wanted = ANSWERS.filter(({ method }) => /Colony$|Agent$|^Health$/.test(method));
  for (const protocol of ["connect", "grpcweb"] as const) {
    for (const codec of ["json", "proto"] as const) {
      // Binary numbers are ours: Coral's service has none.
      const ours = codec === "proto";
      const answers = await callByGo(calls, { url, protocol, codec, ours, authority: certificate });
      assertEquals([protocol, codec, ...answers.map(steady)], [protocol, codec, ...wanted]);
    }
  }
  // A fetch response has no trailers.
  const refused = await callByGo(calls, { url, protocol: "grpc", authority: certificate });
  assertEquals(
    refused.map(({ code, message }) => [code, message]),
    calls.map(() => ["unknown", undefined]),
  );
  assertMatch(refused[0]?.error ?? "", /415/);
});
