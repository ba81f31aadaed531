/** Two peer tables with real engines and path agents; datagrams between them are carried by hand, in virtual time. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import {
  type Family,
  familyOf,
  formatBase64,
  formatSocketAddress,
  type Instant,
  parseIp,
  type SocketAddress,
} from "../../core/mod.ts";
import { type NatFacts, OUTER_BYTES } from "../../traversal/mod.ts";
import { Engine, type EngineSink, type StreamId } from "../../wg/mod.ts";
import type { DatapathPeerStatus } from "../shared/mod.ts";
import { type Peer, PeerTable } from "./peer_table.ts";
import { PolicyDesk } from "./policy_desk.ts";
import { GUESS_LOCALS_MAX, LOCALS_MAX, type Transport } from "./transport.ts";

const MODULE = new WebAssembly.Module(
  Deno.readFileSync(new URL("../../wg/engine.wasm", import.meta.url)),
);
const NAT: NatFacts = { mapping: "unknown", filtering: "unknown", hint: "NAT_UNKNOWN" };
const PORT = 51_820;
/** Encrypted data messages begin with this. */
const DATA = 4;

/** A datagram on its way. */
interface Datagram {
  readonly from: SocketAddress;
  readonly to: SocketAddress;
  readonly bytes: Uint8Array;
  /** Must not be split. */
  readonly whole: boolean;
}

/** A node: its own socket has an address of each family, each extra end a port of its own. */
class Node {
  readonly engine: Engine;
  readonly table: PeerTable;
  readonly events: string[] = [];
  readonly locals = new Set<number>();
  readonly mesh: string;
  /** How often its NAT's ports were to be looked at. */
  samples = 0;
  readonly #pair: Pair;
  readonly #index: number;
  readonly #sink: EngineSink;
  peer: Peer | undefined;
  accepted: StreamId | undefined;

  constructor(pair: Pair, index: number, mtu: number) {
    this.#pair = pair;
    this.#index = index;
    this.mesh = `10.42.0.${index + 1}`;
    let byte = index;
    const bytes = (length: number): Uint8Array =>
      Uint8Array.from({ length }, () => byte = (byte * 5 + 3) & 0xff);
    const onPrint = (text: string): never => {
      throw new Error(text);
    };
    const wallClockMs = (): number => 1.7e12 + pair.now;
    const privateKey = new Uint8Array(32).fill(index + 9);
    const host = {
      wallClockMs,
      rng: { bytes: (n: number) => crypto.getRandomValues(new Uint8Array(n)) },
      onPrint,
    };
    this.engine = new Engine(MODULE, host, { now: pair.now, privateKey, mtu });
    const ip = parseIp(this.mesh);
    assert(ip && this.engine.setAddresses([ip]));
    this.table = new PeerTable({
      engine: this.engine,
      transport: this.#transport(),
      rng: { bytes },
      policy: new PolicyDesk({ engine: this.engine, wallClockMs, log: () => {} }),
      listener: (_, event) => this.events.push(event.kind),
      nat: { own: NAT, udpBlocked: false, keepaliveMs: 25_000, ownPorts: [] },
      noGuess: false,
      noDirect: false,
      samplePorts: () => this.samples++,
    });
    this.#sink = {
      transmit: (run) => this.table.transmit(pair.now, run),
      event: (event) => {
        const { kind } = event;
        if (kind === "accepted") this.accepted = event.stream;
        const ofPaths = kind === "handshake" || kind === "heard" || kind === "probeReply";
        if (ofPaths || kind === "probed") {
          this.table.handle(pair.now, event);
        }
      },
    };
  }

  /** Where an end of this node is seen from outside. */
  address(family: Family, local = 0): SocketAddress {
    const hostname = family === 4 ? `192.0.2.${this.#index + 1}` : `2001:db8::${this.#index + 1}`;
    return { hostname, port: PORT + local };
  }

  /** Makes another node its peer. */
  join(other: Node, candidates: readonly SocketAddress[], mesh = true): void {
    const { now } = this.#pair;
    this.peer = this.table.add(now, {
      kind: "addPeer",
      publicKey: formatBase64(other.engine.publicKey),
      allowedIps: [`${other.mesh}/32`],
      keepaliveSeconds: 25,
      mesh,
    });
    const list = candidates.map((address) => ({ kind: "host", address } as const));
    this.table.withAgent(now, this.peer, (agent) => {
      agent.setCandidates(now, list);
      agent.connect(now);
    });
  }

  status(): DatapathPeerStatus {
    assert(this.peer);
    const { now } = this.#pair;
    return this.table.statusOf({ now, wallClockMs: 1.7e12 + now }, this.peer);
  }

  turn(): Instant | undefined {
    const { now } = this.#pair;
    this.table.handleTimeout(now);
    this.engine.poll(now, this.#sink);
    const [a, b] = [this.table.pollTimeout(), this.engine.pollTimeout()];
    return a === undefined || b !== undefined && b < a ? b : a;
  }

  receive({ from, to, bytes }: Datagram): void {
    const local = to.port - PORT;
    if (local !== 0 && !this.locals.has(local)) return;
    this.engine.receive(from, bytes, bytes.length, local);
  }

  #transport(): Transport {
    let next = 1;
    return {
      name: "test",
      port: PORT,
      localEndpoints: [],
      busy: false,
      counters: () => ({}),
      openLocal: () => {
        if (this.locals.size === LOCALS_MAX) return undefined;
        this.locals.add(next);
        return next++;
      },
      closeLocal: (local) => void this.locals.delete(local),
      localPort: (local) => PORT + local,
      send: (bytes, segment, to, local = 0, whole = false) => {
        assert(local === 0 || this.locals.has(local), "nothing is sent on a closed end");
        for (let at = 0; at < bytes.length; at += segment) {
          this.#pair.wire.push({
            from: this.address(familyOf(to.hostname), local),
            to,
            bytes: bytes.slice(at, at + segment),
            whole,
          });
        }
      },
    };
  }
}

/** Two nodes and the network between them. */
class Pair {
  now = 1000 as Instant;
  wire: Datagram[] = [];
  /** What was delivered. */
  readonly carried: Datagram[] = [];
  /** What is lost. */
  lose: (datagram: Datagram) => boolean = () => false;
  readonly a: Node;
  readonly b: Node;

  constructor(mtu = 1420) {
    this.a = new Node(this, 0, mtu);
    this.b = new Node(this, 1, mtu);
  }

  /** Runs for `ms` of virtual time. */
  run(ms: number): void {
    const end = this.now + ms;
    for (let round = 0; round < 100_000; round++) {
      const due = [this.a, this.b].map((node) => node.turn() ?? Infinity);
      const wire = this.wire;
      this.wire = [];
      for (const datagram of wire) {
        if (this.lose(datagram)) continue;
        this.carried.push(datagram);
        const { hostname } = datagram.to;
        for (const node of [this.a, this.b]) {
          if ([4, 6].some((f) => node.address(f as Family).hostname === hostname)) {
            node.receive(datagram);
          }
        }
      }
      if (wire.length > 0) continue;
      if (this.now >= end) return;
      this.now = Math.min(end, Math.max(this.now + 0.001, ...[Math.min(...due)])) as Instant;
    }
    throw new Error("The pair never becomes quiet");
  }

  /** Data that was delivered to `to` since `from`: the lengths of the datagrams. */
  dataTo(to: SocketAddress, from = 0): readonly number[] {
    return this.carried.slice(from)
      .filter(({ to: { hostname, port }, bytes, whole }) =>
        hostname === to.hostname && port === to.port && bytes[0] === DATA && bytes.length > 32 &&
        !whole
      ).map(({ bytes }) => bytes.length);
  }

  /** A stream from `a` to `b`. */
  stream(): StreamId {
    assert(this.b.engine.listen(80));
    const stream = this.a.engine.connect({ hostname: this.b.mesh, port: 80 });
    assert(typeof stream === "number", String(stream));
    this.run(200);
    assert(this.a.engine.streamState(stream).established);
    return stream;
  }
}

/** Lets both begin a session over both families. */
function connected(mtu?: number): Pair {
  const pair = new Pair(mtu);
  const { a, b } = pair;
  a.join(b, [b.address(4), b.address(6)]);
  b.join(a, [a.address(4), a.address(6)]);
  pair.run(3000);
  assert(a.status().connected && b.status().connected);
  return pair;
}

Deno.test("PeerTable: status names every path, with what probes have measured", () => {
  const { a, b } = connected();
  const { paths = [], reason, mtu } = a.status();
  assertEquals([reason, mtu], [null, 1420]);
  assertEquals(
    paths.map(({ remote, local, kind }) => `${remote} ${local} ${kind}`).sort(),
    [b.address(4), b.address(6)].map((address) => `${formatSocketAddress(address)} 0 host`).sort(),
  );
  assertEquals(paths[0]?.remote, a.status().endpoint);
  for (const { probes, replies } of paths) assert(probes > 0 && replies > 0);
});

for (const outer of [1500, 1280, 1124]) {
  Deno.test(`PeerTable: streams fill a path of ${outer} bytes that swallows what is larger`, () => {
    const pair = new Pair();
    const { a, b } = pair;
    pair.lose = ({ bytes }) => bytes.length + 28 > outer;
    a.join(b, [b.address(4)]);
    b.join(a, [a.address(4)]);
    pair.run(20_000);
    const inner = Math.min(outer - OUTER_BYTES[4], 1420);
    const { mtu = 0 } = a.status();
    assert(mtu <= inner && mtu > inner - 16, `${mtu} of ${inner}`);
    const stream = pair.stream();
    const from = pair.carried.length;
    a.engine.streamWrite(stream, new Uint8Array(100_000));
    pair.run(2000);
    assertEquals(Math.max(...pair.dataTo(b.address(4), from)), mtu + 32);
  });
}

Deno.test("PeerTable: data is copied while the path in use does not answer, and only then", () => {
  const pair = connected();
  const { a, b } = pair;
  const stream = pair.stream();
  const inUse = a.status().endpoint;
  const [primary, other] = [b.address(4), b.address(6)].sort((x) =>
    formatSocketAddress(x) === inUse ? -1 : 1
  );
  assert(primary && other);
  const push = (ms: number): void => {
    for (let at = 0; at < ms; at += 100) {
      a.engine.streamWrite(stream, new Uint8Array(100));
      pair.run(100);
    }
  };
  let from = pair.carried.length;
  push(2000);
  assert(pair.dataTo(primary, from).length >= 20);
  assertEquals(pair.dataTo(other, from).length, 0);

  // What goes to the address in use is lost from now on.
  from = pair.carried.length;
  const cutAt = pair.now;
  pair.lose = ({ to }) => to.hostname === primary.hostname;
  push(1000);
  assertEquals(pair.dataTo(other, from).length, 0);
  while (!a.events.includes("doubted")) push(100);
  assert(pair.now - cutAt <= 3000, `doubted after ${pair.now - cutAt} ms`);
  push(500);
  assert(pair.dataTo(other, from).length > 0, "copies arrive before the path is left");
  while (!a.events.includes("moved")) push(100);
  assert(pair.now - cutAt <= 6500, `moved after ${pair.now - cutAt} ms`);
  assertEquals(a.status().endpoint, formatSocketAddress(other));

  // Both work again, so nothing is sent twice.
  pair.lose = () => false;
  push(3000);
  const replayed = b.engine.counters().replayed ?? 0;
  from = pair.carried.length;
  push(3000);
  const twice = [primary, other].map((to) => pair.dataTo(to, from).length > 0);
  assertEquals(twice.filter(Boolean).length, 1);
  assertEquals(b.engine.counters().replayed ?? 0, replayed);
});

Deno.test("PeerTable: of copies over two paths each packet counts once", () => {
  const pair = connected();
  const { a, b } = pair;
  const stream = pair.stream();
  // Probes towards the path in use are lost, data is not: it is in doubt, and the copies are not needed.
  const inUse = a.peer?.path?.remote.hostname;
  pair.lose = ({ to, whole }) => whole && to.hostname === inUse;
  const replayed = (): number => b.engine.counters().replayed ?? 0;
  const [from, before] = [pair.carried.length, replayed()];
  for (let i = 0; i < 100 && !a.events.includes("moved"); i++) {
    a.engine.streamWrite(stream, new Uint8Array(10));
    pair.run(100);
  }
  assert(a.events.includes("moved"));
  const seen = new Set<string>();
  let [copies, dataCopies] = [0, 0];
  for (const { to, bytes } of pair.carried.slice(from)) {
    if (to.hostname !== b.address(4).hostname && to.hostname !== b.address(6).hostname) continue;
    const text = bytes.toHex();
    if (seen.has(text)) {
      copies++;
      if (bytes[0] === DATA) dataCopies++;
    }
    seen.add(text);
  }
  assert(dataCopies > 10, `${dataCopies} copies of data`);
  assertEquals(replayed() - before, copies);
});

Deno.test("PeerTable: a session that begins on an extra end stays on it", () => {
  const pair = new Pair();
  const { a, b } = pair;
  a.locals.add(7);
  b.join(a, [a.address(4, 7)]);
  a.join(b, []);
  pair.run(2000);
  assert(a.status().connected && b.status().connected);
  assertEquals(a.peer?.path, { local: 7, remote: b.address(4) });
  assertEquals(b.status().endpoint, formatSocketAddress(a.address(4, 7)));
  const from = pair.carried.length;
  const stream = pair.stream();
  a.engine.streamWrite(stream, new Uint8Array(5000));
  pair.run(500);
  const sources = pair.carried.slice(from).filter(({ to }) => to.hostname === b.address(4).hostname)
    .map((datagram) => datagram.from.port);
  assertEquals([...new Set(sources)], [PORT + 7]);
  assertEquals(a.status().paths?.[0]?.local, 7);
});

Deno.test("PeerTable: ends held by a guess go to a peer that was just told to try, and to others after 8 s", () => {
  const pair = new Pair();
  const { table, locals } = pair.a;
  const own: NatFacts = { ...NAT, mapping: "addressAndPortDependent", hint: "NAT_SYMMETRIC" };
  table.setNat(pair.now, { own, udpBlocked: false, keepaliveMs: 25_000, ownPorts: [] });
  const stranger = (index: number, punch: boolean): Peer => {
    const publicKey = formatBase64(new Uint8Array(32).fill(index));
    const allowedIps = [`10.42.1.${index}/32`];
    const add = { publicKey, allowedIps, keepaliveSeconds: 25, mesh: true };
    const peer = table.add(pair.now, { kind: "addPeer", ...add });
    const address = { hostname: `203.0.113.${index}`, port: PORT };
    table.withAgent(pair.now, peer, (agent) => {
      agent.setCandidates(pair.now, [{ kind: "serverReflexive", address }]);
      agent.connect(pair.now);
      if (punch) agent.punch(pair.now, 5_000);
    });
    return peer;
  };
  const first = stranger(1, false);
  pair.run(1_000);
  assertEquals(pair.a.samples, 1, "the peer may count on it");
  pair.run(1_000);
  assertEquals([first.locals.size, locals.size], [GUESS_LOCALS_MAX, GUESS_LOCALS_MAX]);
  const second = stranger(2, true);
  const third = stranger(3, false);
  pair.run(2_000);
  assertEquals([first, second, third].map((peer) => peer.locals.size), [0, GUESS_LOCALS_MAX, 0]);
  pair.run(12_000);
  assertEquals(second.locals.size, 0);
  assertEquals(first.locals.size + third.locals.size, GUESS_LOCALS_MAX);
  table.withAgent(pair.now, third, (agent) => agent.setRegistered(pair.now, false));
  table.withAgent(pair.now, first, (agent) => agent.setRegistered(pair.now, false));
  assertEquals(locals.size, 0, "nothing is guessed for peers that have left");
});

Deno.test("PeerTable: a plain peer's streams keep to what routers say, for ten minutes", () => {
  const pair = new Pair();
  const { a, b } = pair;
  a.join(b, [], false);
  b.join(a, [], false);
  assert(a.peer);
  a.engine.setEndpoint(a.peer.id, b.address(4));
  const stream = pair.stream();
  const longest = (): number => {
    const from = pair.carried.length;
    a.engine.streamWrite(stream, new Uint8Array(20_000));
    pair.run(500);
    return Math.max(...pair.dataTo(b.address(4), from));
  };
  assertEquals(longest(), 1420 + 32);
  a.table.handleTooBig(pair.now, { ...b.address(4), port: 0 }, 1300);
  assertEquals(longest(), 1300 - 28);
  a.table.handleTooBig(pair.now, { hostname: "203.0.113.9", port: 0 }, 600);
  assertEquals(longest(), 1300 - 28);
  pair.run(601_000);
  assertEquals(longest(), 1420 + 32);
});

Deno.test("PeerTable: a forged hint about sizes makes packets smaller for seconds only, where the peer answers probes", () => {
  const pair = connected();
  const { a, b } = pair;
  const inUse = a.peer?.path?.remote ?? b.address(4);
  const stream = pair.stream();
  const sizes = (): number => {
    const from = pair.carried.length;
    a.engine.streamWrite(stream, new Uint8Array(20_000));
    pair.run(500);
    if (b.accepted !== undefined) b.engine.streamRead(b.accepted, (part) => part.length);
    return Math.max(...pair.dataTo(inUse, from));
  };
  const inner = 1340 - OUTER_BYTES[familyOf(inUse.hostname)];
  const lowered: number[] = [];
  for (let at = 0; at < 20_000; at += 500) {
    a.table.handleTooBig(pair.now, inUse, 1340);
    if (sizes() === inner + 32) lowered.push(at);
  }
  assert(lowered.length > 0 && lowered.length <= 6, `lowered at ${lowered}`);
  assertEquals([a.status().mtu, sizes()], [1420, 1452]);
});
