import { deepStrictEqual as assertEquals, fail, ok as assert } from "node:assert/strict";
import { equals, type Instant, parseCidr, parseIp, type SocketAddress } from "../core/mod.ts";
import { Engine } from "./engine.ts";
import type { EngineEvent, PeerId, StreamId, TransmitRun } from "./engine_types.ts";

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
  sent: Uint8Array[] = [];
  /** Whether nothing of the first reaches the second. */
  cut = false;
  readonly peers: readonly [PeerId, PeerId];

  constructor(seed: number) {
    const start = (i: number): Engine =>
      new Engine(MODULE, {
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
    engine.take(this.now, { transmit: () => fail("too early"), event: () => fail("too early") });
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
function growingPair(seed: number): { readonly pair: Pair; readonly grow: () => void } {
  const { Instance } = WebAssembly;
  const memories: WebAssembly.Memory[] = [];
  WebAssembly.Instance = class extends Instance {
    constructor(module: WebAssembly.Module, imports?: WebAssembly.Imports) {
      super(module, imports);
      memories.push(this.exports["memory"] as WebAssembly.Memory);
    }
  };
  try {
    const pair = new Pair(seed);
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

Deno.test("Engine carries datagrams inside the tunnel", () => {
  const pair = new Pair(3);
  const [a, b] = pair.engines;
  const [from, at] = [a.udpBind(4000), b.udpBind(53)];
  assert(from !== undefined && at !== undefined);
  assertEquals(b.udpBind(53), undefined);
  assert(a.udpSend(from, { hostname: INNER[1], port: 53 }, new Uint8Array([1, 2, 3])));
  pair.run(50);
  assertEquals(b.udpReceive(at), {
    payload: new Uint8Array([1, 2, 3]),
    from: { hostname: INNER[0], port: 4000 },
  });
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
  assertEquals(answered.events, [{ kind: "heard", peer: toA, from: seen, local: 9 }]);

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
