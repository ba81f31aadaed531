/** TURN clients of others against our relay: coturn's and pion, over UDP, TCP and TLS on loopback. */
import { match as assertMatch, strictEqual as assertEquals } from "node:assert/strict";
import { readTlsFiles, RELAY_LIMITS, type RelayLimits } from "../relay/mod.ts";
import { must } from "./support/child.ts";
import { runPion } from "./support/pion.ts";
import { startTestRelay, type TestRelay } from "./support/relayed_nodes.ts";
import { e2e, type Scope } from "./support/scope.ts";
import { restFor, selfSigned } from "./support/turn.ts";

const CARRIERS = ["udp", "tcp", "tls"] as const;
const ANY_PORT = [{ hostname: "127.0.0.1", port: 0 }];

/** One user name for all allocations of a test, and one address that they come from. */
const MANY: RelayLimits = {
  ...RELAY_LIMITS,
  scopes: {
    ...RELAY_LIMITS.scopes,
    session: { ...RELAY_LIMITS.scopes.session, allocationsMax: 2000 },
  },
  unprovenBurst: 10_000,
};

async function startRelay(scope: Scope): Promise<TestRelay> {
  const { certificate, key } = await selfSigned(scope.directory());
  const tls = await readTlsFiles(certificate, key);
  return await startTestRelay(scope, { listenTls: ANY_PORT, tls, limits: MANY });
}

function endpointOf({ relay }: TestRelay, kind: typeof CARRIERS[number]): string {
  return relay.transports.find((transport) => transport.kind === kind)?.endpoint ?? "";
}

for (const kind of CARRIERS) {
  for (const how of ["channels", "Send indications"] as const) {
    e2e(`coturn's client gets every message back over ${kind}, by ${how}`, {
      needs: ["full", "turnserver"],
      timeoutMs: 60_000,
    }, async (scope) => {
      const server = await startRelay(scope);
      const { username } = restFor(server.secret);
      const port = endpointOf(server, kind).split(":")[1] ?? "";
      const flags = { udp: [], tcp: ["-t"], tls: ["-t", "-S"] }[kind];
      // -y: from client to client, through two allocations; few, since it lets two of its sockets have one port by chance.
      const output = await must([
        ...["turnutils_uclient", ...flags, ...(how === "channels" ? [] : ["-s"])],
        ...["-u", username, "-W", server.secret, "-p", port, "-c", "-y"],
        ...["-n", "10", "-m", "4", "-l", "171", "127.0.0.1"],
      ], { timeoutMs: 50_000 });
      assertMatch(output, /tot_send_msgs=40, tot_recv_msgs=40/);
      assertMatch(output, /Total lost packets 0 /);
    });
  }

  e2e(`pion's client makes allocations and echoes over ${kind}`, {
    needs: ["full", "go"],
    timeoutMs: 400_000,
  }, async (scope) => {
    const server = await startRelay(scope);
    const credentials = restFor(server.secret);
    const endpoint = endpointOf(server, kind);
    const outcome = await runPion({
      server: endpoint,
      transport: kind,
      ...credentials,
      count: 10,
      datagrams: 20,
    });
    assertEquals(outcome.allocations, 10);
    assertEquals(outcome.echoed, 200);
    // Its last word is Refresh with LIFETIME 0.
    assertEquals(server.relay.allocations, 0);
  });
}

for (const kind of ["udp", "tcp"] as const) {
  e2e(`pion's client has 1,000 allocations at once over ${kind}`, {
    needs: ["full", "go"],
    timeoutMs: 400_000,
  }, async (scope) => {
    const server = await startRelay(scope);
    const credentials = restFor(server.secret);
    const outcome = await runPion({
      server: endpointOf(server, kind),
      transport: kind,
      ...credentials,
      count: 1000,
      datagrams: 5,
    });
    assertEquals(outcome.allocations, 1000);
    assertEquals(outcome.echoed, 5000);
    assertEquals(server.relay.counters()["allocated"], 1000);
  });
}
