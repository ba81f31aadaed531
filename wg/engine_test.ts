import { deepStrictEqual as assertEquals, fail, ok as assert } from "node:assert/strict";
import { createCipheriv } from "node:crypto";
import { equals, type Instant, parseCidr, parseIp, type SocketAddress } from "../core/mod.ts";
import { Engine } from "./engine.ts";
import type { EngineEvent, PeerId, StreamId, TransmitRun } from "./engine_types.ts";
import type { HostAead } from "./host_aead.ts";

const MODULE = new WebAssembly.Module(
  Deno.readFileSync(new URL("./engine.wasm", import.meta.url)),
);
const OUTER: readonly SocketAddress[] = [
  { hostname: "192.0.2.1", port: 51820 },
  { hostname: "2001:db8::2", port: 51821 },
];
const INNER = ["10.42.0.1", "10.42.0.2"] as const;

/** Mulberry32: enough for a test, never for keys. */
function seededBytes(seed: number): (length: number) => Uint8Array {
  let state = seed >>> 0;
  return (length) =>
    Uint8Array.from({ length }, () => {
      state = (state + 0x6D2B79F5) >>> 0;
      let t = Math.imul(state ^ state >>> 15, state | 1);
      t ^= t + Math.imul(t ^ t >>> 7, t | 61);
      return (t ^ t >>> 14) & 0xff;
    });
}

/** Two engines joined by hand. */
class Pair {
  now = 1000 as Instant;
  readonly engines: readonly [Engine, Engine];
  readonly events: readonly [EngineEvent[], EngineEvent[]] = [[], []];
  readonly records: readonly [Uint8Array[], Uint8Array[]] = [[], []];
  sent: Uint8Array[] = [];
  /** Whether nothing of the first reaches the second. */
  cut = false;
  readonly peers: readonly [PeerId, PeerId];

  /** `aead` seals and opens for the first. */
  constructor(seed: number, aead?: HostAead) {
    const start = (i: number): Engine =>
      new Engine(MODULE, {
        ...(i === 0 && aead && { aead }),
        wallClockMs: () => 1.7e12 + this.now,
        rng: { bytes: seededBytes(seed + i) },
        onPrint: (text) => {
          throw new Error(text);
        },
      }, { now: this.now, privateKey: new Uint8Array(32).fill(i + 3), mtu: 1420 });
    this.engines = [start(0), start(1)];
    const join = (a: 0 | 1, b: 0 | 1): PeerId => {
      const ip = parseIp(INNER[a]);
      const block = parseCidr(INNER[b]);
      const to = OUTER[b];
      assert(ip && block && to && this.engines[a].setAddresses([ip]));
      const publicKey = this.engines[b].publicKey;
      const peer = this.engines[a].addPeer({ publicKey, keepaliveSeconds: 0, hostRoams: false });
      assert(peer !== undefined && this.engines[a].allow(peer, block));
      this.engines[a].setEndpoint(peer, to);
      return peer;
    };
    this.peers = [join(0, 1), join(1, 0)];
  }

  /** Runs for `ms` of virtual time. */
  run(ms: number): void {
    const end = this.now + ms;
    while (true) {
      let moved = false;
      for (const i of [0, 1] as const) {
        this.engines[i].poll(this.now, {
          transmit: ({ bytes, segment, to }) => {
            moved = true;
            assertEquals(to, OUTER[1 - i]);
            const from = OUTER[i];
            if (i === 0 && from && !this.cut) this.#deliverInPlace(from, bytes, segment);
            for (let at = 0; at < bytes.length; at += segment) {
              const datagram = bytes.slice(at, at + segment);
              this.sent.push(datagram);
              if (i === 1 && from) this.engines[0].receive(from, datagram);
            }
          },
          event: (event) => this.events[i].push(event),
          datagrams: (records) => this.records[i].push(records.slice()),
        });
      }
      if (moved) continue;
      if (this.now >= end) return;
      const due = this.engines.map((e) => e.pollTimeout() ?? Infinity);
      this.now = Math.min(end, Math.max(this.now + 0.001, ...[Math.min(...due)])) as Instant;
    }
  }

  /** As the fast driver does it: whole trains, without a copy of the engine's. */
  #deliverInPlace(from: SocketAddress, bytes: Uint8Array, segment: number): void {
    const [, engine] = this.engines;
    const memory = engine.receiveBuffer;
    const at = 65_536;
    memory.set(bytes, at);
    assert(engine.receive(from, memory.subarray(at, at + bytes.length), segment));
    engine.take(this.now, {
      transmit: () => fail("too early"),
      event: () => fail("too early"),
      datagrams: (records) => this.records[1].push(records.slice()),
    });
    memory.fill(0xff);
  }

  accepted(): StreamId {
    for (const event of this.events[1]) if (event.kind === "accepted") return event.stream;
    throw new Error("Nothing was accepted");
  }

  /** Connects the first to port 80 of the second; both ends of the stream. */
  open(): readonly [StreamId, StreamId] {
    const [a, b] = this.engines;
    assert(b.listen(80));
    const stream = a.connect({ hostname: INNER[1], port: 80 });
    assert(typeof stream === "number");
    this.run(100);
    return [stream, this.accepted()];
  }

  /** Runs until the second has read all of `data` from a stream; `send` queues what it can of what it gets. */
  carry(data: Uint8Array, stream: StreamId, send: (rest: Uint8Array) => number): void {
    let sent = 0;
    const got = new Uint8Array(data.length);
    let at = 0;
    while (at < data.length) {
      sent += send(data.subarray(sent));
      this.run(1);
      this.engines[1].streamRead(stream, (part) => {
        got.set(part, at);
        at += part.length;
        return part.length;
      });
    }
    assert(equals(got, data));
  }
}

Deno.test("Engine carries a stream between an IPv4 and an IPv6 endpoint", () => {
  const pair = new Pair(1);
  const [a, b] = pair.engines;
  const [stream, other] = pair.open();
  const data = seededBytes(9)(3_000_000);
  pair.carry(data, other, (rest) => a.streamWrite(stream, rest));
  a.streamShutdown(stream);
  pair.run(100);
  assertEquals(b.streamState(other).receiveFinished, true);
  assertEquals(pair.events[0].filter((e) => e.kind === "handshake").length, 1);
  const figures = a.peerFigures(pair.peers[0]);
  assert(figures && figures.txBytes > data.length && figures.handshakeAgeMs !== undefined);
  assertEquals(figures.endpoint, OUTER[1]);
});

Deno.test("Engine takes bytes that were written into a stream's send buffer in place", () => {
  const pair = new Pair(8);
  const [a] = pair.engines;
  const [stream, other] = pair.open();
  pair.carry(seededBytes(10)(2_000_000), other, (rest) => {
    let sent = 0;
    while (sent < rest.length) {
      const n = a.streamFill(stream, (part) => {
        const bytes = rest.subarray(sent, sent + Math.min(part.length, 50_001));
        part.set(bytes);
        return bytes.length;
      });
      if (n === 0) break;
      sent += n;
    }
    return sent;
  });
  a.streamShutdown(stream);
  assertEquals(
    a.streamFill(stream, () => {
      throw new Error("there is no room after the end");
    }),
    0,
  );
});

/** A pair, and what makes the memory of both engines grow. */
function growingPair(
  seed: number,
  aead?: HostAead,
): { readonly pair: Pair; readonly grow: () => void } {
  const { Instance } = WebAssembly;
  const memories: WebAssembly.Memory[] = [];
  WebAssembly.Instance = class extends Instance {
    constructor(module: WebAssembly.Module, imports?: WebAssembly.Imports) {
      super(module, imports);
      memories.push(this.exports["memory"] as WebAssembly.Memory);
    }
  };
  try {
    const pair = new Pair(seed, aead);
    assertEquals(memories.length, 2);
    return { pair, grow: () => memories.forEach((memory) => memory.grow(1)) };
  } finally {
    WebAssembly.Instance = Instance;
  }
}

Deno.test("Engine is used as before whenever its memory has grown", () => {
  const { pair, grow } = growingPair(4);
  const [a, b] = pair.engines;
  assert(b.listen(80));
  grow();
  const stream = a.connect({ hostname: INNER[1], port: 80 });
  assert(typeof stream === "number");
  pair.run(100);
  const other = pair.accepted();
  grow();
  assertEquals(a.streamWrite(stream, new Uint8Array([1, 2, 3])), 3);
  grow();
  assertEquals(a.streamFill(stream, (part) => (part.fill(4, 0, 2), 2)), 2);
  grow();
  pair.run(100);
  grow();
  const got: number[] = [];
  b.streamRead(other, (part) => got.push(...part) && part.length);
  assertEquals(got, [1, 2, 3, 4, 4]);
  grow();
  assertEquals(a.peerFigures(pair.peers[0])?.endpoint, OUTER[1]);
  grow();
  assert(b.streamLocal(other)?.port === 80);
  grow();
  assertEquals(a.counters(), {});
  grow();
  const [from] = OUTER;
  assert(from && b.receive(from, new Uint8Array(40)));
  grow();
  pair.run(0);
  grow();
  assertEquals(b.counters().malformed, 1);
});

Deno.test("Engine is deterministic: the same clock and entropy make the same datagrams", () => {
  const run = (seed: number): Uint8Array[] => {
    const pair = new Pair(seed);
    pair.engines[0].initiate(pair.peers[0]);
    pair.run(300);
    return pair.sent;
  };
  assertEquals(run(5), run(5));
  assert(!equals(run(5)[0] ?? new Uint8Array(), run(6)[0] ?? new Uint8Array()));
});

Deno.test("Engine answers echo requests and refuses addresses of nobody", () => {
  const pair = new Pair(2);
  const to = parseIp(INNER[1]);
  const nobody = parseIp("10.9.9.9");
  assert(to && nobody);
  assertEquals(pair.engines[0].echo(to, { sequence: 7, length: 64 }), true);
  assertEquals(pair.engines[0].echo(nobody, { sequence: 8, length: 64 }), false);
  assertEquals(pair.engines[0].connect({ hostname: "10.9.9.9", port: 1 }), "noRoute");
  assertEquals(pair.engines[0].connect({ hostname: "fd00::9", port: 1 }), "noRoute");
  pair.run(50);
  const replies = pair.events[0].filter((e) => e.kind === "echoReply");
  assertEquals(replies, [{ kind: "echoReply", sequence: 7, from: INNER[1] }]);
});

/** A record of an address, as the engine reads it. */
function record(ip: string, port: number): Uint8Array {
  const bytes = parseIp(ip);
  assert(bytes);
  return new Uint8Array([
    bytes.length === 4 ? 4 : 6,
    0,
    port & 0xff,
    port >> 8,
    ...bytes,
    ...new Uint8Array(16 - bytes.length),
  ]);
}

Deno.test("Engine carries datagrams inside the tunnel, and refuses what no path carries", () => {
  const pair = new Pair(3);
  const [a, b] = pair.engines;
  assert(a.udp.bind(4000) && b.udp.bind(53));
  assertEquals([b.udp.bind(53), b.udp.bind(0)], [false, false]);
  const to = record(INNER[1], 53);
  const send = (to: Uint8Array, ...parts: [Uint8Array, Uint8Array]): string | undefined =>
    a.udp.send({ port: 4000, to, parts });
  const nothing = new Uint8Array();
  assertEquals(send(to, Uint8Array.of(1, 2), Uint8Array.of(3)), undefined);
  pair.run(50);
  assertEquals(pair.records[1], [
    Uint8Array.of(3, 0, 0, 0, 0, 0, 53, 0, ...record(INNER[0], 4000), 1, 2, 3, 0),
  ]);
  assertEquals(a.udp.limit(to), 1392);
  assertEquals(send(to, new Uint8Array(1393), nothing), "tooBig");
  assertEquals(send(record("10.9.9.9", 53), nothing, nothing), "noRoute");
  assertEquals([a.udp.limit(record("10.9.9.9", 53)), a.udp.limit(record("fd00::9", 1))], [
    "noRoute",
    "noRoute",
  ]);
  while (send(to, new Uint8Array(1000), nothing) === undefined);
  assertEquals(send(to, nothing, nothing), "full");
  pair.run(50);
  assertEquals(send(to, nothing, nothing), undefined);
  b.udp.close(53);
  pair.run(50);
  const refused = Uint8Array.of(0, 0, 0, 0, 1, 0, 4000 & 0xff, 4000 >> 8, ...to);
  assertEquals(pair.records[0], [refused], "nobody has the port any more");
});

Deno.test("Engine counts junk and takes 10,000 random datagrams without a change", () => {
  const pair = new Pair(4);
  pair.engines[0].initiate(pair.peers[0]);
  pair.run(50);
  const random = seededBytes(77);
  const from = { hostname: "203.0.113.9", port: 9 };
  for (let i = 0; i < 10_000; i++) {
    if (pair.engines[1].receiveFull) pair.run(0);
    pair.engines[1].receive(from, random(1 + i % 200));
  }
  pair.run(1);
  assert((pair.engines[1].counters().malformed ?? 0) > 9000);
  assertEquals(pair.engines[1].peerFigures(pair.peers[1])?.endpoint, OUTER[0]);
});

Deno.test("Engine's memory does not grow on the data path", () => {
  const pair = new Pair(6);
  const [a, b] = pair.engines;
  const [stream, other] = pair.open();
  const before = [a.memoryBytes, b.memoryBytes];
  const chunk = new Uint8Array(65_536);
  for (let i = 0; i < 300; i++) {
    a.streamWrite(stream, chunk);
    pair.run(1);
    b.streamRead(other, (part) => part.length);
  }
  assertEquals([a.memoryBytes, b.memoryBytes], before);
});

/** Polls an engine and returns what it has to send, and what it says. */
function drain(
  engine: Engine,
  now: Instant,
): { readonly runs: readonly TransmitRun[]; readonly events: readonly EngineEvent[] } {
  const [runs, events]: [TransmitRun[], EngineEvent[]] = [[], []];
  engine.poll(now, {
    transmit: (run) => runs.push({ ...run, bytes: run.bytes.slice() }),
    event: (event) => events.push(event),
  });
  return { runs, events };
}

Deno.test("Engine's probe goes along its path only and its answer says where it came from", () => {
  const pair = new Pair(11);
  const [a, b] = pair.engines;
  const [toB, toA] = pair.peers;
  const path = { local: 300, remote: { hostname: "2001:db8::77", port: 7 } };
  const seen = { hostname: "203.0.113.7", port: 77 };
  assertEquals(a.probe(toB, path, 1, 100), false, "there is no session yet");
  assertEquals(drain(a, pair.now).runs, []);
  a.initiate(toB);
  pair.run(100);

  assert(a.probe(toB, path, 0xffff_fffe, 1300));
  const [request, ...none] = drain(a, pair.now).runs;
  assert(request !== undefined);
  assertEquals(none, []);
  const { bytes, ...run } = request;
  assertEquals(run, {
    segment: 1332,
    peer: toB,
    initiation: false,
    probe: true,
    to: path.remote,
    local: 300,
  });

  assert(b.receive(seen, bytes, bytes.length, 9));
  const answered = drain(b, pair.now);
  const [reply] = answered.runs;
  assert(reply !== undefined);
  assertEquals([reply.to, reply.local, reply.probe, reply.bytes.length], [seen, 9, true, 80]);
  assertEquals(answered.events, [
    { kind: "heard", peer: toA, from: seen, local: 9 },
    { kind: "probed", peer: toA, from: seen, local: 9 },
  ]);

  assert(a.receive(path.remote, reply.bytes, reply.bytes.length, 300));
  assertEquals(drain(a, pair.now).events.filter((e) => e.kind === "probeReply"), [{
    kind: "probeReply",
    peer: toB,
    sequence: 0xffff_fffe,
    from: path.remote,
    local: 300,
  }]);
});

Deno.test("Engine's endpoint has a local end, which the figures and the runs name", () => {
  const pair = new Pair(12);
  const [a] = pair.engines;
  const [toB] = pair.peers;
  const elsewhere = { hostname: "198.51.100.4", port: 4 };
  a.initiate(toB);
  pair.run(100);
  a.setEndpoint(toB, elsewhere, 12);
  const figures = a.peerFigures(toB);
  assertEquals([figures?.endpoint, figures?.local], [elsewhere, 12]);
  const to = parseIp(INNER[1]);
  assert(to && a.echo(to, { sequence: 1, length: 10 }));
  const [run] = drain(a, pair.now).runs;
  assertEquals([run?.to, run?.local], [elsewhere, 12]);
  a.setEndpoint(toB, elsewhere);
  assertEquals(a.peerFigures(toB)?.local, 0);
});

Deno.test("Engine's streams send at once what has timed out when the path is said to be back", () => {
  const pair = new Pair(14);
  const [a, b] = pair.engines;
  const [stream, accepted] = pair.open();
  pair.cut = true;
  a.streamWrite(stream, new Uint8Array(1_000));
  pair.run(9_000);
  pair.cut = false;
  const arrived = (): number => {
    let bytes = 0;
    b.streamRead(accepted, (part) => {
      bytes += part.length;
      return part.length;
    });
    return bytes;
  };
  pair.run(100);
  assertEquals(arrived(), 0);
  a.resumeStreams(pair.peers[0]);
  pair.run(100);
  assertEquals(arrived(), 1_000);
});

Deno.test("Engine's streams fit the path to their peer, before and after they are opened", () => {
  const pair = new Pair(13);
  const [a, b] = pair.engines;
  const [toB] = pair.peers;
  a.setPeerMtu(toB, 1280);
  assert(b.listen(80));
  const stream = a.connect({ hostname: INNER[1], port: 80 });
  assert(typeof stream === "number");
  pair.run(100);
  for (const [mtu, size] of [[1280, 1312], [1420, 1452], [1124, 1156]] as const) {
    a.setPeerMtu(toB, mtu);
    pair.sent.length = 0;
    a.streamWrite(stream, new Uint8Array(50_000));
    pair.run(500);
    assertEquals(Math.max(...pair.sent.map(({ length }) => length)), size);
  }
});

/** OpenSSL in place of the engine's own cipher, by the addresses in a `Call`; it says no to every third. */
class OtherAead implements HostAead {
  sealed = 0;
  opened = 0;
  refused = 0;
  #memory = new Uint8Array();

  readonly addressOf = (memory: Uint8Array<ArrayBuffer>): bigint => {
    this.#memory = memory;
    return 0x7f00_0000_1000n;
  };
  readonly seal = (low: number, high: number, pages: number, at: number): number => {
    const call = this.#call(low, high, pages, at);
    if (call === undefined) return 0;
    const { key, nonce, aad, text, tag } = call;
    const cipher = createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: 16 });
    cipher.setAAD(aad, { plaintextLength: text.length });
    text.set(cipher.update(text));
    cipher.final();
    tag.set(cipher.getAuthTag());
    this.sealed++;
    return 1;
  };
  readonly open = (low: number, high: number, pages: number, at: number): number => {
    const call = this.#call(low, high, pages, at);
    if (call === undefined) return 0;
    const { key, nonce, aad, text, tag } = call;
    // The engine compares the tag itself: what it should be comes from sealing the text that was opened. Opening is sealing, too.
    const options = { authTagLength: 16 };
    const opener = createCipheriv("chacha20-poly1305", key, nonce, options);
    const plain = opener.update(text);
    opener.final();
    const cipher = createCipheriv("chacha20-poly1305", key, nonce, options);
    cipher.setAAD(aad, { plaintextLength: text.length });
    cipher.update(plain);
    cipher.final();
    tag.set(cipher.getAuthTag());
    text.set(plain);
    this.opened++;
    return 1;
  };

  #call(low: number, high: number, pages: number, at: number):
    | {
      readonly [name in "key" | "nonce" | "aad" | "text" | "tag"]: Uint8Array;
    }
    | undefined {
    assertEquals([low, high], [0x1000, 0x7f00]);
    assertEquals(pages * 65536, this.#memory.length, "the memory is the one of now");
    if ((this.sealed + this.opened + this.refused) % 3 === 2) {
      this.refused++;
      return undefined;
    }
    const view = new DataView(this.#memory.buffer);
    const part = (start: number, length: number): Uint8Array =>
      this.#memory.subarray(start, start + length);
    const named = (start: number): Uint8Array =>
      part(view.getUint32(start, true), view.getUint32(start + 4, true));
    return {
      key: part(at, 32),
      nonce: part(at + 32, 12),
      aad: named(at + 44),
      text: named(at + 52),
      tag: part(at + 60, 16),
    };
  }
}

Deno.test("Engine seals and opens by its host's cipher, in memory that grows, and by its own where that refuses", () => {
  const aead = new OtherAead();
  const { pair, grow } = growingPair(5, aead);
  const [a] = pair.engines;
  const [stream, other] = pair.open();
  const before = aead.sealed;
  assert(before > 0);
  grow();
  pair.carry(seededBytes(1)(100_000), other, (rest) => a.streamWrite(stream, rest));
  assert(aead.sealed > before + 20 && aead.opened > 0 && aead.refused > 10);
});

Deno.test("Engine drops what is forged, whoever opens it", () => {
  const pair = new Pair(6, new OtherAead());
  const [a] = pair.engines;
  pair.open();
  const [from] = OUTER.slice(1);
  assert(from);
  // Those that the first has sent itself are not for it, and counted so.
  const forged = pair.sent.filter((datagram) => datagram[0] === 4).map((datagram) =>
    datagram.slice()
  );
  for (const datagram of forged) {
    datagram[8] = 40;
    a.receive(from, datagram);
  }
  pair.run(1);
  const { refused = 0, unknownIndex = 0 } = a.counters();
  assert(refused > 0);
  assertEquals(refused + unknownIndex, forged.length);
});
