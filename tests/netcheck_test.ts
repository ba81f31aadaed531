/** `netcheck` over real sockets: what it believes, and what it does not. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { netcheck, type NetcheckOptions, type NetcheckReport } from "../agent/mod.ts";
import { formatSocketAddress } from "../core/mod.ts";
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

Deno.test("netcheck examines loopback with the help of a Discovery that has two STUN addresses", async () => {
  await using discovery = await startDiscovery({
    listen: LOCAL,
    stunListen: [LOCAL],
    stunAlternates: [{ hostname: "127.0.0.2", port: 0 }],
    store: ":memory:",
    log: () => {},
  });
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
  assertEquals(report.discovery, [{ url: discovery.url, reachable: true, reason: null }]);
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
  for (const answer of [page, redirect]) {
    await using portal = Deno.serve({ ...LOCAL, onListen: () => {} }, answer);
    const url = `http://127.0.0.1:${portal.addr.port}`;
    const report = await run({ discovery: [url], stunServers: ["127.0.0.1:9"] });
    assertEquals(report.captivePortal, true);
    assertEquals(report.discovery[0]?.reachable, false);
  }
  const report = await run({ discovery: ["http://127.0.0.1:9"], stunServers: ["127.0.0.1:9"] });
  assertEquals([report.captivePortal, report.discovery[0]?.reachable], [null, false]);
  assertEquals(report.ipv4.udp, false);
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
