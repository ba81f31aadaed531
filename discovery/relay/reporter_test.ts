import { deepStrictEqual as assertEquals, match as assertMatch } from "node:assert/strict";
import {
  DiscoveryClient,
  type DiscoveryOptions,
  type RelayState,
  startDiscovery,
  startRelayReporter,
} from "../mod.ts";
import { identityOf } from "../testing/identity.ts";
import type { RelayReporterOptions, RunningRelayReporter } from "./reporter.ts";

const SECRET = "shared by relays and Discovery";
const IDLE: RelayState = { load: 0, draining: false, sessions: 0, usage: [] };
const IDENTITY = await identityOf(2);
const AGENT = { meshId: "reef", publicKey: IDENTITY.text, role: "agent" } as const;

function start(part: Partial<DiscoveryOptions> = {}): ReturnType<typeof startDiscovery> {
  return startDiscovery({
    listen: { hostname: "127.0.0.1", port: 0 },
    stunListen: [],
    store: ":memory:",
    log: () => {},
    relays: { secret: SECRET },
    ...part,
  });
}

function report(
  urls: readonly string[],
  part: Partial<RelayReporterOptions> = {},
): Promise<RunningRelayReporter> {
  return startRelayReporter({
    urls,
    identity: {
      id: "eu",
      region: "",
      transports: [{ kind: "udp", endpoint: "203.0.113.7:3478" }],
      realm: "moray",
      bandwidthBytesPerSecond: 0,
    },
    secret: SECRET,
    report: () => IDLE,
    log: () => {},
    ...part,
  });
}

Deno.test("a relay that reports itself is given to nodes, and no more once it has stopped", async () => {
  await using server = await start();
  const client = new DiscoveryClient({ urls: [server.url], identity: IDENTITY, log: () => {} });
  const states: RelayState[] = [];
  const relay = await report([server.url], { report: () => states.shift() ?? IDLE });
  await relay.report();
  const grant = await client.requestRelay(AGENT);
  assertEquals([grant.relayId, grant.transports, grant.lifeMs], [
    "eu",
    [{ kind: "udp", endpoint: "203.0.113.7:3478" }],
    3_600_000,
  ]);
  states.push({ ...IDLE, usage: [{ sessionId: grant.sessionId, rxBytes: 5, txBytes: 6 }] });
  await relay.report();
  const { relayRxBytes, relayTxBytes } = server.counters();
  assertEquals([relayRxBytes, relayTxBytes], [5, 6]);
  await relay.stop();
  await relay.stop();
  const refusal = await client.requestRelay(AGENT).catch((error) => error.message);
  assertMatch(refusal, /no relay is available now/);
  assertEquals(await client.releaseRelay({ meshId: "reef", sessionId: grant.sessionId }), true);
});

Deno.test("bytes wait for a Discovery that answers, and its words are logged once", async () => {
  const log: string[] = [];
  // Nobody listens there any more.
  const gone = await start();
  const port = Number(new URL(gone.url).port);
  await gone.stop();
  const states: RelayState[] = [];
  const push = (rxBytes: number) =>
    states.push({ ...IDLE, usage: [{ sessionId: "s", rxBytes, txBytes: 0 }] });
  push(1);
  await using relay = await report([gone.url], {
    report: () => states.shift() ?? IDLE,
    log: (level, message) => log.push(`${level} ${message}`),
  });
  await relay.report();
  push(2);
  await relay.report();
  assertEquals(log.length, 1);
  assertMatch(log[0] ?? "", /^warn this relay is not known: Cannot reach Discovery at .*refused$/);
  await using server = await start({ listen: { hostname: "127.0.0.1", port } });
  push(4);
  await relay.report();
  assertEquals(server.counters()["relayRxBytes"], 7);
  assertEquals(log[1], `info Discovery at ${server.url} knows this relay again`);
});

Deno.test("the bytes of more sessions than one report tells come in several", async () => {
  await using server = await start();
  const usage = Array.from({ length: 1200 }, (_, i) => ({
    sessionId: `12345678.12345678.${"0".repeat(28)}${i}`,
    rxBytes: 2 ** 40,
    txBytes: 2 ** 40,
  }));
  const states = [{ ...IDLE, usage }];
  await using relay = await report([server.url], { report: () => states.shift() ?? IDLE });
  await relay.report();
  const { relayRxBytes, relayReports } = server.counters();
  assertEquals([relayRxBytes, relayReports], [1200 * 2 ** 40, 3]);
});

Deno.test("a relay with another secret hears that it is not taken", async () => {
  await using server = await start();
  const log: string[] = [];
  await using relay = await report([server.url], {
    secret: "another",
    log: (_, message) => log.push(message),
  });
  await relay.report();
  assertMatch(log.join(), /refused: mac does not fit the report: the secret is another/);
});

Deno.test("a WebSocket at /turn is the relay's in the process; without one there is nothing", async () => {
  const asked: string[] = [];
  await using server = await start({
    turn: (request, { hostname }) => {
      asked.push(`${new URL(request.url).pathname} ${hostname}`);
      return new Response("no WebSocket\n", { status: 426 });
    },
  });
  const answer = await fetch(`${server.url}/turn`);
  assertEquals([answer.status, await answer.text()], [426, "no WebSocket\n"]);
  assertEquals(asked, ["/turn 127.0.0.1"]);
  await using plain = await start();
  const nothing = await fetch(`${plain.url}/turn`);
  assertEquals([nothing.status, await nothing.text()], [404, "Not found\n"]);
});

Deno.test("the client takes a relay below Discovery's own URL by its whole URL, and asks as colony too", async () => {
  const identity = {
    id: "own",
    region: "",
    transports: [
      { kind: "udp", endpoint: "203.0.113.7:3478" },
      { kind: "websocket", endpoint: "/turn" },
    ],
    realm: "moray",
    bandwidthBytesPerSecond: 125_000,
  } as const;
  const local = { ...identity, secret: "s", report: () => IDLE };
  await using server = await start({ relays: { local } });
  const client = new DiscoveryClient({
    urls: [`${server.url}/`],
    identity: IDENTITY,
    log: () => {},
  });
  assertEquals((await client.serverInfo()).features.relay, true);
  const colony = { meshId: "reef", publicKey: IDENTITY.text, role: "colony" } as const;
  const grant = await client.requestRelay({ ...colony, failed: ["own"] });
  assertEquals(grant.transports[1], {
    kind: "websocket",
    endpoint: `${server.url.replace("http", "ws")}/turn`,
  });
  assertEquals([grant.bandwidthBytesPerSecond, grant.relays], [
    125_000,
    [{ relayId: "own", region: "", load: 0 }],
  ]);
});

Deno.test("a Discovery without relays is told apart from one that gives none", async () => {
  await using server = await startDiscovery({
    listen: { hostname: "127.0.0.1", port: 0 },
    stunListen: [],
    store: ":memory:",
    log: () => {},
  });
  const client = new DiscoveryClient({ urls: [server.url], identity: IDENTITY, log: () => {} });
  assertEquals((await client.serverInfo()).features.relay, false);
  const code = await client.requestRelay(AGENT).catch((error) => error.code);
  assertEquals(code, "unsupported");
});
