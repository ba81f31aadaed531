/** Our TURN client against coturn, over UDP, TCP and TLS on loopback. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { formatSocketAddress, type SocketAddress } from "../core/mod.ts";
import { e2e, eventually, type Scope } from "./support/scope.ts";
import { type Coturn, restFor, startCoturn, type TurnCarrier, TurnLink } from "./support/turn.ts";

const CARRIERS = ["udp", "tcp", "tls"] as const;

for (const kind of CARRIERS) {
  e2e(`the TURN client works with coturn over ${kind}`, {
    needs: ["full", "turnserver"],
    timeoutMs: 60_000,
  }, async (scope) => {
    const coturn = await startCoturn(scope, { flags: ["-v"] });
    const link = scope.use(await linkTo(coturn, kind));
    const { relayed: [relayed] } = await link.event("allocated");
    assert(relayed !== undefined && relayed.hostname === "127.0.0.1");
    const peer = openPeer(scope);
    // Nobody is let in before a permission, and the first word is followed by one.
    await peer.say("early", relayed);
    assertEquals(link.say(peer.address, "hello"), "indication");
    const [text, from] = await peer.next();
    assertEquals([text, formatSocketAddress(from)], ["hello", formatSocketAddress(relayed)]);
    await peer.say("answer", relayed);
    await eventually("the answer", () => link.received.length > 0 || undefined);
    assertEquals(link.received, [{ peer: formatSocketAddress(peer.address), text: "answer" }]);
    // Whoever answers gets a channel.
    await eventually("a channel", () => {
      return link.say(peer.address, "by channel?") === "channel" || undefined;
    });
    const [first] = await peer.next();
    assertEquals(first, "by channel?");
    await peer.say("x".repeat(1001), relayed);
    await eventually("data by the channel", () => link.received.length > 1 || undefined);
    assertEquals(link.received[1]?.text.length, 1001);
    assertEquals(link.client.channels, 1);
    const before = link.client.rttMs;
    link.change((client, now) => client.check(now));
    await eventually("the answer to a check", () => link.client.rttMs !== before || undefined);
    // What is given back is gone at once: coturn says so.
    const released = coturn.child.line(/refreshed, .* lifetime=0/);
    await link[Symbol.asyncDispose]();
    await released;
  });
}

e2e("437: the client removes what its port had in an earlier life, and allocates", {
  needs: ["full", "turnserver"],
}, async (scope) => {
  const coturn = await startCoturn(scope);
  const credentials = restFor(coturn.secret);
  const port = 20_000 + Math.floor(Math.random() * 10_000);
  const options = { server: coturn.plain, credentials };
  const first = TurnLink.open(options, { kind: "udp", port });
  await first.event("allocated");
  await first.kill();
  const second = scope.use(TurnLink.open(options, { kind: "udp", port }));
  const { relayed } = await second.event("allocated");
  assertEquals(relayed.length, 1);
});

e2e("438: a nonce that has become stale is replaced without anybody noticing", {
  needs: ["full", "turnserver"],
}, async (scope) => {
  // coturn's nonces live for a second here.
  const coturn = await startCoturn(scope, { flags: ["--stale-nonce=1", "-v"] });
  const link = scope.use(await linkTo(coturn, "udp"));
  await link.event("allocated");
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const peer = openPeer(scope);
  link.say(peer.address, "one");
  await coturn.child.line(/Stale nonce/i);
  await eventually("a word through the permission", () => {
    link.say(peer.address, "two");
    return peer.heard > 0 || undefined;
  });
});

e2e("401: wrong credentials end the attempt with the server's word", {
  needs: ["full", "turnserver"],
}, async (scope) => {
  const coturn = await startCoturn(scope);
  const credentials = { ...restFor(coturn.secret), password: "wrong" };
  const link = scope.use(TurnLink.open({ server: coturn.plain, credentials }));
  const { code, reason } = await link.event("failed");
  assertEquals(code, 401);
  assertMatch(reason, /^401/);
});

e2e("486: a quota that is used up ends the attempt with the server's word", {
  needs: ["full", "turnserver"],
}, async (scope) => {
  const coturn = await startCoturn(scope, { flags: ["--user-quota", "1"] });
  const credentials = restFor(coturn.secret);
  const first = scope.use(TurnLink.open({ server: coturn.plain, credentials }));
  await first.event("allocated");
  const second = scope.use(TurnLink.open({ server: coturn.plain, credentials }));
  assertEquals((await second.event("failed")).code, 486);
});

e2e(
  "newer credentials do not touch an allocation that the old ones keep",
  {
    needs: ["full", "turnserver"],
  },
  async (scope) => {
    const coturn = await startCoturn(scope);
    const link = scope.use(await linkTo(coturn, "udp"));
    await link.event("allocated");
    link.client.setCredentials(restFor(coturn.secret, "newer"));
    const peer = openPeer(scope);
    link.say(peer.address, "still the old ones");
    assertEquals((await peer.next())[0], "still the old ones");
  },
);

e2e("the client notices within five seconds that coturn has died under traffic", {
  needs: ["full", "turnserver"],
}, async (scope) => {
  const coturn = await startCoturn(scope);
  const link = scope.use(await linkTo(coturn, "udp"));
  await link.event("allocated");
  const peer = openPeer(scope);
  link.say(peer.address, "hello");
  await peer.next();
  coturn.child.signal("SIGKILL");
  const killedAt = performance.now();
  const talking = setInterval(() => link.say(peer.address, "?"), 100);
  scope.defer(() => clearInterval(talking));
  const { reason } = await link.event("lost");
  assertMatch(reason, /does not answer/);
  assert(performance.now() - killedAt < 5_000);
});

e2e("coturn relays IPv6 where the client wants it", {
  needs: ["full", "turnserver"],
}, async (scope) => {
  const coturn = await startCoturn(scope, { addresses: ["127.0.0.1", "::1"] });
  // coturn 4.6 knows ADDITIONAL-ADDRESS-FAMILY by the number of a draft only, so that one allocation has one family there.
  const options = { server: coturn.plain, credentials: restFor(coturn.secret) };
  const link = scope.use(TurnLink.open({ ...options, families: [6] }));
  const { relayed } = await link.event("allocated");
  assertEquals(relayed.map(({ hostname }) => hostname), ["::1"]);
  const peer = openPeer(scope, "::1");
  link.say(peer.address, "six");
  assertEquals((await peer.next())[0], "six");
});

async function linkTo(coturn: Coturn, kind: typeof CARRIERS[number]): Promise<TurnLink> {
  const credentials = restFor(coturn.secret);
  const server = kind === "tls" ? coturn.tls : coturn.plain;
  return TurnLink.open({ server, credentials }, await carrierTo(coturn, kind));
}

async function carrierTo(coturn: Coturn, kind: typeof CARRIERS[number]): Promise<TurnCarrier> {
  if (kind === "udp") return { kind };
  const conn = kind === "tcp"
    ? await Deno.connect(coturn.plain)
    : await Deno.connectTls({ ...coturn.tls, caCerts: [coturn.certificate] });
  if ("handshake" in conn) await conn.handshake();
  return { kind: "stream", conn };
}

/** A peer on loopback. */
interface Peer {
  readonly address: SocketAddress;
  /** Datagrams that came so far. */
  readonly heard: number;
  say(text: string, to: SocketAddress): Promise<void>;
  next(): Promise<[string, SocketAddress]>;
}

function openPeer(scope: Scope, hostname = "127.0.0.1"): Peer {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  const queue: [string, SocketAddress][] = [];
  let heard = 0;
  const reading = (async (): Promise<void> => {
    try {
      for await (const [payload, from] of socket) {
        const { hostname, port } = from as Deno.NetAddr;
        heard++;
        queue.push([new TextDecoder().decode(payload), { hostname, port }]);
      }
    } catch {
      // Closed.
    }
  })();
  scope.defer(async () => {
    socket.close();
    await reading;
  });
  const { port } = socket.addr as Deno.NetAddr;
  return {
    address: { hostname, port },
    get heard(): number {
      return heard;
    },
    say: async (text, to) => {
      await socket.send(new TextEncoder().encode(text), { transport: "udp", ...to });
    },
    next: () => eventually("a datagram at the peer", () => queue.shift(), { everyMs: 5 }),
  };
}
