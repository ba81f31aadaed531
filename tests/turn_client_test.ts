/** Our TURN client against coturn and pion, over UDP, TCP and TLS on loopback. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { formatSocketAddress, type SocketAddress } from "../core/mod.ts";
import { e2e, eventually, type Scope } from "./support/scope.ts";
import type { Need } from "./support/needs.ts";
import { startPion } from "./support/pion.ts";
import {
  restFor,
  startCoturn,
  type TurnCarrier,
  TurnLink,
  type TurnServer,
} from "./support/turn.ts";

const CARRIERS = ["udp", "tcp", "tls"] as const;

/** A server of somebody else, and how it is started. */
interface Other {
  readonly name: string;
  readonly needs: readonly Need[];
  /** Where it has a quota of allocations. */
  start(scope: Scope, quota?: number): Promise<TurnServer>;
  /** What it says to a wrong password. */
  readonly refusal: number;
}

const OTHERS: readonly Other[] = [
  {
    name: "coturn",
    needs: ["full", "turnserver"],
    start: (scope, quota) =>
      startCoturn(scope, {
        flags: ["-v", ...quota === undefined ? [] : ["--user-quota", `${quota}`]],
      }),
    refusal: 401,
  },
  {
    name: "pion",
    needs: ["full", "go"],
    start: (scope, quota) => startPion(scope, quota === undefined ? {} : { quota }),
    refusal: 400,
  },
];

for (
  const { other, kind } of OTHERS.flatMap((other) => CARRIERS.map((kind) => ({ other, kind })))
) {
  e2e(`the TURN client works with ${other.name} over ${kind}`, {
    needs: other.needs,
    timeoutMs: 400_000,
  }, async (scope) => {
    const server = await other.start(scope);
    const link = scope.use(await linkTo(server, kind));
    const { relayed: [relayed] } = await link.event("allocated");
    assert(relayed !== undefined && relayed.hostname === "127.0.0.1");
    const peer = openPeer(scope);
    // Nobody is let in without a permission: who has an address of its own, at no time.
    await openPeer(scope, "127.0.0.2").say("uninvited", relayed);
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
    // What is given back is gone at once: the server says so.
    const released = server.child.line(server.removed);
    await link[Symbol.asyncDispose]();
    await released;
  });
}

for (const { name, needs, start, refusal } of OTHERS) {
  e2e(`437: the client removes what its port had at ${name} in an earlier life, and allocates`, {
    needs,
    timeoutMs: 400_000,
  }, async (scope) => {
    const { plain: server, secret } = await start(scope);
    const credentials = restFor(secret);
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const first = TurnLink.open({ server, credentials }, { kind: "udp", port });
    await first.event("allocated");
    await first.kill();
    const second = scope.use(TurnLink.open({ server, credentials }, { kind: "udp", port }));
    const { relayed } = await second.event("allocated");
    assertEquals(relayed.length, 1);
  });

  e2e(`${refusal}: wrong credentials end the attempt with the word of ${name}`, {
    needs,
    timeoutMs: 400_000,
  }, async (scope) => {
    const { plain: server, secret } = await start(scope);
    const credentials = { ...restFor(secret), password: "wrong" };
    const link = scope.use(TurnLink.open({ server, credentials }));
    const { code, reason } = await link.event("failed");
    assertEquals(code, refusal);
    assertMatch(reason, new RegExp(`^${refusal}`));
  });

  e2e(`486: a quota that is used up ends the attempt with the word of ${name}`, {
    needs,
    timeoutMs: 400_000,
  }, async (scope) => {
    const { plain: server, secret } = await start(scope, 1);
    const credentials = restFor(secret);
    const first = scope.use(TurnLink.open({ server, credentials }));
    await first.event("allocated");
    const second = scope.use(TurnLink.open({ server, credentials }));
    assertEquals((await second.event("failed")).code, 486);
  });

  e2e(`newer credentials do not touch an allocation at ${name} that the old ones keep`, {
    needs,
    timeoutMs: 400_000,
  }, async (scope) => {
    const server = await start(scope);
    const link = scope.use(await linkTo(server, "udp"));
    await link.event("allocated");
    link.client.setCredentials(restFor(server.secret, "newer"));
    const peer = openPeer(scope);
    link.say(peer.address, "still the old ones");
    assertEquals((await peer.next())[0], "still the old ones");
  });

  e2e(`the client notices within five seconds that ${name} has died under traffic`, {
    needs,
    timeoutMs: 400_000,
  }, async (scope) => {
    const server = await start(scope);
    const link = scope.use(await linkTo(server, "udp"));
    await link.event("allocated");
    const peer = openPeer(scope);
    link.say(peer.address, "hello");
    await peer.next();
    server.child.signal("SIGKILL");
    const killedAt = performance.now();
    const talking = setInterval(() => link.say(peer.address, "?"), 100);
    scope.defer(() => clearInterval(talking));
    const { reason } = await link.event("lost");
    assertMatch(reason, /does not answer/);
    assert(performance.now() - killedAt < 5_000);
  });
}

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

for (
  const { families, hostnames } of [
    { families: [6], hostnames: ["::1"] },
    { families: [4, 6], hostnames: ["127.0.0.1", "::1"] },
  ] as const
) {
  e2e(`coturn relays ${families.map((family) => `IPv${family}`).join(" and ")} in one allocation`, {
    needs: ["full", "turnserver"],
  }, async (scope) => {
    const coturn = await startCoturn(scope, { addresses: ["127.0.0.1", "::1"] });
    const options = { server: coturn.plain, credentials: restFor(coturn.secret) };
    const link = scope.use(TurnLink.open({ ...options, families }));
    const { relayed } = await link.event("allocated");
    assertEquals(relayed.map(({ hostname }) => hostname), hostnames);
    for (const hostname of hostnames) {
      const peer = openPeer(scope, hostname);
      link.say(peer.address, hostname);
      assertEquals((await peer.next())[0], hostname);
    }
  });
}

e2e("coturn without IPv6 gives IPv4 where the client would like both", {
  needs: ["full", "turnserver"],
}, async (scope) => {
  const coturn = await startCoturn(scope);
  const options = { server: coturn.plain, credentials: restFor(coturn.secret) };
  const link = scope.use(TurnLink.open({ ...options, families: [4, 6] }));
  const { relayed } = await link.event("allocated");
  assertEquals(relayed.map(({ hostname }) => hostname), ["127.0.0.1"]);
});

async function linkTo(other: TurnServer, kind: typeof CARRIERS[number]): Promise<TurnLink> {
  const credentials = restFor(other.secret);
  const server = kind === "tls" ? other.tls : other.plain;
  return TurnLink.open({ server, credentials }, await carrierTo(other, kind));
}

async function carrierTo(other: TurnServer, kind: typeof CARRIERS[number]): Promise<TurnCarrier> {
  if (kind === "udp") return { kind };
  const conn = kind === "tcp"
    ? await Deno.connect(other.plain)
    : await Deno.connectTls({ ...other.tls, caCerts: [other.certificate] });
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
