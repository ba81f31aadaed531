import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { RelayReporterOptions } from "../discovery/mod.ts";
import { identityOf } from "../discovery/testing/identity.ts";
import { RelayOffer } from "./relay_offer.ts";
import type { OfferedRelay, OfferedRelaySpec } from "./relay_offer_options.ts";
import type { CandidateInfo } from "./shared/mod.ts";

const KEY = "2hpJTCyrDEZqnLRwzCMzEK34V4kTECGi2cLQb4/lqmc=";
const KEYS = await identityOf(1);
const PUBLIC: CandidateInfo = { kind: "host", address: "203.0.113.9:40000" };
const MOVED: CandidateInfo = { kind: "host", address: "203.0.113.10:40000" };

/** An offer whose relays and reports only note what they are told. */
class World {
  readonly specs: OfferedRelaySpec[] = [];
  readonly ended: string[] = [];
  readonly reports: RelayReporterOptions[] = [];
  readonly deaths: PromiseWithResolvers<void>[] = [];
  refusal: Error | undefined;
  readonly offer: RelayOffer;
  #wake = Promise.withResolvers<void>();

  constructor() {
    this.offer = new RelayOffer({
      offerRelay: { port: 3478, start: (spec) => this.#start(spec) },
      mesh: "reef",
      publicKey: KEY,
      keys: KEYS,
      discovery: ["http://192.0.2.1"],
      log: () => {},
      startReporter: (options) => {
        this.reports.push(options);
        this.#told();
        return Promise.resolve({
          droppedUsage: 0,
          report: () => Promise.resolve(),
          stop: () => {
            this.ended.push("reports");
            return Promise.resolve();
          },
          [Symbol.asyncDispose]: () => Promise.resolve(),
        });
      },
    });
  }

  /** Resolves at the next attempt to start a relay, once that is over. */
  async started(): Promise<void> {
    // The offer's own timers keep no program alive.
    const alive = setInterval(() => {}, 1000);
    await this.#wake.promise;
    clearInterval(alive);
    this.#wake = Promise.withResolvers<void>();
    await new Promise((resolve) => setTimeout(resolve));
  }

  #told(): void {
    this.#wake.resolve();
  }

  #start(spec: OfferedRelaySpec): Promise<OfferedRelay> {
    this.specs.push(spec);
    if (this.refusal !== undefined) {
      this.#told();
      return Promise.reject(this.refusal);
    }
    const death = Promise.withResolvers<void>();
    this.deaths.push(death);
    const { port, externalIps: [ip = ""] } = spec;
    return Promise.resolve({
      transports: [{ kind: "udp", endpoint: `${ip}:${port}` }],
      listening: [`udp=0.0.0.0:${port}`],
      finished: death.promise,
      report: () =>
        Promise.resolve({
          load: 0,
          draining: false,
          sessions: 2,
          usage: [{ sessionId: "s", rxBytes: 5, txBytes: 7 }],
        }),
      revoke: () => {},
      drain: () => Promise.resolve(),
      stop: () => {
        this.ended.push(`relay of ${ip}`);
        return Promise.resolve();
      },
    });
  }
}

Deno.test("a node relays once it is registered and has a public address, for its mesh alone, with a secret of its own", async () => {
  const world = new World();
  const { offer } = world;
  offer.start(51820);
  assertEquals(offer.status.reason, "this node has no public address");
  offer.setCandidates([PUBLIC]);
  assertEquals(offer.status.reason, "this node is not registered yet");
  assertEquals(world.specs.length, 0);
  offer.registered();
  await world.started();
  const [spec] = world.specs;
  const [reports] = world.reports;
  assert(spec !== undefined && reports !== undefined);
  assertEquals([spec.externalIps, spec.ownPorts, spec.port], [["203.0.113.9"], [51820], 3478]);
  assertEquals([spec.bytesPerSecond, spec.sessionsMax, spec.allowPrivatePeers], [
    1_000_000,
    16,
    false,
  ]);
  assertEquals(reports.volunteer, { meshId: "reef", publicKey: KEY });
  assertEquals(reports.secret, spec.secret);
  assert(spec.secret.length >= 32);
  assertEquals(offer.status.reason, "Discovery has not answered yet");

  await reports.report();
  reports.onStanding?.("http://192.0.2.1", { offered: false, reason: "it is silent" });
  const { reason, addresses, sessions, rxBytes, txBytes } = offer.status;
  assertEquals([reason, addresses, sessions, rxBytes, txBytes], [
    "it is silent",
    ["203.0.113.9:3478"],
    2,
    5,
    7,
  ]);
  reports.onStanding?.("http://192.0.2.1", { offered: true, reason: "" });
  assertEquals([offer.status.offered, offer.status.reason], [true, null]);

  await offer.stop();
  assertEquals(world.ended, ["reports", "relay of 203.0.113.9"]);
  assertEquals(offer.status.offered, false);
});

Deno.test("another address is another relay, with another secret; no address is none", async () => {
  const world = new World();
  world.offer.start(51820);
  world.offer.setCandidates([PUBLIC]);
  world.offer.registered();
  await world.started();
  world.offer.setCandidates([MOVED]);
  await world.started();
  const [first, second] = world.specs;
  assertEquals(second?.externalIps, ["203.0.113.10"]);
  assert(first?.secret !== second?.secret);
  assertEquals(world.ended, ["reports", "relay of 203.0.113.9"]);
  world.offer.setCandidates([]);
  await world.offer.stop();
  assertEquals(world.ended.slice(2), ["reports", "relay of 203.0.113.10"]);
});

Deno.test("a relay that does not start, or dies, is no reason to end: status says why", async () => {
  const refused = new World();
  refused.refusal = new Error("Cannot listen on UDP 0.0.0.0:3478: address is in use");
  refused.offer.start(51820);
  refused.offer.setCandidates([PUBLIC]);
  refused.offer.registered();
  await refused.started();
  assertEquals(refused.offer.status.reason, refused.refusal.message);
  await refused.offer.stop();

  const world = new World();
  world.offer.start(51820);
  world.offer.setCandidates([PUBLIC]);
  world.offer.registered();
  await world.started();
  world.deaths[0]?.reject(new Error("a listener died"));
  await new Promise((resolve) => setTimeout(resolve));
  assertEquals([world.offer.status.reason, world.offer.status.addresses], ["a listener died", []]);
  await world.offer.stop();
  assertEquals(world.ended, ["reports", "relay of 203.0.113.9"]);
});
