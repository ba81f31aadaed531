/** A node's relay in its Worker, and Discovery's look at it, on real sockets of 127.0.0.1. */
import { deepStrictEqual as assertEquals, ok as assert, rejects } from "node:assert/strict";
import { parseSocketAddress, type SocketAddress } from "../core/mod.ts";
import { checkVolunteer } from "../discovery/service/volunteer_check.ts";
import { RELAY_LIMITS, type RunningRelayWorker, startRelayWorker } from "../relay/mod.ts";
import { e2e, type Scope } from "./support/scope.ts";
import { restFor, TurnLink } from "./support/turn.ts";
import { openUdp } from "./support/udp.ts";

const ANY_PORT = [{ hostname: "127.0.0.1", port: 0 }];
const SECRET = "of this relay alone";
const REEF = "0123abcd";

async function startVolunteer(scope: Scope, more: object = {}): Promise<RunningRelayWorker> {
  return scope.use(
    await startRelayWorker({
      listenUdp: ANY_PORT,
      listenTcp: ANY_PORT,
      externalIps: ["127.0.0.1"],
      secret: SECRET,
      onlyMesh: REEF,
      allowPrivatePeers: true,
      log: () => {},
      ...more,
    }),
  );
}

function udpOf({ transports }: RunningRelayWorker): SocketAddress {
  const address = parseSocketAddress(transports[0]?.endpoint ?? "");
  assert(address !== undefined);
  return address;
}

e2e("a relay in a Worker carries, accounts, ends a session that was revoked, and ends itself", {
  timeoutMs: 60_000,
}, async (scope) => {
  const relay = await startVolunteer(scope);
  assertEquals(relay.transports.map(({ kind }) => kind), ["udp", "tcp"]);
  const server = udpOf(relay);
  const session = `${REEF}.aaaaaaaa.one`;
  const link = scope.use(TurnLink.open({ server, credentials: restFor(SECRET, session) }));
  await link.event("allocated");
  const stranger = scope.use(
    TurnLink.open({ server, credentials: restFor(SECRET, "89abcdef.aaaaaaaa.two") }),
  );
  await rejects(stranger.event("allocated"), /401/);
  assertEquals((await relay.report()).sessions, 1);
  assertEquals(relay.counters["allocations"], 1);

  relay.revoke([session]);
  link.change((client, now) => client.setPeers(now, ["127.0.0.1"]));
  const { reason } = await link.event("lost");
  assert(/^437|^401/.test(reason), reason);
  assertEquals((await relay.report()).sessions, 0);
  await relay.stop();
  await relay.finished;
  await rejects(relay.report(), { code: "closed" });
});

e2e("a relay in a Worker that cannot start says why", { timeoutMs: 60_000 }, async (scope) => {
  const { port } = openUdp(scope);
  const listenUdp = [{ hostname: "127.0.0.1", port }];
  await rejects(startVolunteer(scope, { listenUdp }), { code: "portInUse" });
  await rejects(startVolunteer(scope, { secret: "" }), { code: "usage" });
});

e2e("Discovery's look finds a relay that others can use, by UDP and TCP", {
  timeoutMs: 60_000,
}, async (scope) => {
  const relay = await startVolunteer(scope);
  const { transports } = relay;
  const credentials = restFor(SECRET, `${REEF}.aaaaaaaa.check`);
  assertEquals(await checkVolunteer({ transports, credentials }, { allowPrivate: true }), {
    transports,
  });
  // It leaves nothing behind.
  assertEquals((await relay.report()).sessions, 0);
  const nobody = { kind: "tcp", endpoint: "127.0.0.1:1" } as const;
  const [udp] = transports;
  assert(udp !== undefined);
  assertEquals(
    await checkVolunteer({ transports: [udp, nobody], credentials }, { allowPrivate: true }),
    { transports: [udp] },
  );
});

e2e("Discovery's look says why a relay is of no use", { timeoutMs: 60_000 }, async (scope) => {
  const relay = await startVolunteer(scope, {
    limits: {
      ...RELAY_LIMITS,
      scopes: {
        ...RELAY_LIMITS.scopes,
        total: { ...RELAY_LIMITS.scopes.total, allocationsMax: 0 },
      },
    },
  });
  const { transports } = relay;
  const credentials = restFor(SECRET, `${REEF}.aaaaaaaa.check`);
  const look = (
    given: Parameters<typeof checkVolunteer>[0]["transports"],
    { secret = SECRET, allowPrivate = true } = {},
  ) =>
    checkVolunteer({
      transports: given,
      credentials: secret === SECRET ? credentials : restFor(secret, `${REEF}.aaaaaaaa.check`),
    }, { allowPrivate });
  assertEquals(await look(transports), {
    reason: "it refuses its own credentials: 508 Insufficient Capacity",
  });
  assertEquals(await look(transports, { secret: "another" }), {
    reason: "it refuses its own credentials: 401 Unauthenticated",
  });
  assertEquals(await look(transports, { allowPrivate: false }), {
    reason: "its address is private",
  });
  assertEquals(await look([{ kind: "tcp", endpoint: "127.0.0.1:1" }]), {
    reason: "it names no UDP address",
  });
  assertEquals(await look([{ kind: "udp", endpoint: "224.0.0.1:3478" }]), {
    reason: "its address is private",
  });
  const { port } = openUdp(scope);
  assertEquals(await look([{ kind: "udp", endpoint: `127.0.0.1:${port}` }]), {
    reason: "its UDP port does not answer from outside",
  });
});
