/** Our TURN client against our relay's core in virtual time: hours, loss, other addresses, drains. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import {
  earlier,
  type Family,
  formatSocketAddress,
  type Instant,
  type SocketAddress,
} from "../core/mod.ts";
import type { Flow } from "../relay/core/flow.ts";
import {
  countingRng,
  EXTERNAL_IP,
  PEER,
  RelayWorld,
  SECRET,
} from "../relay/testing/relay_world.ts";
import {
  decodeStun,
  encodeChannelData,
  encodeStun,
  errorAttribute,
  lifetimeAttribute,
  MESSAGE_INTEGRITY_SHA256,
  METHOD_ALLOCATE,
  METHOD_CHANNEL_BIND,
  METHOD_CREATE_PERMISSION,
  METHOD_REFRESH,
  restCredentials,
  TurnClient,
  type TurnEvent,
} from "../traversal/mod.ts";
import { mutate, seeded } from "../traversal/testing/fuzz.ts";

const SERVER: SocketAddress = { hostname: EXTERNAL_IP, port: 3478 };
const MINUTE_MS = 60_000;

Deno.test("an allocation, its permission and its channel live for hours, over every nonce", () => {
  const world = new RelayWorld();
  const end = new ClientEnd(world);
  assertEquals(end.allocated(), 1);
  let [sent, heard, byChannel] = [0, 0, 0];
  for (let minute = 0; minute < 180; minute++) {
    for (let i = 0; i < 6; i++) {
      if (end.say(PEER, "out") === "channel") byChannel++;
      sent++;
      end.hear(PEER, "in");
      heard++;
      end.pass(10_000);
    }
  }
  assertEquals(world.toPeers.length, sent);
  assertEquals(end.received.length, heard);
  // The first datagram finds the permission asked for just before it; the answer brings the channel.
  assert(byChannel >= sent - 3, `${byChannel} of ${sent} by the channel`);
  assertEquals(end.events.filter(({ kind }) => kind !== "allocated"), []);
  // Twice an hour's 240 s and one Refresh each nine minutes, and what stale nonces cost.
  const { [METHOD_CHANNEL_BIND]: binds = 0, [METHOD_REFRESH]: refreshes = 0 } = end.requests;
  assert(binds >= 40 && binds <= 60, `${binds} times ChannelBind`);
  assert(refreshes >= 18 && refreshes <= 30, `${refreshes} times Refresh`);
});

Deno.test("whoever is wanted reaches the relayed address at any time, without having been spoken to", () => {
  const world = new RelayWorld();
  const end = new ClientEnd(world);
  end.allocated();
  end.client.setPeers(world.now, [PEER.hostname, "203.0.113.77"]);
  end.pump();
  assertEquals(end.requests[METHOD_CREATE_PERMISSION], 1);
  for (let hour = 0; hour < 3; hour++) {
    end.pass(59 * MINUTE_MS);
    const from = { hostname: "203.0.113.77", port: 40_000 + hour };
    end.hear(from, "hello");
    end.pump();
    assertEquals(end.received.at(-1)?.peer, formatSocketAddress(from));
  }
  // And nobody else does.
  const count = end.received.length;
  const stranger = { hostname: "203.0.113.78", port: 9 };
  end.hear(stranger, "hello");
  end.pump();
  assertEquals(end.received.length, count);
});

Deno.test("403: an address that the relay refuses costs the others in its request nothing", () => {
  const world = new RelayWorld();
  const end = new ClientEnd(world);
  end.allocated();
  end.client.setPeers(world.now, ["10.0.0.1", PEER.hostname, "192.168.1.1"]);
  end.pass(1000);
  end.hear(PEER, "hello");
  end.pump();
  assertEquals(end.received.length, 1);
  assertEquals(end.client.reaches({ hostname: "10.0.0.1", port: 1 }), false);
  assertEquals(end.client.reaches(PEER), true);
});

Deno.test("padding buys the offer of SHA-256, and it is used", () => {
  const end = new ClientEnd(new RelayWorld());
  end.allocated();
  const last = end.sent.at(-1);
  assert(
    last !== undefined && decodeStun(last)?.attributes
      .some(({ type }) => type === MESSAGE_INTEGRITY_SHA256),
  );
});

Deno.test("an allocation has both families where the relay has both, and one where it has one", () => {
  const both = new ClientEnd(new RelayWorld({ externalIps: [EXTERNAL_IP, "2001:db8::1"] }));
  assertEquals(both.allocated(), 2);
  assertEquals(both.client.reaches({ hostname: "2001:db8::9", port: 1 }), true);
  const one = new ClientEnd(new RelayWorld());
  assertEquals(one.allocated(), 1);
  assertEquals(one.client.reaches({ hostname: "2001:db8::9", port: 1 }), false);
  const six = new ClientEnd(new RelayWorld(), { families: [6] });
  six.pass(MINUTE_MS);
  assertEquals(six.events.map((event) => event.kind === "failed" && event.code), [440]);
});

Deno.test("508 and 486 end the attempt with the relay's word", () => {
  const full = new ClientEnd(new RelayWorld({ portRange: { first: 50_000, last: 50_000 } }));
  full.allocated();
  const late = new ClientEnd(full.world, { port: 4001 });
  late.pass(MINUTE_MS);
  assertEquals(late.events.map((event) => event.kind === "failed" && event.code), [508]);
  const world = new RelayWorld();
  const ends = Array.from({ length: 9 }, (_, i) => new ClientEnd(world, { port: 5000 + i }));
  for (const end of ends) end.pass(0);
  const codes = ends.map(({ events: [event] }) => event?.kind === "failed" ? event.code : 0);
  assertEquals(codes, [0, 0, 0, 0, 0, 0, 0, 0, 486]);
});

Deno.test("437: what the port had before is removed, and the allocation made", () => {
  const world = new RelayWorld();
  new ClientEnd(world).allocated();
  const again = new ClientEnd(world);
  again.pass(5_000);
  assertEquals(again.events.map(({ kind }) => kind), ["allocated"]);
  assertEquals(world.relay.allocations, 1);
});

Deno.test("another mapped address is noticed by the next check: the allocation is lost with the old one", () => {
  const world = new RelayWorld();
  const end = new ClientEnd(world);
  end.allocated();
  end.move(4099);
  end.client.check(world.now);
  end.pass(2_000);
  assertEquals(end.events.at(-1), { kind: "lost", reason: "this side's address has changed" });
  // By itself it is noticed with the next use of the mapping.
  const other = new ClientEnd(world, { port: 4100 });
  other.allocated();
  other.move(4101);
  other.pass(26_000);
  assertEquals(other.events.at(-1)?.kind, "lost");
});

Deno.test("a relay that falls silent under traffic is given up within 3.2 seconds, an idle one within thirty", () => {
  for (const [talks, limitMs] of [[true, 3_200], [false, 30_000]] as const) {
    const end = new ClientEnd(new RelayWorld());
    end.allocated();
    end.pass(10_000);
    end.deliver = () => false;
    const startedAt = end.world.now;
    while (end.client.state === "allocated" && end.world.now - startedAt < 2 * limitMs) {
      if (talks) end.say(PEER, "?");
      end.pass(100);
    }
    assertEquals(end.events.at(-1)?.kind, "lost");
    assert(end.world.now - startedAt <= limitMs, `${end.world.now - startedAt} ms`);
  }
});

Deno.test("a relay that has lost its memory is noticed under traffic within two seconds", () => {
  const end = new ClientEnd(new RelayWorld());
  end.allocated();
  for (let i = 0; i < 10 && end.say(PEER, "x") !== "channel"; i++) {
    end.hear(PEER, "y");
    end.pass(500);
  }
  assertEquals(end.say(PEER, "x"), "channel");
  end.restartRelay();
  const startedAt = end.world.now;
  while (end.client.state === "allocated" && end.world.now - startedAt < 60_000) {
    end.say(PEER, "?");
    end.pass(100);
  }
  const last = end.events.at(-1);
  assert(last?.kind === "lost" && last.reason.startsWith("437"), JSON.stringify(last));
  assert(end.world.now - startedAt <= 2000, `${end.world.now - startedAt} ms`);
});

Deno.test("what is sent while the relay is being asked makes no deadline that has passed", () => {
  const end = new ClientEnd(new RelayWorld());
  end.allocated();
  end.deliver = () => false;
  end.pass(25_100);
  // The mapping is idle: the relay is asked, for two seconds.
  end.say(PEER, "?");
  for (let turns = 0; end.client.state === "allocated"; turns++) {
    assert(turns < 100, "the client asks for its next turn at once, again and again");
    const dueAt = end.client.pollTimeout() ?? end.world.now;
    end.world.pass(Math.max(0, dueAt - end.world.now));
    end.client.handleTimeout(end.world.now);
    end.pump();
  }
});

Deno.test("with a third of all datagrams lost, whatever is asked for is had in the end", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const rng = seeded(seed);
    const end = new ClientEnd(new RelayWorld(), { start: false });
    end.deliver = () => !rng.chance(0.33);
    end.start();
    end.pass(20_000);
    assertEquals(end.events[0]?.kind, "allocated", `seed ${seed}`);
    for (let i = 0; i < 100 && end.say(PEER, "x") !== "channel"; i++) {
      end.hear(PEER, "y");
      end.pass(500);
    }
    assertEquals(end.say(PEER, "x"), "channel", `seed ${seed}`);
  }
});

Deno.test("a drain is told by who has the key, and by nobody else; 300 leads to the other relay", () => {
  const world = new RelayWorld();
  const end = new ClientEnd(world);
  end.allocated();
  const forged = encodeStun({
    class: "indication",
    method: METHOD_REFRESH,
    transactionId: new Uint8Array(12),
    attributes: [lifetimeAttribute(1)],
  });
  assertEquals(end.client.handleInput(world.now, { source: SERVER, payload: forged }), false);
  const other = { hostname: "198.51.100.77", port: 3478 };
  world.relay.drain(world.now, 5_000, other);
  end.pump();
  assertEquals(end.events.at(-1), { kind: "draining" });
  const late = new ClientEnd(world, { port: 4001 });
  late.pump();
  assertEquals(late.client.server, other);
  const reliable = new ClientEnd(world, { port: 4002, reliable: true });
  reliable.pump();
  assertEquals(reliable.events, [{ kind: "redirected", server: other }]);
});

Deno.test("what is given back is gone at once, and nothing is sent afterwards", () => {
  const end = new ClientEnd(new RelayWorld());
  end.allocated();
  end.client.stop();
  end.pump();
  assertEquals(end.world.relay.allocations, 0);
  const count = end.sent.length;
  end.pass(60 * MINUTE_MS);
  assertEquals([end.sent.length, end.client.pollTimeout()], [count, undefined]);
});

Deno.test("no answer makes the client throw, whatever became of it on the way", () => {
  const rng = seeded(8656);
  let [answers, allocations] = [0, 0];
  for (let run = 0; run < 400; run++) {
    const end = new ClientEnd(new RelayWorld(), { start: false });
    end.mangle = (payload) => {
      answers++;
      return rng.chance(0.5) ? mutate(rng, payload) : payload;
    };
    end.start();
    for (let i = 0; i < 10; i++) {
      end.say(PEER, "x");
      end.hear(PEER, "in");
      end.pass(3_000);
    }
    if (end.events[0]?.kind === "allocated") allocations++;
  }
  assert(answers > 1000 && allocations > 50, `${answers} answers, ${allocations} allocations`);
});

Deno.test("the reason of an end is the relay's code and words", () => {
  const world = new RelayWorld();
  const end = new ClientEnd(world, { secret: "another" });
  end.pass(1000);
  const [event] = end.events;
  assert(event?.kind === "failed" && event.code === 401);
  assertMatch(event.reason, /^401 /);
});

Deno.test("the relay's words reach no terminal but as printable characters", () => {
  const end = new ClientEnd(new RelayWorld(), { start: false });
  end.mangle = (payload) => {
    const message = decodeStun(payload);
    if (message === undefined) return payload;
    const reason = `\x1b[2J\n${"x".repeat(300)}`;
    return encodeStun({ ...message, class: "error", attributes: [errorAttribute(508, reason)] });
  };
  end.start();
  const [event] = end.events;
  assert(event?.kind === "failed");
  assertMatch(event.reason, /^508 \?\[2J\?x{75}$/);
});

/** Options of {@linkcode ClientEnd}. */
interface ClientEndOptions {
  readonly port?: number;
  readonly families?: readonly [Family, Family?];
  readonly reliable?: boolean;
  readonly secret?: string;
  /** Whether the first request is delivered at once. */
  readonly start?: boolean;
}

/** A client and the network between it and the relay, in the relay's time. */
class ClientEnd {
  world: RelayWorld;
  readonly client: TurnClient;
  readonly events: TurnEvent[] = [];
  readonly received: { readonly peer: string; readonly text: string }[] = [];
  /** Every message sent. */
  readonly sent: Uint8Array[] = [];
  /** Requests by method. */
  readonly requests: Record<number, number> = {};
  /** Whether the network delivers the next datagram. */
  deliver: () => boolean = () => true;
  /** What the network makes of the relay's messages. */
  mangle: (payload: Uint8Array) => Uint8Array = (payload) => payload;
  #flow: Flow;
  #messagesSeen: number;
  #dataSeen: number;

  constructor(world: RelayWorld, options: ClientEndOptions = {}) {
    const { port = 4000, families, reliable = false, secret = SECRET, start = true } = options;
    this.world = world;
    this.#flow = flowOf(port);
    this.#messagesSeen = world.messages.length;
    this.#dataSeen = world.toClients.length;
    const expiresAtSeconds = world.unixMs / 1000 + 24 * 3600;
    this.client = new TurnClient(world.now, {
      server: SERVER,
      rng: countingRngOf(port),
      credentials: restCredentials(secret, { session: "m.k.s", expiresAtSeconds }),
      reliable,
      ...(families && { families }),
    });
    if (start) this.pump();
  }

  /** Number of the client's relayed address of IPv4 at the relay. */
  get relayedNumber(): number {
    const port = this.client.relayed[0]?.port;
    for (const [number, { port: other }] of this.world.open) if (other === port) return number;
    return 0;
  }

  /** Delivers what was held back. */
  start(): void {
    this.pump();
  }

  /** Expects an allocation. Returns how many addresses it has. */
  allocated(): number {
    const [event] = this.events;
    assert(event?.kind === "allocated", JSON.stringify(event));
    return event.relayed.length;
  }

  /** Sends to a peer. Returns how. */
  say(peer: SocketAddress, text: string): "channel" | "indication" {
    const channel = this.client.channelTo(this.world.now, peer);
    this.pump();
    const payload = channel === undefined
      ? this.client.encodeSend(peer, bytes(text))
      : encodeChannelData({ channel, data: bytes(text) });
    if (payload !== undefined) this.#toRelay(payload);
    this.pump();
    return channel === undefined ? "indication" : "channel";
  }

  /** A peer sends to the relayed address. */
  hear(peer: SocketAddress, text: string): void {
    const data = bytes(text);
    const { now, relay } = this.world;
    relay.handlePeer(now, this.relayedNumber, peer, { bytes: data, segment: data.length });
  }

  /** Has another relay at the same address, which knows nobody. */
  restartRelay(): void {
    const { now, unixMs } = this.world;
    this.world = new RelayWorld();
    this.world.pass(now - this.world.now);
    this.world.unixMs = unixMs;
    this.#messagesSeen = 0;
    this.#dataSeen = 0;
  }

  /** Goes on from another port, as a node does whose NAT has forgotten it. */
  move(port: number): void {
    this.#flow = flowOf(port);
  }

  /** Lets time pass, from one deadline to the next. */
  pass(ms: number): void {
    const until = this.world.now + ms as Instant;
    this.pump();
    for (;;) {
      const next = earlier(this.client.pollTimeout(), until) ?? until;
      const step = Math.max(0, Math.min(until, next) - this.world.now);
      // A second at most: the relay has deadlines too.
      this.world.pass(Math.min(1000, step));
      this.client.handleTimeout(this.world.now);
      this.pump();
      if (this.world.now >= until) return;
    }
  }

  /** Carries whatever is there, both ways, until nobody has anything to say. */
  pump(): void {
    for (let busy = true; busy;) {
      busy = false;
      for (let out; (out = this.client.pollTransmit()) !== undefined;) {
        busy = true;
        this.sent.push(out.payload);
        const { method = METHOD_ALLOCATE } = decodeStun(out.payload) ?? {};
        this.requests[method] = (this.requests[method] ?? 0) + 1;
        if (out.destination.hostname === SERVER.hostname) this.#toRelay(out.payload);
      }
      for (; this.#messagesSeen < this.world.messages.length; this.#messagesSeen++) {
        const message = this.world.messages[this.#messagesSeen];
        if (message?.flow.key === this.#flow.key) this.#fromRelay(message.bytes);
      }
      for (; this.#dataSeen < this.world.toClients.length; this.#dataSeen++) {
        const data = this.world.toClients[this.#dataSeen];
        if (data?.to !== formatSocketAddress(this.#flow.source)) continue;
        this.#fromRelay(encodeChannelData({ channel: data.by, data: data.data }));
      }
      for (let event; (event = this.client.pollEvent()) !== undefined;) this.events.push(event);
    }
  }

  #toRelay(payload: Uint8Array): void {
    if (!this.deliver()) return;
    this.world.relay.handleClient(this.world.now, this.#flow, payload.slice(), payload.length);
  }

  #fromRelay(bytes: Uint8Array): void {
    if (!this.deliver()) return;
    const payload = this.mangle(bytes);
    const opened = this.client.open(this.world.now, payload);
    if (opened !== undefined) {
      const text = new TextDecoder().decode(opened.data);
      this.received.push({ peer: formatSocketAddress(opened.peer), text });
    } else this.client.handleInput(this.world.now, { source: SERVER, payload });
  }
}

function flowOf(port: number): Flow {
  const source = { hostname: "192.0.2.7", port };
  return { key: `udp ${formatSocketAddress(source)}`, protocol: "udp", source };
}

/** Transaction ids of its own for each port. */
function countingRngOf(port: number): ReturnType<typeof countingRng> {
  const rng = countingRng();
  return {
    bytes: (length) => {
      const bytes = rng.bytes(length);
      bytes[0] = port >> 8;
      bytes[1] = port & 0xff;
      return bytes;
    },
  };
}

function bytes(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
