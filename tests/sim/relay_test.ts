/** A relay of the world passes on what two of the project's clients say, under their names, and forgets them when it is killed. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import {
  after,
  formatSocketAddress,
  type Instant,
  parseSocketAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import type { RelayReport } from "../../discovery/relay/report.ts";
import { restCredentials, TurnClient } from "../../traversal/mod.ts";
import { EventQueue } from "./event_queue.ts";
import { Host } from "./net/host.ts";
import { PERFECT } from "./net/link.ts";
import { Network, type Wire } from "./net/network.ts";
import type { Packet } from "./net/packet.ts";
import { chanceOf } from "./random.ts";
import { RELAY_SECRET, relayAddresses, SimRelay } from "./relay.ts";
import type { RelayPlan } from "./relay_plan.ts";
import { EPOCH_MS } from "./wall_clock.ts";

const PLAN: RelayPlan = { id: "relay0", families: [4, 6], link: { ...PERFECT, delayMs: 5 } };
const PORT = 51_820;
/** The shortest thing that passes for WireGuard: a keepalive. */
const KEEPALIVE = Uint8Array.from({ length: 32 }, (_, i) => i === 0 ? 4 : 0);

class World {
  readonly queue = new EventQueue();
  readonly faults: string[] = [];
  readonly reports: RelayReport[] = [];
  readonly wire: Wire;
  readonly internet: Network;
  readonly relay: SimRelay;
  now = 0 as Instant;

  constructor() {
    this.wire = {
      now: () => this.now,
      at: (instant, happening) => this.queue.push(instant, happening),
      dropped: () => undefined,
    };
    this.internet = new Network({ name: "internet", wire: this.wire });
    this.relay = new SimRelay({
      plan: PLAN,
      addresses: relayAddresses(PLAN, 0),
      seed: 1,
      wire: this.wire,
      internet: this.internet,
      onReport: (report) => this.reports.push(report),
      onFault: (what) => this.faults.push(what),
    });
    this.relay.start();
  }

  pass(ms: number, ends: readonly End[] = []): void {
    const end = after(this.now, ms);
    for (let at = this.now; at <= end; at = after(at, 50)) {
      for (let next; (next = this.queue.nextAt) !== undefined && next <= at;) {
        this.now = next;
        this.queue.pop()?.();
      }
      this.now = at;
      for (const one of ends) one.turn();
    }
  }
}

/** A client of the relay on a host of its own. */
class End {
  readonly received: { readonly packet: Packet; readonly peer: SocketAddress }[] = [];
  readonly refusals: string[] = [];
  readonly client: TurnClient;
  readonly #world: World;
  readonly #host: Host;

  constructor(world: World, name: string, address: string) {
    this.#world = world;
    this.#host = new Host(name, world.wire);
    this.#host.plug({ name: "eth0", network: world.internet, addresses: [address] });
    this.#host.open({
      datagram: (packet) => this.#take(packet),
      icmp: ({ kind }) => this.refusals.push(kind),
    }, PORT);
    const [server] = world.relay.endpoints;
    assert(server !== undefined);
    const expiresAtSeconds = EPOCH_MS / 1000 + 3600;
    this.client = new TurnClient(world.now, {
      server,
      rng: chanceOf(1, name),
      credentials: restCredentials(RELAY_SECRET, { session: name, expiresAtSeconds }),
    });
    this.turn();
  }

  get relayed(): SocketAddress {
    const [address] = this.client.relayed;
    assert(address !== undefined, "there is an allocation");
    return address;
  }

  turn(): void {
    this.client.handleTimeout(this.#world.now);
    for (let out; (out = this.client.pollTransmit()) !== undefined;) {
      this.#host.send(PORT, out.destination, out.payload);
    }
  }

  say(peer: SocketAddress, bytes: Uint8Array): void {
    assertEquals(this.client.channelTo(this.#world.now, peer), undefined);
    this.turn();
    const payload = this.client.encodeSend(peer, bytes);
    if (payload !== undefined) this.#host.send(PORT, this.client.server, payload);
  }

  #take(packet: Packet): void {
    const { source, bytes } = packet;
    const opened = this.client.open(this.#world.now, bytes);
    if (opened !== undefined) this.received.push({ packet, peer: opened.peer });
    else this.client.handleInput(this.#world.now, { source, payload: bytes });
    this.turn();
  }
}

function two(): { world: World; a: End; b: End } {
  const world = new World();
  const ends = [new End(world, "a", "203.0.113.7"), new End(world, "b", "203.0.113.8")] as const;
  world.pass(1000, ends);
  const [a, b] = ends;
  return { world, a, b };
}

Deno.test("sim relay: what passes keeps its maker, his aim, and the peer that the client is told", () => {
  const { world, a, b } = two();
  b.client.setPeers(world.now, [a.relayed.hostname]);
  world.pass(500, [a, b]);
  a.say(b.relayed, KEEPALIVE);
  world.pass(500, [a, b]);
  const [{ packet, peer } = { packet: undefined, peer: undefined }] = b.received;
  assert(packet !== undefined);
  assertEquals(packet.sender.name, "a");
  assertEquals(packet.aim, b.relayed);
  assertEquals(packet.relayedFrom, a.relayed);
  assertEquals(peer, a.relayed);
  assertEquals(world.faults, []);
});

Deno.test("sim relay: to pass on what is not WireGuard is a fault", () => {
  const { world, a, b } = two();
  a.say(b.relayed, new TextEncoder().encode("in the clear"));
  world.pass(500, [a, b]);
  assertEquals(world.faults, ["a has relay0 pass on what is not WireGuard"]);
});

Deno.test("sim relay: killed, it says nothing or its kernel refuses, and it comes back empty", () => {
  for (const how of ["off", "gone"] as const) {
    const { world, a, b } = two();
    assertEquals([world.relay.allocations, world.relay.serves], [2, true]);
    world.relay.kill(how);
    assertEquals(world.relay.serves, false);
    a.client.check(world.now);
    world.pass(200, [a, b]);
    assertEquals(a.refusals.length > 0, how === "gone");
    world.relay.start();
    assertEquals([world.relay.allocations, world.relay.serves], [0, true]);
  }
});

Deno.test("sim relay: it reports itself, also that it drains, and ends when it has", () => {
  const { world } = two();
  world.pass(10_000);
  assertEquals(world.reports.map(({ draining }) => draining), [false, false]);
  assertEquals(
    world.reports[0]?.transports.map(({ endpoint }) =>
      formatSocketAddress(parseSocketAddress(endpoint) ?? { hostname: "", port: 0 })
    ),
    ["198.51.100.11:3478", "[2001:db8:ffff::11]:3478"],
  );
  world.relay.drain(5000);
  assertEquals([world.reports.at(-1)?.draining, world.relay.serves], [true, false]);
  world.pass(6000);
  assertEquals(world.relay.allocations, 0);
  world.relay.restart();
  assertEquals(world.relay.serves, true);
});

Deno.test("sim relay: nothing is left of clients who stay away", () => {
  const { world } = two();
  assertEquals(world.relay.allocations, 2);
  assertEquals(world.relay.leftovers(), 0);
});
