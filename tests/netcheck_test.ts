/** `netcheck` over real sockets: what it believes, and what it does not. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { netcheck, type NetcheckOptions, type NetcheckReport } from "../agent/mod.ts";
import { NodeNetcheck } from "../agent/netcheck/node_netcheck.ts";
import type { CommandBody } from "../agent/shared/mod.ts";
import { formatSocketAddress, parseSocketAddress } from "../core/mod.ts";
import { startDiscovery } from "../discovery/mod.ts";
import {
  answerBinding,
  decodeStun,
  encodeStun,
  XOR_MAPPED_ADDRESS,
  xorAddressAttribute,
} from "../traversal/mod.ts";

const LOCAL = { hostname: "127.0.0.1", port: 0 };
const ATTACKER = { hostname: "198.51.100.66", port: 666 };

/** A Discovery whose STUN listener has a second address and port, by which NATs are told apart. */
function startTwoAddresses(): ReturnType<typeof startDiscovery> {
  return startDiscovery({
    listen: LOCAL,
    stunListen: [LOCAL],
    stunAlternates: [{ hostname: "127.0.0.2", port: 0 }],
    store: ":memory:",
    log: () => {},
  });
}

Deno.test("netcheck examines loopback with the help of a Discovery that has two STUN addresses", async () => {
  await using discovery = await startTwoAddresses();
  const report = await run({ discovery: [discovery.url] });
  assertEquals(report.ipv4, {
    udp: true,
    publicAddress: "127.0.0.1",
    nat: false,
    mapping: "endpointIndependent",
    filtering: "endpointIndependent",
    hairpin: null,
    allocation: null,
    lifetime: null,
  });
  assertEquals([report.hint, report.captivePortal], ["NAT_CONE", false]);
  const answered = { reachable: true, relay: false, reason: null };
  assertEquals(report.discovery, [{ url: discovery.url, ...answered }]);
  assert(report.stunServers.every(({ rttMs, reason }) => rttMs !== null && reason === null));
});

Deno.test("spoofed STUN answers on real sockets change nothing: wrong id, wrong source, right id from the wrong source", async () => {
  const server = Deno.listenDatagram({ transport: "udp", ...LOCAL });
  const attacker = Deno.listenDatagram({ transport: "udp", ...LOCAL });
  let forged = 0;
  const serving = (async (): Promise<void> => {
    for await (const [payload, from] of server) {
      const source = from as Deno.NetAddr;
      const id = decodeStun(payload)?.transactionId.slice();
      const honest = answerBinding({ source, payload });
      if (id === undefined || honest === undefined) continue;
      // Each of them arrives before the honest answer.
      await attacker.send(lie(id), source);
      await attacker.send(lie(new Uint8Array(12)), source);
      await server.send(lie(new Uint8Array(12)), source);
      await server.send(honest.payload, source);
      forged += 3;
    }
  })();
  try {
    const text = formatSocketAddress(server.addr as Deno.NetAddr);
    const report = await run({ stunServers: [text] });
    assertEquals(report.ipv4.publicAddress, "127.0.0.1");
    assertEquals(report.ipv4.nat, false);
    assert(forged >= 6, `${forged} forged answers`);
    const [only] = report.stunServers;
    assert(only?.mapped?.startsWith("127.0.0.1:") === true, JSON.stringify(report.stunServers));
  } finally {
    server.close();
    attacker.close();
    await serving;
  }
});

Deno.test("netcheck tells a captive portal from a Discovery that is down", async () => {
  const page = (): Response =>
    new Response("<html>Welcome to the hotel</html>", { headers: { "content-type": "text/html" } });
  const redirect = (): Response => Response.redirect("http://127.0.0.1:1/login", 302);
  const stunServers = ["127.0.0.1:9"];
  const behind = async (answer: () => Response): Promise<NetcheckReport> => {
    await using portal = Deno.serve({ ...LOCAL, onListen: () => {} }, answer);
    return await run({ discovery: [`http://127.0.0.1:${portal.addr.port}`], stunServers });
  };
  const [first, second, down] = await Promise.all([
    behind(page),
    behind(redirect),
    run({ discovery: ["http://127.0.0.1:9"], stunServers }),
  ]);
  for (const { captivePortal, discovery } of [first, second]) {
    assertEquals([captivePortal, discovery[0]?.reachable], [true, false]);
  }
  assertEquals([down.captivePortal, down.discovery[0]?.reachable], [null, false]);
  assertEquals(down.ipv4.udp, false);
});

Deno.test("netcheck ends at once when aborted", async () => {
  const stop = new AbortController();
  const silent = Deno.listenDatagram({ transport: "udp", ...LOCAL });
  try {
    const running = run({
      stunServers: [formatSocketAddress(silent.addr as Deno.NetAddr)],
      signal: stop.signal,
    });
    await silent.receive();
    stop.abort(new Error("enough"));
    const error = await running.then(() => undefined, (reason) => reason);
    assertEquals(String(error), "Error: enough");
  } finally {
    silent.close();
  }
});

Deno.test("a node's examination tells the datapath what the NAT does, again after a change, and nothing after the end", async () => {
  await using discovery = await startTwoAddresses();
  const text = discovery.listening[1]?.replace("stun=", "") ?? "";
  const info =
    await (await fetch(`${discovery.url}/coral.discovery.v1.DiscoveryService/GetServerInfo`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
    })).json();
  const credentials = { username: info.stunUsername, password: info.stunPassword };
  const address = parseSocketAddress(text);
  assert(address !== undefined);
  const ended = new AbortController();
  let heard = Promise.withResolvers<CommandBody>();
  let refreshed = 0;
  const examination = new NodeNetcheck({
    delayMs: 0,
    log: () => {},
    signal: ended.signal,
    send: (command) => heard.resolve(command),
    refresh: () => Promise.resolve(refreshed++),
  });
  examination.setServers([{ address, origin: "discovery", credentials }]);
  examination.handleAddresses(["192.0.2.1"], "endpointIndependent");
  const nat = {
    mapping: "endpointIndependent",
    filtering: "endpointIndependent",
    hint: "NAT_CONE",
  };
  assertEquals(await heard.promise, { kind: "setProbed", nat });
  assertEquals(examination.families.ipv4?.udp, true);

  heard = Promise.withResolvers();
  examination.handleLinkChanged();
  assertEquals(await heard.promise, { kind: "setProbed" });
  assertEquals(examination.families, {});
  heard = Promise.withResolvers();
  assertEquals(await heard.promise, { kind: "setProbed", nat });
  assertEquals(refreshed, 1);

  heard = Promise.withResolvers();
  ended.abort();
  examination.handleAddresses(["192.0.2.2"], "unknown");
  const silence = new Promise((resolve) => setTimeout(resolve, 200, "silence"));
  assertEquals(await Promise.race([heard.promise, silence]), "silence");
});

function run(options: Partial<NetcheckOptions>): Promise<NetcheckReport> {
  // Nothing leaves this machine.
  return netcheck({
    portMapping: false,
    fallback: [],
    log: () => {},
    signal: new AbortController().signal,
    ...options,
  });
}

/** A success with the attacker's address. */
function lie(transactionId: Uint8Array): Uint8Array {
  const attributes = [xorAddressAttribute(XOR_MAPPED_ADDRESS, ATTACKER, transactionId)];
  return encodeStun({ class: "success", method: 1, transactionId, attributes }, {
    fingerprint: true,
  });
}
