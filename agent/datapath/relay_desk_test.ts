import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import {
  concat,
  earlier,
  formatSocketAddress,
  type Instant,
  type SocketAddress,
} from "../../core/mod.ts";
import type { Flow } from "../../relay/core/flow.ts";
import {
  countingRng,
  EXTERNAL_IP,
  PEER,
  RelayWorld,
  SECRET,
} from "../../relay/testing/relay_world.ts";
import { encodeChannelData, restCredentials } from "../../traversal/mod.ts";
import { type RelayConnectEvent, type RelayInfo, SharedArena } from "../shared/mod.ts";
import { RelayDesk } from "./relay_desk.ts";
import { RELAY_LOCAL_MIN, type Transport } from "./transport.ts";

const SERVER: SocketAddress = { hostname: EXTERNAL_IP, port: 3478 };

Deno.test("RelayDesk makes an allocation a local end and a candidate, and gives it back", () => {
  const desk = new DeskEnd();
  desk.setRelays(desk.info());
  assertEquals(desk.locals, [RELAY_LOCAL_MIN]);
  assertEquals(desk.desk.relayOf(RELAY_LOCAL_MIN), "r1");
  assertEquals(desk.desk.candidates.map(({ kind }) => kind), ["relayed"]);
  const [status] = desk.desk.status;
  assertEquals([status?.state, status?.transport, status?.locals], ["ready", "udp", [
    RELAY_LOCAL_MIN,
  ]]);
  assertEquals(desk.changes, { relays: 2, locals: 1 });
  desk.setRelays();
  assertEquals([desk.locals, desk.desk.candidates, desk.world.relay.allocations], [[], [], 0]);
});

Deno.test("RelayDesk sends by indications until there is a channel, then whole runs with a header before each datagram", () => {
  const desk = new DeskEnd();
  desk.setRelays(desk.info());
  const run = Uint8Array.from({ length: 2_500 }, (_, i) => i);
  desk.send(run, 1000);
  assertEquals(sizes(desk.world.toPeers), [1000, 1000, 500]);
  desk.hear(Uint8Array.of(1));
  desk.world.toPeers.length = 0;
  desk.trains.length = 0;
  desk.send(run, 1000);
  // One train on the wire, for the kernel to cut.
  assertEquals(desk.trains, [{ bytes: 2_512, segment: 1004 }]);
  assertEquals(concat(...desk.world.toPeers.map(({ data }) => data)), run);
  assertEquals(sizes(desk.world.toPeers), [1000, 1000, 500]);
});

Deno.test("RelayDesk cuts a run that is too long for one train with its headers", () => {
  const desk = new DeskEnd();
  desk.setRelays(desk.info());
  desk.send(new Uint8Array(1), 1);
  desk.hear(Uint8Array.of(1));
  desk.world.toPeers.length = 0;
  desk.trains.length = 0;
  const run = Uint8Array.from({ length: 65_280 }, (_, i) => i * 7);
  desk.send(run, 1280);
  assert(desk.trains.length > 1 && desk.trains.every(({ bytes }) => bytes <= 65_507));
  assertEquals(concat(...desk.world.toPeers.map(({ data }) => data)), run);
});

Deno.test("RelayDesk delivers a train of ChannelData as trains of datagrams, in order and without a copy elsewhere", () => {
  const desk = new DeskEnd();
  desk.setRelays(desk.info());
  const other = { hostname: PEER.hostname, port: 7 };
  for (const peer of [PEER, other]) {
    desk.send(Uint8Array.of(1), 1, peer);
    desk.hear(Uint8Array.of(1), peer);
  }
  desk.delivered.length = 0;
  const message = (channel: number, fill: number, length: number): Uint8Array =>
    encodeChannelData({ channel, data: new Uint8Array(length).fill(fill) });
  const train = concat(
    message(0x4000, 1, 100),
    message(0x4000, 2, 100),
    message(0x4001, 3, 100),
    message(0x4fff, 4, 100),
    message(0x4000, 5, 100),
    message(0x4000, 6, 40),
  );
  desk.desk.handleTrain(desk.now, SERVER, train, 104);
  assertEquals(
    desk.delivered.map((
      { peer, bytes, segment },
    ) => [peer, [...new Set(bytes)], bytes.length, segment]),
    [
      [formatSocketAddress(PEER), [1, 2], 200, 100],
      [formatSocketAddress(other), [3], 100, 100],
      [formatSocketAddress(PEER), [5, 6], 140, 100],
    ],
  );
  // In place: what is delivered lies where it was received.
  assert(desk.delivered.every(({ buffer }) => buffer === train.buffer));
  assertEquals(desk.desk.counters(), { channelDataUnmatched: 1 });
  desk.desk.handleTrain(desk.now, { hostname: "203.0.113.99", port: 1 }, train, 104);
  assertEquals(desk.desk.counters(), { channelDataUnmatched: 2 });
});

Deno.test("RelayDesk sends nothing to where the relay can have no way", () => {
  const desk = new DeskEnd();
  desk.setRelays(desk.info());
  const unreachable = ["192.168.1.1", "127.0.0.1", "169.254.1.1", "2001:db8::1"];
  for (const hostname of unreachable) desk.send(Uint8Array.of(1), 1, { hostname, port: 9 });
  assertEquals([desk.world.toPeers.length, desk.desk.counters()], [0, { relayUnreachable: 4 }]);
  desk.send(Uint8Array.of(1), 1);
  assertEquals(desk.world.toPeers.length, 1);
});

Deno.test("RelayDesk lets every address of every peer in, before anything is said", () => {
  const desk = new DeskEnd();
  desk.setRelays(desk.info());
  desk.desk.setPeer("key", [
    { kind: "serverReflexive", address: PEER },
    { kind: "host", address: { hostname: "192.168.1.9", port: 5 } },
  ]);
  desk.step();
  desk.hear(Uint8Array.of(9), { hostname: PEER.hostname, port: 50_001 });
  assertEquals(desk.delivered.map(({ bytes }) => [...bytes]), [[9]]);
});

Deno.test("RelayDesk keeps to a cap, and drops and counts what is beyond", () => {
  const desk = new DeskEnd();
  desk.setRelays({ ...desk.info(), bandwidthBytesPerSecond: 100_000 });
  desk.send(Uint8Array.of(1), 1);
  desk.hear(Uint8Array.of(1));
  desk.world.toPeers.length = 0;
  for (let i = 0; i < 1000; i++) {
    desk.send(new Uint8Array(1000), 1000);
    desk.pass(1);
  }
  // A second at 100 kB/s, a quarter of one at once, and a datagram that overdraws.
  const sent = desk.world.toPeers.length;
  assert(sent >= 100 && sent <= 126, `${sent} datagrams`);
  assertEquals(desk.desk.counters()["relayBandwidthDropped"], 1000 - sent);
});

Deno.test("RelayDesk tries the other transports 800 ms after the first, 350 ms apart, and at once after a refusal", () => {
  const desk = new DeskEnd();
  const silent = { kind: "udp", address: "198.51.100.99:1" } as const;
  const [tcp, tls] = [
    { kind: "tcp", address: "198.51.100.1:1" },
    { kind: "tls", address: "198.51.100.1:2" },
  ] as const;
  const web = { kind: "websocket", url: "ws://198.51.100.1/turn" } as const;
  desk.setRelays({ ...desk.info(), transports: [silent, tcp, tls, web] });
  const kinds = (): string[] => desk.connects.map(({ transport }) => transport.kind);
  desk.pass(799);
  assertEquals(kinds(), []);
  desk.pass(1);
  assertEquals(kinds(), ["tcp"]);
  desk.pass(349);
  assertEquals(kinds(), ["tcp"]);
  desk.pass(1);
  assertEquals(kinds(), ["tcp", "tls"]);
  desk.refuse(1, "refused");
  assertEquals(kinds(), ["tcp", "tls", "websocket"]);
  assertEquals(desk.desk.status[0]?.state, "connecting");
});

Deno.test("RelayDesk allocates anew when this side's address has changed, and keeps the number of the local end", () => {
  const desk = new DeskEnd();
  desk.setRelays(desk.info());
  const before = desk.desk.candidates;
  desk.port = 5001;
  desk.desk.linkChanged(desk.now);
  desk.pass(3_000);
  assertEquals(desk.locals, [RELAY_LOCAL_MIN]);
  assert(JSON.stringify(desk.desk.candidates) !== JSON.stringify(before));
  desk.send(Uint8Array.of(1), 1);
  assertEquals(desk.world.toPeers.length, 1);
});

Deno.test("RelayDesk keeps an allocation that is still its own when only the link seemed to change", () => {
  const desk = new DeskEnd();
  desk.setRelays(desk.info());
  const before = desk.desk.candidates;
  desk.desk.linkChanged(desk.now);
  desk.pass(3_000);
  assertEquals(desk.desk.candidates, before);
  assertEquals(desk.world.relay.allocations, 1);
});

Deno.test("RelayDesk shows why a relay has failed, tries again with growing pauses, and is there when it is", () => {
  const desk = new DeskEnd();
  desk.dead = true;
  desk.setRelays(desk.info());
  // Seven requests in 15.75 s, and two more seconds for the last answer.
  desk.pass(18_000);
  const [status] = desk.desk.status;
  assertEquals([status?.state, status?.reason], ["failed", "udp: no answer"]);
  desk.dead = false;
  desk.pass(60_000);
  assertEquals(desk.desk.status[0]?.state, "ready");
});

Deno.test("RelayDesk uses the mapping to a relay as often as the NAT wants it", () => {
  const desk = new DeskEnd();
  desk.setRelays(desk.info());
  const count = (ms: number): number => {
    const before = desk.asked;
    desk.pass(ms);
    return desk.asked - before;
  };
  assertEquals(count(101_000), 4);
  desk.keepaliveMs = 10_000;
  desk.step();
  assertEquals(count(101_000), 10);
});

Deno.test("RelayDesk says which local end is about to end, and offers its address as long as there is no other", () => {
  const desk = new DeskEnd();
  desk.setRelays(desk.info());
  const candidates = desk.desk.candidates;
  desk.world.relay.drain(desk.now, 30_000);
  desk.step();
  assertEquals(desk.desk.ends.map(({ local, draining }) => [local, draining]), [
    [RELAY_LOCAL_MIN, true],
  ]);
  assertEquals(desk.desk.candidates, candidates);
  assertEquals(desk.desk.status.map(({ draining }) => draining), [true]);
  assertEquals(desk.changes, { relays: 3, locals: 2 });
  // It carries still.
  desk.send(Uint8Array.of(1), 1);
  assertEquals(desk.world.toPeers.length, 1);
});

Deno.test("RelayDesk takes four relays at most, and counts those over it", () => {
  const desk = new DeskEnd();
  desk.setRelays(...["a", "b", "c", "d", "e"].map((id) => ({ ...desk.info(), id })));
  assertEquals(desk.desk.status.map(({ id }) => id), ["a", "b", "c", "d"]);
  assertEquals(desk.desk.counters()["relaysRefused"], 1);
});

/** Something that was delivered. */
interface Delivered {
  readonly peer: string;
  readonly bytes: Uint8Array;
  readonly segment: number;
  readonly buffer: ArrayBufferLike;
}

/** A desk and the network between its node and one relay's core. */
class DeskEnd {
  readonly world = new RelayWorld();
  readonly desk: RelayDesk;
  readonly delivered: Delivered[] = [];
  readonly connects: RelayConnectEvent[] = [];
  /** What the socket was given for the relay, STUN left out. */
  readonly trains: { readonly bytes: number; readonly segment: number }[] = [];
  readonly changes = { relays: 0, locals: 0 };
  /** How often a mapping has to be used. */
  keepaliveMs = 25_000;
  /** STUN messages sent to the relay. */
  asked = 0;
  /** Nothing reaches the relay. */
  dead = false;
  /** The node's port as the relay sees it. */
  port = 5000;
  readonly #arena = SharedArena.create();
  readonly #lent = new Map<number, () => void>();
  #messagesSeen = 0;
  #dataSeen = 0;

  constructor() {
    const transport: Transport = {
      name: "test",
      port: 51820,
      localEndpoints: [],
      busy: false,
      send: (bytes, segment, to) => this.#toRelay(bytes, segment, to),
      openLocal: () => undefined,
      closeLocal: () => {},
      localPort: () => undefined,
      counters: () => ({}),
    };
    this.desk = new RelayDesk({
      transport,
      rng: countingRng(),
      now: () => this.now,
      arena: this.#arena,
      lend: (onDirty) => {
        const slot = this.#arena.slot(this.#lent.size);
        this.#lent.set(slot.index, () => onDirty(slot));
        return slot;
      },
      ring: () => {},
      connect: (event) => this.connects.push(event),
      deliver: (peer, bytes, segment) => {
        const copy = bytes.slice();
        const { buffer } = bytes;
        this.delivered.push({ peer: formatSocketAddress(peer), bytes: copy, segment, buffer });
      },
      delivered: () => {},
    });
  }

  get now(): Instant {
    return this.world.now;
  }

  /** The local ends. */
  get locals(): number[] {
    return this.desk.ends.map(({ local }) => local);
  }

  info(): RelayInfo {
    const expiresAtSeconds = this.world.unixMs / 1000 + 24 * 3600;
    return {
      id: "r1",
      sessionId: "m.k.s",
      transports: [{ kind: "udp", address: formatSocketAddress(SERVER) }],
      ...restCredentials(SECRET, { session: "m.k.s", expiresAtSeconds }),
      expiresAtMs: expiresAtSeconds * 1000,
    };
  }

  setRelays(...relays: readonly RelayInfo[]): void {
    this.desk.setRelays(this.now, relays);
    this.step();
    this.step();
  }

  /** The path agent sends from the allocation. */
  send(bytes: Uint8Array, segment: number, to: SocketAddress = PEER): void {
    this.desk.transport.send(bytes, segment, to, RELAY_LOCAL_MIN);
    this.step();
  }

  /** A peer sends to the relayed address. */
  hear(bytes: Uint8Array, from: SocketAddress = PEER): void {
    const port = this.desk.candidates[0]?.address.port;
    for (const [number, relayed] of this.world.open) {
      if (relayed.port !== port) continue;
      const { now, relay } = this.world;
      relay.handlePeer(now, number, from, { bytes, segment: bytes.length });
    }
    this.step();
  }

  /** The main thread could not connect the nth stream. */
  refuse(nth: number, reason: string): void {
    const slot = this.connects[nth]?.slot ?? -1;
    this.desk.handleFailed(slot, reason);
    // ABORT and RELEASED.
    this.#arena.slot(slot).setMainFlags(6);
    this.#lent.get(slot)?.();
    this.step();
  }

  /** Lets time pass, from deadline to deadline. */
  pass(ms: number): void {
    const until = this.now + ms as Instant;
    for (;;) {
      const next = earlier(this.desk.pollTimeout(), until) ?? until;
      this.world.pass(Math.min(1000, Math.max(0, Math.min(until, next) - this.now)));
      this.step();
      if (this.now >= until) return;
    }
  }

  /** Does what is due, and carries what the relay has said. */
  step(): void {
    for (let busy = true; busy;) {
      const { relays, locals } = this.desk.step(this.now, this.keepaliveMs);
      if (relays) this.changes.relays++;
      if (locals) this.changes.locals++;
      busy = relays || locals;
      for (; this.#messagesSeen < this.world.messages.length; this.#messagesSeen++) {
        const message = this.world.messages[this.#messagesSeen];
        if (message?.flow.key !== this.#flow.key) continue;
        busy = true;
        this.desk.handleStun(this.now, SERVER, message.bytes);
      }
      for (; this.#dataSeen < this.world.toClients.length; this.#dataSeen++) {
        const sent = this.world.toClients[this.#dataSeen];
        if (sent?.to !== formatSocketAddress(this.#flow.source)) continue;
        busy = true;
        const bytes = encodeChannelData({ channel: sent.by, data: sent.data });
        this.desk.handleTrain(this.now, SERVER, bytes, bytes.length);
      }
    }
  }

  get #flow(): Flow {
    const source = { hostname: "192.0.2.7", port: this.port };
    return { key: `udp ${formatSocketAddress(source)}`, protocol: "udp", source };
  }

  #toRelay(bytes: Uint8Array, segment: number, to: SocketAddress): void {
    if (this.dead || to.hostname !== SERVER.hostname) return;
    if ((bytes[0] ?? 0) >> 4 === 4) this.trains.push({ bytes: bytes.length, segment });
    else this.asked++;
    this.world.relay.handleClient(this.now, this.#flow, bytes.slice(), segment);
  }
}

function sizes(sent: readonly { readonly data: Uint8Array }[]): number[] {
  return sent.map(({ data }) => data.length);
}
