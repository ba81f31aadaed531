/** The datapath over relays: ours and coturn, by every transport, with real sockets and Workers on loopback. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { formatSocketAddress } from "../core/mod.ts";
import { RELAY_LIMITS } from "../relay/mod.ts";
import { infoOf, RelayedNode, relayInfo, startTestRelay, udpWay } from "./support/relayed_nodes.ts";
import { e2e, eventually } from "./support/scope.ts";
import { startPion } from "./support/pion.ts";
import { freePort, startCoturn } from "./support/turn.ts";

const MIB = 1 << 20;

for (const kind of ["udp", "tcp", "websocket"] as const) {
  for (const driver of ["fast", "portable"] as const) {
    e2e(`${driver}: two nodes reach each other over our relay by ${kind}`, {
      needs: driver === "fast" ? ["full"] : [],
      timeoutMs: 60_000,
    }, async (scope) => {
      const server = await startTestRelay(scope);
      const [a, b] = await Promise.all(
        [1, 2].map((number) => RelayedNode.start(scope, { number, driver })),
      );
      assert(a !== undefined && b !== undefined);
      await Promise.all([a, b].map((node) => node.setRelays(relayInfo(server, "r1", [kind]))));
      const ready = await Promise.all([a, b].map((node) => node.ready("r1")));
      assertEquals(ready.map(({ transport }) => transport), [kind, kind]);
      assertEquals(server.relay.allocations, 2);
      await Promise.all([a.meet(b), b.meet(a)]);
      await a.ping(b);
      await a.echo(b, 4 * MIB);
      const { peers: [peer], counters } = await a.datapath.client.send({ kind: "status" });
      assertEquals(peer?.relayed, true);
      assertEquals(counters["relayTooLong"], undefined);
      // What is given up is given back.
      await a.setRelays();
      await eventually(
        "the relay to hear of it",
        () => server.relay.allocations === 1 || undefined,
      );
      await b.datapath.stop(2_000);
      await eventually(
        "the relay to hear of the end",
        () => server.relay.allocations === 0 || undefined,
      );
    });
  }
}

for (
  const { id, needs, start } of [
    { id: "coturn", needs: ["full", "turnserver"], start: startCoturn },
    { id: "pion", needs: ["full", "go"], start: startPion },
  ] as const
) {
  for (const kind of ["udp", "tcp"] as const) {
    e2e(`two nodes reach each other over ${id} by ${kind}`, {
      needs,
      timeoutMs: 400_000,
    }, async (scope) => {
      const { plain, secret } = await start(scope);
      const [a, b] = [
        await RelayedNode.start(scope, { number: 1 }),
        await RelayedNode.start(scope, { number: 2 }),
      ];
      const way = kind === "udp"
        ? udpWay(plain)
        : { kind, address: formatSocketAddress(plain) } as const;
      for (const node of [a, b]) {
        await node.setRelays(infoOf({ secret, id, transports: [way] }));
        await node.ready(id);
      }
      await Promise.all([a.meet(b), b.meet(a)]);
      await a.ping(b);
      await a.echo(b, 4 * MIB);
    });
  }
}

e2e(
  "where UDP and TCP are not answered, the next transport carries within three seconds",
  {},
  async (scope) => {
    const server = await startTestRelay(scope);
    const node = await RelayedNode.start(scope, { number: 1 });
    const [silent, refusing] = [
      Deno.listenDatagram({
        transport: "udp",
        hostname: "127.0.0.1",
        port: 0,
      }),
      freePort(),
    ];
    scope.defer(() => silent.close());
    const { port } = silent.addr as Deno.NetAddr;
    const info = relayInfo(server, "r1", ["websocket"]);
    const startedAt = performance.now();
    await node.setRelays({
      ...info,
      transports: [
        udpWay({ hostname: "127.0.0.1", port }),
        { kind: "tcp", address: `127.0.0.1:${refusing}` },
        ...info.transports,
      ],
    });
    const { transport } = await node.ready("r1");
    assertEquals(transport, "websocket");
    assert(performance.now() - startedAt < 3_000);
  },
);

e2e(
  "a relay that refuses is shown with its reason, and tried again when it is there",
  {},
  async (scope) => {
    const node = await RelayedNode.start(scope, { number: 1 });
    const port = freePort();
    const address = { hostname: "127.0.0.1", port };
    const secret = crypto.randomUUID();
    const transport = { kind: "tcp", address: formatSocketAddress(address) } as const;
    await node.setRelays(infoOf({ secret, id: "r1", transports: [transport] }));
    const { reason } = await eventually("the relay to fail", async () => {
      return (await node.relays()).find(({ state }) => state === "failed");
    });
    assertMatch(reason ?? "", /^tcp: .*refused/i);
    await startTestRelay(scope, { listenTcp: [address], secret });
    await node.ready("r1");
    const told = node.events.filter(({ kind }) => kind === "relaysChanged");
    assert(told.length >= 2);
  },
);

e2e("a relay dies under load: the other one carries on within 6.5 s", {
  needs: ["full"],
}, async (scope) => {
  const [first, second] = [await startTestRelay(scope), await startTestRelay(scope)];
  const [a, b] = [
    await RelayedNode.start(scope, { number: 1 }),
    await RelayedNode.start(scope, { number: 2 }),
  ];
  for (const node of [a, b]) {
    await node.setRelays(relayInfo(first, "r1"), relayInfo(second, "r2"));
    await Promise.all([node.ready("r1"), node.ready("r2")]);
  }
  await Promise.all([a.meet(b), b.meet(a)]);
  await a.ping(b);
  await a.echo(b, MIB);
  await first.relay.stop();
  const stoppedAt = performance.now();
  await a.ping(b, 6_500);
  await a.echo(b, MIB);
  assert(performance.now() - stoppedAt < 6_500, `${performance.now() - stoppedAt} ms`);
});

e2e(
  "a relay that ends says so before: it is shown as draining, and carries on meanwhile",
  {},
  async (scope) => {
    const server = await startTestRelay(scope);
    const node = await RelayedNode.start(scope, { number: 1 });
    await node.setRelays(relayInfo(server, "r1", ["udp"]));
    assertEquals((await node.ready("r1")).draining, undefined);
    const drained = server.relay.drain({ ms: 3_000 });
    const { locals } = await eventually("the node to hear of it", async () => {
      return (await node.relays()).find(({ draining, state }) =>
        draining === true && state === "ready"
      );
    });
    assertEquals(locals?.length, 1);
    // Who gives its allocation back ends the drain.
    const startedAt = performance.now();
    await node.setRelays();
    await drained;
    assert(performance.now() - startedAt < 2_000);
  },
);

e2e("a node hears that its relay drops what a limit does not let through", {
  timeoutMs: 60_000,
}, async (scope) => {
  const { scopes } = RELAY_LIMITS;
  const session = { ...scopes.session, packetsPerSecond: 1000 };
  const limits = { ...RELAY_LIMITS, scopes: { ...scopes, session } };
  const server = await startTestRelay(scope, { limits });
  const [a, b] = await Promise.all(
    [1, 2].map((number) => RelayedNode.start(scope, { number })),
  );
  assert(a !== undefined && b !== undefined);
  await Promise.all([a, b].map((node) => node.setRelays(relayInfo(server, "r1", ["udp"]))));
  await Promise.all([a, b].map((node) => node.ready("r1")));
  await Promise.all([a.meet(b), b.meet(a)]);
  await a.echo(b, MIB);
  const limited = await eventually("one of the nodes to hear of it", async () => {
    const relays = (await Promise.all([a, b].map((node) => node.relays()))).flat();
    return relays.find((relay) => relay.limited !== undefined)?.limited;
  });
  assertEquals(limited.scope, "session");
  const dropped = server.relay.counters()["limited:session"] ?? 0;
  assert(limited.packets > 0 && limited.packets <= dropped, `${limited.packets} of ${dropped}`);
});
