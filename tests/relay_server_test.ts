/** Our relay on real sockets: every listener, both drivers, those who mean no good, and its end. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
  rejects,
} from "node:assert/strict";
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from "../core/mod.ts";
import { readTlsFiles, RELAY_LIMITS, startRelay } from "../relay/mod.ts";
import {
  decodeStun,
  encodeStun,
  errorCode,
  METHOD_ALLOCATE,
  requestedTransportAttribute,
  restCredentials,
} from "../traversal/mod.ts";
import { residentBytes } from "./support/child.ts";
import { Moray, moray, SOURCE } from "./support/moray.ts";
import { startTestRelay, type TestRelay } from "./support/relayed_nodes.ts";
import { e2e, eventually, type Scope, within } from "./support/scope.ts";
import { restFor, selfSigned, type TurnCarrier, TurnLink } from "./support/turn.ts";
import { openUdp } from "./support/udp.ts";

const ANY_PORT = [{ hostname: "127.0.0.1", port: 0 }];
const MIB = 1 << 20;

/** An unsigned Allocate, which any client may begin with. */
function allocate(): Uint8Array<ArrayBuffer> {
  return encodeStun({
    class: "request",
    method: METHOD_ALLOCATE,
    transactionId: crypto.getRandomValues(new Uint8Array(12)),
    attributes: [requestedTransportAttribute()],
  });
}

function addressOf({ relay }: TestRelay, kind: string): SocketAddress {
  const text = relay.listening.find((one) => one.startsWith(`${kind}=`))?.slice(kind.length + 1);
  const address = parseSocketAddress(text ?? "");
  assert(address !== undefined, `${kind} among ${relay.listening}`);
  return address;
}

async function carrierTo(server: TestRelay, kind: string, ca = ""): Promise<TurnCarrier> {
  if (kind === "udp") return { kind: "udp" };
  const address = addressOf(server, kind);
  const conn = kind === "tls"
    ? await Deno.connectTls({ ...address, caCerts: [ca] })
    : await Deno.connect(address);
  return { kind: "stream", conn };
}

async function openLink(scope: Scope, server: TestRelay, kind = "udp", ca = ""): Promise<TurnLink> {
  const credentials = restFor(server.secret, crypto.randomUUID());
  const options = { server: addressOf(server, kind), credentials };
  return scope.use(TurnLink.open(options, await carrierTo(server, kind, ca)));
}

/** A peer that sends everything back. */
function openEcho(scope: Scope, hostname = "127.0.0.1"): SocketAddress {
  const { socket, port } = openUdp(scope, hostname);
  void (async () => {
    try {
      for await (const [payload, from] of socket) await socket.send(payload, from);
    } catch {
      // Closed.
    }
  })();
  return { hostname, port };
}

/** Says a text through the relay until it comes back `count` times. */
async function echoThrough(link: TurnLink, peer: SocketAddress, text: string): Promise<void> {
  await eventually("the echo", () => {
    link.say(peer, text);
    return link.received.some((one) => one.text === text) || undefined;
  }, { everyMs: 50 });
}

for (const driver of ["fast", "portable"] as const) {
  for (const kind of ["udp", "tcp", "tls"] as const) {
    e2e(
      `${driver}: a client echoes over ${kind}, by Send and by channel, and gives back what it had`,
      {
        needs: driver === "fast" ? ["full"] : [],
      },
      async (scope) => {
        const { certificate, key } = await selfSigned(scope.directory());
        const tls = await readTlsFiles(certificate, key);
        const server = await startTestRelay(scope, { driver, listenTls: ANY_PORT, tls });
        assertEquals(server.relay.driver, driver);
        const link = await openLink(scope, server, kind, tls.cert);
        await link.event("allocated");
        const peer = openEcho(scope);
        await echoThrough(link, peer, "by indication");
        await eventually(
          "a channel",
          () => link.say(peer, "by channel") === "channel" || undefined,
        );
        await echoThrough(link, peer, "x".repeat(1200));
        const { usage } = server.relay.report();
        assert(
          usage.length === 1 && (usage[0]?.rxBytes ?? 0) >= 1200 &&
            (usage[0]?.txBytes ?? 0) >= 1200,
        );
        await link[Symbol.asyncDispose]();
        await eventually("the end", () => server.relay.allocations === 0 || undefined);
        await eventually("no stream", () => server.relay.counters()["streams"] === 0 || undefined);
      },
    );
  }
}

for (const driver of ["fast", "portable"] as const) {
  e2e(`${driver}: one allocation relays both families, to a client of either`, {
    needs: driver === "fast" ? ["full"] : [],
  }, async (scope) => {
    const server = await startTestRelay(scope, {
      driver,
      listenUdp: [{ hostname: "::", port: 0 }],
      listenTcp: [],
      listenWebsocket: [],
      externalIps: ["127.0.0.1", "::1"],
    });
    const { port } = addressOf(server, "udp");
    for (const hostname of ["127.0.0.1", "::1"]) {
      const link = scope.use(
        TurnLink.open({
          server: { hostname, port },
          credentials: restFor(server.secret, hostname),
          families: [4, 6],
        }),
      );
      const { relayed } = await link.event("allocated");
      assertEquals(relayed.map((one) => one.hostname).sort(), ["127.0.0.1", "::1"]);
      await echoThrough(link, openEcho(scope), "four");
      await echoThrough(link, openEcho(scope, "::1"), "six");
    }
  });
}

e2e(
  "a WebSocket is served by the relay's own listeners, by TLS too, and by somebody else's HTTP server",
  {},
  async (scope) => {
    const { certificate, key } = await selfSigned(scope.directory());
    const tls = await readTlsFiles(certificate, key);
    const server = await startTestRelay(scope, { listenTls: ANY_PORT, tls });
    const http = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      (request, { remoteAddr }) => server.relay.handleUpgrade(request, remoteAddr as Deno.NetAddr),
    );
    scope.defer(() => http.shutdown());
    const plain = [addressOf(server, "websocket"), http.addr];
    for (const address of plain) {
      const socket = new WebSocket(`ws://${formatSocketAddress(address)}/turn`, "turn");
      socket.binaryType = "arraybuffer";
      const answer = Promise.withResolvers<Uint8Array>();
      socket.onopen = () => socket.send(allocate());
      socket.onmessage = ({ data }) => answer.resolve(new Uint8Array(data as ArrayBuffer));
      socket.onerror = () => answer.reject(new Error("the WebSocket broke"));
      const message = decodeStun(await within(5000, "an answer", answer.promise));
      assertEquals(message && errorCode(message)?.code, 401);
      const closed = Promise.withResolvers<void>();
      socket.onclose = () => closed.resolve();
      socket.close();
      await closed.promise;
    }
    const conn = await Deno.connectTls({ ...addressOf(server, "tls"), caCerts: [tls.cert] });
    scope.defer(() => conn.close());
    const head =
      "GET /turn HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: turn\r\n\r\n";
    await conn.write(new TextEncoder().encode(head));
    const buffer = new Uint8Array(1000);
    const count = await conn.read(buffer) ?? 0;
    assertMatch(new TextDecoder().decode(buffer.subarray(0, count)), /^HTTP\/1\.1 101 /);
    const request = allocate();
    // A mask of zeros is one too.
    await conn.write(Uint8Array.of(0x82, 0x80 | request.length, 0, 0, 0, 0, ...request));
    const answered = await conn.read(buffer) ?? 0;
    assertEquals(buffer[0], 0x82);
    const message = decodeStun(buffer.slice(answered < 128 ? 2 : 4, answered));
    assertEquals(message && errorCode(message)?.code, 401);
    const status = await fetch(
      `http://${formatSocketAddress(addressOf(server, "websocket"))}/other`,
    );
    await status.body?.cancel();
    assertEquals(status.status, 404);
  },
);

e2e(
  "a WebSocket's request may be long, come in pieces and bring the first message along, but not go on for ever",
  {},
  async (scope) => {
    const server = await startTestRelay(scope);
    const open = async (): Promise<Deno.Conn> => {
      const conn = await Deno.connect(addressOf(server, "websocket"));
      scope.defer(() => conn.close());
      return conn;
    };
    const conn = await open();
    const head = `GET /turn HTTP/1.1\r\nUpgrade: websocket\r\nX-Long: ${"x".repeat(5000)}\r\n` +
      "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: turn\r\n\r\n";
    const request = allocate();
    const bytes = Uint8Array.of(
      ...new TextEncoder().encode(head),
      ...[0x82, 0x80 | request.length, 0, 0, 0, 0, ...request],
    );
    for (let at = 0; at < bytes.length; at += 700) await conn.write(bytes.subarray(at, at + 700));
    let answer = new Uint8Array();
    const frameAt = (): number => {
      const end = new TextDecoder("latin1").decode(answer).indexOf("\r\n\r\n");
      return end < 0 ? Infinity : end + 4;
    };
    while (answer.length <= frameAt() + 4) {
      const buffer = new Uint8Array(1000);
      const count = await conn.read(buffer);
      assert(count !== null, "the answer ends early");
      answer = Uint8Array.of(...answer, ...buffer.subarray(0, count));
    }
    assertMatch(new TextDecoder().decode(answer), /^HTTP\/1\.1 101 /);
    const frame = answer.subarray(frameAt());
    assertEquals(frame[0], 0x82);
    const message = decodeStun(frame.slice((frame[1] ?? 0) < 126 ? 2 : 4));
    assertEquals(message && errorCode(message)?.code, 401);

    const endless = await open();
    const line = new TextEncoder().encode(`X: ${"x".repeat(900)}\r\n`);
    const sent = async (): Promise<null> => {
      await endless.write(new TextEncoder().encode("GET /turn HTTP/1.1\r\n"));
      for (let i = 0; i < 12; i++) await endless.write(line);
      return await endless.read(new Uint8Array(1)) as null;
    };
    // What was not read resets the connection, or it just ends.
    assertEquals(await within(5000, "the end", sent().catch(() => null)), null);
  },
);

e2e("a client that does not read costs itself only", { timeoutMs: 90_000 }, async (scope) => {
  const server = await startTestRelay(scope);
  const paused = pausable(await Deno.connect(addressOf(server, "tcp")));
  const slow = scope.use(
    TurnLink.open(
      { server: addressOf(server, "tcp"), credentials: restFor(server.secret, "slow") },
      {
        kind: "stream",
        conn: paused.conn,
      },
    ),
  );
  const quick = await openLink(scope, server);
  const { relayed: [relayed] } = await slow.event("allocated");
  await quick.event("allocated");
  assert(relayed !== undefined);
  const flood = openUdp(scope);
  // The slow one wants to hear the flood, and then stops reading.
  await eventually("a permission", async () => {
    slow.say({ hostname: "127.0.0.1", port: flood.port }, "hello");
    await flood.socket.send(new Uint8Array(8), { transport: "udp", ...relayed });
    return slow.received.length > 0 || undefined;
  });
  paused.pause();
  const before = residentBytes(Deno.pid);
  const datagram = new Uint8Array(1200);
  await eventually("the queue to be full", async () => {
    for (let i = 0; i < 200; i++) {
      await flood.socket.send(datagram, { transport: "udp", ...relayed });
    }
    return (server.relay.counters()["streamQueueFull"] ?? 0) > 1000 || undefined;
  }, { timeoutMs: 60_000, everyMs: 1 });
  const peer = openEcho(scope);
  await echoThrough(quick, peer, "still here");
  assert(residentBytes(Deno.pid) - before < 64 * MIB);
});

e2e("10,000 half-open TCP and WebSocket clients leave the relay serving", {
  needs: ["full"],
  timeoutMs: 120_000,
}, async (scope) => {
  const secret = "half-open";
  const relay = scope.use(
    await Moray.start([
      ...["relay", "--listen-udp", "127.0.0.1:0", "--listen-tcp", "127.0.0.1:0"],
      ...["--listen-websocket", "127.0.0.1:0", "--external-ip", "127.0.0.1"],
      ...["--allow-private-peers", "--secret", secret, "--log-level", "warn"],
    ], { program: SOURCE }),
  );
  const server = parseSocketAddress(relay.address("tcp"));
  const websocket = parseSocketAddress(relay.address("websocket"));
  assert(server !== undefined && websocket !== undefined);
  const before = residentBytes(relay.child.pid);
  const open: Deno.Conn[] = [];
  scope.defer(() => open.forEach((conn) => conn.close()));
  const credentials = restFor(secret);
  const early = scope.use(
    TurnLink.open({ server, credentials }, { kind: "stream", conn: await Deno.connect(server) }),
  );
  await early.event("allocated");
  for (let i = 0; i < 10_000; i += 100) {
    const batch = Array.from({ length: 100 }, async (_, n) => {
      const conn = await Deno.connect(n % 2 === 0 ? server : websocket);
      open.push(conn);
      // Some say nothing, some begin.
      if (n % 4 > 1) {
        await conn.write(new TextEncoder().encode(n % 2 === 0 ? "\0\x03" : "GET /t")).catch(() =>
          0
        );
      }
    });
    await Promise.all(batch);
  }
  const late = scope.use(
    TurnLink.open({ server, credentials: restFor(secret, "late") }, {
      kind: "stream",
      conn: await Deno.connect(server),
    }),
  );
  await late.event("allocated");
  const peer = openEcho(scope);
  await echoThrough(late, peer, "late");
  await echoThrough(early, peer, "early");
  const grown = residentBytes(relay.child.pid) - before;
  assert(grown < 120 * MIB, `${grown / MIB} MiB`);
});

e2e("forged and expired credentials get nothing", {}, async (scope) => {
  const server = await startTestRelay(scope);
  const address = addressOf(server, "udp");
  const expired = { session: "old", expiresAtSeconds: Date.now() / 1000 - 1 };
  for (const credentials of [restFor("guessed"), restCredentials(server.secret, expired)]) {
    const link = scope.use(TurnLink.open({ server: address, credentials }));
    await rejects(link.event("allocated", 5000), /401/);
  }
  assertEquals(server.relay.allocations, 0);
});

e2e(
  "nobody is answered more than twice what he sent, and datagrams of nobody's go nowhere",
  {},
  async (scope) => {
    const server = await startTestRelay(scope, {
      limits: { ...RELAY_LIMITS, unprovenPerSecond: 1, unprovenBurst: 10 },
    });
    const { socket } = openUdp(scope);
    let received = 0;
    void (async () => {
      try {
        for await (const [payload] of socket) received += payload.length;
      } catch {
        // Closed.
      }
    })();
    const to: Deno.NetAddr = { transport: "udp", ...addressOf(server, "udp") };
    let sent = 0;
    for (let i = 0; i < 1000; i++) {
      const bytes = i % 3 === 0 ? allocate() : crypto.getRandomValues(new Uint8Array(1 + i % 200));
      sent += i % 3 === 0 ? bytes.length : 0;
      await socket.send(bytes, to);
    }
    await eventually(
      "the limit",
      () => (server.relay.counters()["unprovenRefused"] ?? 0) > 100 || undefined,
    );
    await eventually("the answers", () => received >= 10 * 56 || undefined);
    assert(received <= 20 * 56, `${received} bytes`);
    assert(received < 2 * sent);
    assertEquals(server.relay.allocations, 0);
  },
);

e2e(
  "moray relay: SIGTERM tells the clients, waits for them no longer than it was told, and ends with 0",
  {},
  async (scope) => {
    const secret = "drained";
    const relay = scope.use(
      await Moray.start([
        ...[
          "relay",
          "--listen-udp",
          "127.0.0.1:0",
          "--external-ip",
          "127.0.0.1",
          "--secret",
          secret,
        ],
        ...["--allow-private-peers", "--drain-seconds", "2", "--metrics", "127.0.0.1:0"],
      ], { program: SOURCE }),
    );
    const server = parseSocketAddress(relay.address("udp"));
    assert(server !== undefined);
    const link = scope.use(TurnLink.open({ server, credentials: restFor(secret) }));
    await link.event("allocated");
    const metrics = await (await fetch(`http://${relay.address("metrics")}/metrics`)).text();
    assertMatch(metrics, /^moray_relay_allocations 1$/m);
    const began = performance.now();
    const ended = relay.child.stop(6000);
    await eventually("the word of the drain", () => {
      return link.events.some((event) => event.kind === "draining") || undefined;
    }, { everyMs: 20 });
    // Who is left holds it for as long as was allowed.
    assertEquals(await ended, 0);
    const took = performance.now() - began;
    assert(took > 1500 && took < 5000, `${took} ms`);
  },
);

e2e("moray relay: what is wrong with the flags is one line", { needs: ["full"] }, async (scope) => {
  const { certificate, key } = await selfSigned(scope.directory());
  const taken = openUdp(scope);
  const common = ["--external-ip", "127.0.0.1", "--secret", "s", "--log-level", "error"];
  const cases: [readonly string[], number, RegExp][] = [
    [["--secret", "s", "--listen-udp", "127.0.0.1:0"], 2, /--external-ip is missing/],
    [["--external-ip", "127.0.0.1", "--listen-udp", "127.0.0.1:0"], 2, /--secret is missing/],
    [common, 2, /Nowhere to listen/],
    [[...common, "--listen-tls", "127.0.0.1:0"], 2, /--cert FILE and --key FILE/],
    [
      [...common, "--listen-tls", "127.0.0.1:0", "--cert", "none.pem", "--key", key],
      2,
      /none\.pem/,
    ],
    [
      [...common, "--listen-tls", "127.0.0.1:0", "--cert", key, "--key", certificate],
      3,
      /no certificate/,
    ],
    [[...common, "--listen-udp", `127.0.0.1:${taken.port}`], 5, /address is in use/],
    [[...common, "--listen-udp", "192.0.2.77:0"], 2, /no such address/],
    [[...common, "--listen-udp", "127.0.0.1:0", "--relay-ports", "9-8"], 2, /two ports/],
    [
      [...common, "--listen-udp", "127.0.0.1:0", "--external-ip", "127.0.0.2"],
      2,
      /one external address/,
    ],
  ];
  for (const [flags, status, message] of cases) {
    const { code, stderr } = await moray(["relay", ...flags], {
      program: SOURCE,
      timeoutMs: 20_000,
    });
    assertEquals(code, status, `${flags.join(" ")}: ${stderr}`);
    assertMatch(stderr, /^moray: [^\n]+\n$/);
    assertMatch(stderr, message);
  }
});

Deno.test("startRelay says no to options that make no sense", async () => {
  const good = { listenUdp: ANY_PORT, externalIps: ["127.0.0.1"], secret: "s", log: () => {} };
  const bad = [
    { secret: "" },
    { externalIps: [] },
    { externalIps: ["127.0.0.1", "127.0.0.2"] },
    { listenTls: ANY_PORT },
    { portRange: { first: 9, last: 8 } },
  ];
  for (const wrong of bad) {
    await rejects(startRelay({ ...good, ...wrong }), { code: "usage" });
  }
});

/** A connection that nobody reads from once it is paused. */
function pausable(conn: Deno.Conn): { readonly conn: Deno.Conn; readonly pause: () => void } {
  let isPaused = false;
  const closed = Promise.withResolvers<null>();
  const proxy = {
    read: (into: Uint8Array) => isPaused ? closed.promise : conn.read(into),
    write: (bytes: Uint8Array) => conn.write(bytes),
    closeWrite: () => conn.closeWrite(),
    close: (): void => {
      closed.resolve(null);
      conn.close();
    },
  };
  return {
    conn: proxy as unknown as Deno.Conn,
    pause: () => void (isPaused = true),
  };
}
