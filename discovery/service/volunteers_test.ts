import { deepStrictEqual as assertEquals, ok as assert, rejects } from "node:assert/strict";
import { Code } from "@connectrpc/connect";
import { parseKey } from "../../core/mod.ts";
import { type RegisterRelayResponse, type RequestRelayResponse } from "../../proto/mod.ts";
import { parseRestUsername, restPassword } from "../../traversal/mod.ts";
import { meshTag, volunteerId } from "../relay/names.ts";
import { type RelayReport, sealReport } from "../relay/report.ts";
import { SqliteStore } from "../store/sqlite_store.ts";
import { key } from "../testing/nodes.ts";
import { provingClients, selfProvingClient } from "../testing/proving_client.ts";
import { Service } from "./service.ts";
import type { CheckedVolunteer } from "./volunteer_check.ts";
import type { CheckResult } from "./volunteer_registry.ts";

const START = 1_700_000_000_000;
const SECRET = "a-secret-that-nobody-else-was-ever-told";
const UDP = { kind: "udp", endpoint: "203.0.113.7:3478" } as const;

/** A Discovery without relays of its own, and what its checks find. */
class World implements AsyncDisposable {
  now = START;
  result: CheckResult = { transports: [UDP] };
  readonly checks: CheckedVolunteer[] = [];
  readonly #store = SqliteStore.open(":memory:");
  readonly #service: Service;
  readonly client;
  readonly as;
  #ids = 0;

  constructor() {
    this.#service = new Service({
      store: this.#store,
      ttlMs: 300_000,
      heartbeatMs: 15_000,
      stun: [],
      version: "1.2.3",
      now: () => this.now,
      randomId: () => `id${this.#ids++}`,
      log: () => {},
      relays: {
        volunteers: {
          check: (volunteer) => {
            this.checks.push(volunteer);
            return Promise.resolve(this.result);
          },
        },
      },
    });
    this.client = selfProvingClient(this.#service, key(1));
    this.as = provingClients(this.#service);
  }

  async register(seed: number, meshId: string): Promise<void> {
    await this.client.registerAgent({
      meshId,
      agentId: `a${seed}`,
      pubkey: key(seed),
      endpoints: ["192.0.2.1:51820"],
    });
  }

  /** The report of the relay that the node with key `seed` runs. */
  report(
    seed: number,
    { meshId = "reef", secret = SECRET, ...part }: Partial<RelayReport> & {
      readonly meshId?: string;
      readonly secret?: string;
    } = {},
  ): Promise<RegisterRelayResponse> {
    const pubkey = key(seed);
    const sealed = sealReport(secret, {
      id: volunteerId({ meshId, publicKey: pubkey }),
      issuedAt: ++this.now,
      region: "",
      transports: [UDP],
      realm: "moray",
      load: 0,
      draining: false,
      sessions: 0,
      bandwidthBytesPerSecond: 1_000_000,
      usage: [],
      ...part,
    });
    return this.client.registerRelay({ ...sealed, meshId, pubkey, secret });
  }

  ask(seed: number, meshId = "reef", relayId = ""): Promise<RequestRelayResponse> {
    const nodePubkey = parseKey(key(seed)) ?? new Uint8Array();
    return this.client.requestRelay({ meshId, nodePubkey, relayId });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#service.close();
    await this.#store.close();
  }
}

Deno.test("a node's relay is given to registered nodes of its mesh, with credentials of its own secret", async () => {
  await using world = new World();
  await world.register(1, "reef");
  await world.register(2, "reef");
  assertEquals((await world.client.getServerInfo({})).features, [
    "deregister",
    "members",
    "paths",
    "proof",
    "punch",
    "rotation",
    "statement",
    "token",
    "volunteer",
    "watch",
  ]);
  const { offered, reason } = await world.report(1);
  assertEquals([offered, reason], [true, ""]);
  const { relayId, sessionId, username, password, relays, transports } = await world.ask(2);
  const id = volunteerId({ meshId: "reef", publicKey: key(1) });
  assertEquals([relayId, relays.map((one) => one.relayId)], [id, [id]]);
  assertEquals(transports.map(({ kind, endpoint }) => ({ kind, endpoint })), [UDP]);
  assertEquals(sessionId.split(".")[0], meshTag("reef"));
  assertEquals(password, restPassword(SECRET, username));
  // The check's own credentials are a session of the mesh too, and soon over.
  const [check] = world.checks;
  const checked = parseRestUsername(check?.credentials.username ?? "");
  assertEquals(checked?.session.split(".")[0], meshTag("reef"));
  assert((checked?.expiresAtSeconds ?? Infinity) * 1000 <= world.now + 60_000);
});

Deno.test("nobody else hears of it: another mesh, a node that is not registered, the node itself, a look-up", async () => {
  await using world = new World();
  for (const seed of [1, 2]) await world.register(seed, "reef");
  await world.register(3, "atoll");
  await world.client.registerColony({ meshId: "reef", pubkey: key(9), endpoints: ["192.0.2.9:1"] });
  await world.report(1);
  const id = volunteerId({ meshId: "reef", publicKey: key(1) });
  for (const relayId of ["", id]) {
    for (const [seed, mesh] of [[3, "atoll"], [4, "reef"], [1, "reef"], [2, "atoll"]] as const) {
      await rejects(world.ask(seed, mesh, relayId), { code: Code.NotFound }, `${seed} of ${mesh}`);
    }
  }
  assertEquals((await world.client.lookupColony({ meshId: "reef" })).relays, []);
  assertEquals((await world.ask(2)).relayId, id);
});

Deno.test("a report is refused of a node that is not registered, of another's relay, and of whoever does not know the secret", async () => {
  await using world = new World();
  await rejects(world.report(1), { code: Code.FailedPrecondition });
  await world.register(1, "reef");
  await world.register(2, "reef");
  const id = volunteerId({ meshId: "reef", publicKey: key(1) });
  await rejects(world.report(2, { id }), { code: Code.InvalidArgument });
  await rejects(world.report(1, { secret: "short" }), { code: Code.InvalidArgument });
  await world.report(1);
  await rejects(world.report(1, { secret: `another-${SECRET}` }), {
    code: Code.AlreadyExists,
  });
  const pubkey = key(1);
  const forged = { report: new Uint8Array(8), mac: new Uint8Array(32), secret: SECRET };
  await rejects(
    world.client.registerRelay({ ...forged, meshId: "reef", pubkey }),
    { code: Code.InvalidArgument },
  );
  assertEquals((await world.ask(2)).password.length, 28);
});

Deno.test("a relay that cannot be reached is offered to nobody until it can", async () => {
  await using world = new World();
  await world.register(1, "reef");
  await world.register(2, "reef");
  world.result = { reason: "its UDP port does not answer from outside" };
  const { offered, reason } = await world.report(1);
  assertEquals([offered, reason], [false, "its UDP port does not answer from outside"]);
  await rejects(world.ask(2), { code: Code.NotFound });
  world.result = { transports: [UDP] };
  assertEquals((await world.report(1)).offered, false);
  world.now += 15_000;
  assertEquals((await world.report(1)).offered, true);
  assertEquals(world.checks.length, 2);
  await world.ask(2);
});

Deno.test("a node's relay goes when the node logs out, and hears of sessions that were given back", async () => {
  await using world = new World();
  for (const seed of [1, 2, 3]) await world.register(seed, "reef");
  await world.report(1);
  const released = await world.ask(2);
  const left = await world.ask(3);
  await world.as(key(2)).releaseRelay({ meshId: "reef", sessionId: released.sessionId });
  await world.client.deregisterAgent({ meshId: "reef", pubkey: key(3) });
  assertEquals((await world.report(1)).revokedSessions, [left.sessionId, released.sessionId]);
  world.now += 60_000;
  assertEquals((await world.report(1)).revokedSessions, []);
  await world.client.deregisterAgent({ meshId: "reef", pubkey: key(1) });
  await rejects(world.ask(2), { code: Code.NotFound });
});
