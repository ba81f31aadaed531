import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import {
  formatBase64,
  formatSocketAddress,
  type Instant,
  type MorayError,
  type SocketAddress,
} from "../../core/mod.ts";
import { answerBinding } from "../../traversal/mod.ts";
import { Engine } from "../../wg/mod.ts";
import { DatapathClient, type NodeEvent, SharedArena } from "../shared/mod.ts";
import type { TunnelDatagrams } from "../network.ts";
import { TunnelNetwork } from "../tunnel_network.ts";
import { Datapath } from "./datapath.ts";

const MODULE = new WebAssembly.Module(
  Deno.readFileSync(new URL("../../wg/engine.wasm", import.meta.url)),
);
const STUN: SocketAddress = { hostname: "198.51.100.1", port: 3478 };

/** One node of the world, both of its threads in this one. */
interface Node {
  readonly datapath: Datapath;
  readonly client: DatapathClient;
  readonly network: TunnelNetwork;
  readonly events: NodeEvent[];
  readonly publicKey: string;
  readonly outer: SocketAddress;
  readonly mesh: string;
  /** Whether its datapath hears the bell. */
  hears: boolean;
  /** Whether its datagrams come in batches, as the fast driver's do. */
  batches: boolean;
  wantsStep: boolean;
  wantsWake: boolean;
  dueAt: Instant | undefined;
}

/** Nodes, a STUN server and the datagrams between them, in virtual time. */
class World {
  now = 1000 as Instant;
  readonly nodes: Node[] = [];
  /** What is lost. */
  lose: (from: SocketAddress, to: SocketAddress, bytes: Uint8Array) => boolean = () => false;
  #wire: { from: SocketAddress; to: SocketAddress; bytes: Uint8Array }[] = [];

  add(): Node {
    const i = this.nodes.length;
    const outer = { hostname: `192.0.2.${i + 1}`, port: 51820 + i };
    const arena = SharedArena.create();
    const events: NodeEvent[] = [];
    const clock = { now: (): Instant => this.now };
    let byte = i * 17;
    const rng = {
      bytes: (n: number) => Uint8Array.from({ length: n }, () => byte = (byte * 5 + 3) & 0xff),
    };
    const engine = new Engine(MODULE, {
      wallClockMs: () => 1.7e12 + this.now,
      rng: { bytes: (n) => crypto.getRandomValues(new Uint8Array(n)) },
      onPrint: (text) => {
        throw new Error(text);
      },
    }, { now: this.now, privateKey: new Uint8Array(32).fill(i + 9) });
    const datapath = new Datapath({
      arena,
      engine,
      clock,
      rng,
      wallClockMs: () => 1.7e12 + this.now,
      interfaces: () => [{ name: "eth0", address: outer.hostname }],
      transport: {
        name: "portable",
        port: outer.port,
        localEndpoints: [formatSocketAddress(outer)],
        busy: false,
        counters: () => ({}),
        openLocal: () => undefined,
        closeLocal: () => {},
        localPort: () => undefined,
        send: (bytes, segment, to) => {
          for (let at = 0; at < bytes.length; at += segment) {
            this.#wire.push({ from: outer, to, bytes: bytes.slice(at, at + segment) });
          }
        },
      },
    });
    const client = new DatapathClient({
      arena,
      wake: () => node.wantsStep = true,
      onEvent: (event) => events.push(event),
    });
    const node: Node = {
      datapath,
      client,
      network: new TunnelNetwork({ client, resolve: (name) => name }),
      events,
      publicKey: formatBase64(engine.publicKey),
      outer,
      mesh: `10.42.0.${i + 1}`,
      hears: true,
      batches: false,
      wantsStep: true,
      wantsWake: false,
      dueAt: undefined,
    };
    this.nodes.push(node);
    return node;
  }

  /** Makes `b` a peer of `a`, by default with its true address as only candidate. */
  async join(a: Node, b: Node, candidates = [formatSocketAddress(b.outer)]): Promise<void> {
    const { publicKey } = b;
    const sent = [
      a.client.send({ kind: "setAddresses", addresses: [`${a.mesh}/32`] }),
      a.client.send({
        kind: "addPeer",
        publicKey,
        allowedIps: [`${b.mesh}/32`],
        keepaliveSeconds: 25,
        mesh: true,
      }),
      a.client.send({
        kind: "setCandidates",
        publicKey,
        candidates: candidates.map((address) => ({ kind: "serverReflexive", address })),
      }),
      a.client.send({ kind: "connectPeer", publicKey }),
    ];
    await this.run(0);
    await Promise.all(sent);
  }

  /** Runs for `ms` of virtual time. */
  async run(ms: number): Promise<void> {
    const end = this.now + ms;
    for (let round = 0; round < 200_000; round++) {
      if (await this.#turn()) continue;
      if (this.now >= end) return;
      const due = this.nodes.map(({ dueAt }) => dueAt ?? Infinity);
      this.now = Math.min(end, Math.max(this.now, Math.min(...due))) as Instant;
      for (const node of this.nodes) {
        if ((node.dueAt ?? Infinity) <= this.now) node.wantsStep = true;
      }
    }
    throw new Error("The world never becomes quiet");
  }

  /** Runs until `promise` is settled, at most a minute of virtual time. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    promise.then(() => settled = true, () => settled = true);
    for (let i = 0; i < 6000 && !settled; i++) await this.run(10);
    return await promise;
  }

  async #turn(): Promise<boolean> {
    let moved = false;
    for (const node of this.nodes) {
      if (node.wantsStep) {
        moved = true;
        node.wantsStep = false;
        if (node.hears) node.datapath.handleBell();
        node.dueAt = node.datapath.step(() => node.wantsWake = true);
      }
      if (node.wantsWake) {
        moved = true;
        node.wantsWake = false;
        node.client.handleWake();
      }
    }
    const wire = this.#wire;
    this.#wire = [];
    for (const { from, to, bytes } of wire) {
      if (this.lose(from, to, bytes)) continue;
      if (to.hostname === STUN.hostname) {
        const answer = answerBinding({ source: from, payload: bytes });
        if (answer) this.#wire.push({ from: STUN, to: answer.destination, bytes: answer.payload });
        continue;
      }
      const node = this.nodes.find(({ outer }) =>
        formatSocketAddress(outer) === formatSocketAddress(to)
      );
      if (node === undefined) continue;
      if (node.batches) {
        node.datapath.handleTrain(from, bytes, bytes.length);
        node.datapath.handleBatch();
      } else node.datapath.handleDatagram(from, bytes);
      node.wantsStep = true;
    }
    // What the main thread's code does next is in the promise queue.
    for (let i = 0; i < 20; i++) await Promise.resolve();
    return moved || wire.length > 0;
  }
}

async function readAll(conn: { read(p: Uint8Array): Promise<number | null> }): Promise<number> {
  const buffer = new Uint8Array(65_536);
  let total = 0;
  for (let n; (n = await conn.read(buffer)) !== null;) total += n;
  return total;
}

Deno.test("Datapath: peers that only know candidates shake hands and carry a stream both ways", async () => {
  const world = new World();
  const [a, b] = [world.add(), world.add()];
  await world.join(a, b);
  await world.join(b, a);
  const listener = b.network.listen(80);
  const serving = (async (): Promise<number> => {
    const conn = await listener.accept();
    const total = await readAll(conn);
    await conn.write(new Uint8Array([7]));
    await conn.closeWrite();
    conn.close();
    return total;
  })();
  const conn = await world.until(a.network.connect({ hostname: b.mesh, port: 80 }));
  assertEquals(conn.remote, { hostname: b.mesh, port: 80 });
  const bytes = new Uint8Array(1 << 20);
  const sending = (async (): Promise<number> => {
    for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
    await conn.closeWrite();
    return await readAll(conn);
  })();
  assertEquals(await world.until(sending), 1);
  assertEquals(await world.until(serving), bytes.length);
  conn.close();
  assertEquals(a.events.filter(({ kind }) => kind === "peerConnected").length, 1);
});

/** Opens a UDP port that notes what happens at it. */
function openUdp(
  { network }: Node,
  port: number,
): { readonly happened: string[]; readonly port: TunnelDatagrams } {
  const happened: string[] = [];
  return {
    happened,
    port: network.openDatagrams(port, {
      datagram: (payload, from) =>
        happened.push(`${payload.length} bytes from ${formatSocketAddress(from)}`),
      refused: (to, reason) => happened.push(`${formatSocketAddress(to)} ${reason}`),
      closed: ({ code }) => happened.push(code),
    }),
  };
}

Deno.test("Datapath: datagrams cross, closed ports answer, and what no path carries is refused", async () => {
  const world = new World();
  const [a, b] = [world.add(), world.add()];
  await world.join(a, b);
  await world.join(b, a);
  const [from, to] = [openUdp(a, 5000), openUdp(b, 53)];
  const remote = { hostname: b.mesh, port: 53 };
  await world.until(from.port.send(new Uint8Array(700), remote));
  await world.until(from.port.send(new Uint8Array(0), remote));
  await world.run(50);
  assertEquals(to.happened, ["700 bytes from 10.42.0.1:5000", "0 bytes from 10.42.0.1:5000"]);
  const codes = async (sent: Promise<void>): Promise<string> => {
    return await world.until(sent).then(() => "sent", (error: MorayError) => error.message);
  };
  assertEquals(
    await codes(from.port.send(new Uint8Array(1253), remote)),
    "Cannot send 1253 bytes to 10.42.0.2:53: its path carries datagrams of 1252 bytes",
  );
  assertEquals(
    await codes(from.port.send(new Uint8Array(1), { hostname: "10.9.9.9", port: 1 })),
    "Cannot send to 10.9.9.9:1: no peer has this address",
  );
  to.port.close();
  await world.until(from.port.send(new Uint8Array(1), remote));
  await world.run(50);
  assertEquals(from.happened, ["10.42.0.2:53 refused"]);
  const { publicKey } = b;
  await world.until(a.client.send({ kind: "removePeer", publicKey }));
  // What was known of the path is wrong now, which the first to send finds out, and the next is told.
  await world.until(from.port.send(new Uint8Array(1), remote));
  await world.run(50);
  assertEquals(a.network.counters.datagramsNotSent, 1);
  assertEquals(
    await codes(from.port.send(new Uint8Array(1), remote)),
    "Cannot send to 10.42.0.2:53: no peer has this address",
  );
  a.client.close();
  assertEquals(from.happened.slice(1), ["closed"]);
  assertEquals(
    await codes(from.port.send(new Uint8Array(1), remote)),
    "The node is closed: the datapath has stopped",
  );
});

Deno.test("Datapath: more datagrams than there is room for wait, and none is lost unseen", async () => {
  const world = new World();
  const [a, b] = [world.add(), world.add()];
  await world.join(a, b);
  await world.join(b, a);
  await world.run(100);
  const [from, to] = [openUdp(a, 5000), openUdp(b, 53)];
  const remote = { hostname: b.mesh, port: 53 };
  const payload = new Uint8Array(1200);
  await world.until(from.port.send(payload, remote));
  // A megabyte and a half: three times what the ring holds, and more than the engine takes at once.
  await world.until(
    Promise.all(Array.from({ length: 1250 }, () => from.port.send(payload, remote))),
  );
  await world.run(1000);
  const { counters } = await world.until(b.client.send({ kind: "status" }));
  assertEquals(to.happened.length + (counters["datagramsNotRead"] ?? 0), 1251);
  assert(to.happened.length > 400, `${to.happened.length} were read`);
});

Deno.test("Datapath: a peer behind none of its candidates has a reason, and one that appears connects", async () => {
  const world = new World();
  const [a, b] = [world.add(), world.add()];
  await world.join(b, a, []);
  await world.join(a, b, ["203.0.113.77:9", "203.0.113.78:9"]);
  await world.run(5000);
  const [lost] = (await world.until(a.client.send({ kind: "status" }))).peers;
  assert(
    lost?.connected === false && /handshakes to 2 endpoints, no answer/.test(lost.reason ?? ""),
  );
  const address = formatSocketAddress(b.outer);
  const { publicKey } = b;
  const set = a.client.send({
    kind: "setCandidates",
    publicKey,
    candidates: [{ kind: "host", address }],
  });
  await world.until(set);
  await world.run(500);
  const [found] = (await world.until(a.client.send({ kind: "status" }))).peers;
  assertEquals([found?.connected, found?.endpoint, found?.reason], [true, address, null]);
});

Deno.test("Datapath: a punch opens two firewalls that let in only answers", async () => {
  const world = new World();
  const [a, b] = [world.add(), world.add()];
  const opened = new Set<string>();
  world.lose = (from, to) => {
    opened.add(`${from.hostname}>${to.hostname}`);
    return to.hostname !== STUN.hostname && !opened.has(`${to.hostname}>${from.hostname}`);
  };
  await world.join(a, b);
  await world.join(b, a, []);
  await world.run(100);
  assertEquals(a.events.some(({ kind }) => kind === "peerConnected"), false);
  const candidates = [{ kind: "serverReflexive", address: formatSocketAddress(a.outer) }];
  await world.until(
    b.client.send({ kind: "punch", publicKey: a.publicKey, windowMs: 3000, coin: 0, candidates }),
  );
  await world.run(1000);
  for (const node of [a, b]) assert(node.events.some(({ kind }) => kind === "peerConnected"));
});

Deno.test("Datapath: STUN answers on the WireGuard socket become candidates", async () => {
  const world = new World();
  const a = world.add();
  await world.until(
    a.client.send({
      kind: "setStunServers",
      servers: [{ address: formatSocketAddress(STUN), origin: "configured" }],
    }),
  );
  await world.run(100);
  const event = a.events.findLast(({ kind }) => kind === "candidatesChanged");
  assert(event?.kind === "candidatesChanged");
  // The server sees the host's own address: there is no NAT, and one candidate.
  assertEquals(event.candidates, [{ kind: "host", address: formatSocketAddress(a.outer) }]);
  assertEquals(event.nat.hint, "NAT_CONE");
});

Deno.test("Datapath: ping measures, and says null when no answer comes", async () => {
  const world = new World();
  const [a, b] = [world.add(), world.add()];
  await world.join(a, b);
  await world.join(b, a);
  await world.run(300);
  const ping = (address: string): Promise<number | null> =>
    world.until(a.client.send({ kind: "ping", address, sequence: 1, timeoutMs: 1000 }));
  assertEquals(await ping(b.mesh), 0);
  world.lose = () => true;
  assertEquals(await ping(b.mesh), null);
  const nobody = a.client.send({ kind: "ping", address: "10.42.9.9", sequence: 1, timeoutMs: 1 });
  const refused = await world.until(nobody.catch((error) => error.code));
  assertEquals(refused, "unreachable");
});

Deno.test("Datapath: a stranger is told of, at most 16 times a second", async () => {
  const world = new World();
  const [a, b] = [world.add(), world.add()];
  await world.join(a, b);
  await world.until(a.client.send({
    kind: "punch",
    publicKey: b.publicKey,
    windowMs: 30_000,
    coin: 0,
    candidates: [{ kind: "host", address: formatSocketAddress(b.outer) }],
  }));
  await world.run(20_000);
  const told = b.events.filter(({ kind }) => kind === "unknownPeer");
  assert(told.length > 20 && told.length < 16 * 21, `${told.length}`);
  assert(told.every((event) => event.kind === "unknownPeer" && event.publicKey === a.publicKey));
});

Deno.test("Datapath: a connection that comes before the wake-up for its listener finds it", async () => {
  const world = new World();
  const [a, b] = [world.add(), world.add()];
  await world.join(a, b);
  await world.join(b, a);
  await world.run(300);
  b.hears = false;
  for (const batches of [false, true]) {
    b.batches = batches;
    const port = batches ? 80 : 81;
    const listener = b.network.listen(port);
    const conn = await world.until(a.network.connect({ hostname: b.mesh, port }));
    conn.abort();
    listener.close();
  }
});

Deno.test("Datapath: junk is counted by name and changes nothing", async () => {
  const world = new World();
  const [a, b] = [world.add(), world.add()];
  await world.join(a, b);
  await world.join(b, a);
  await world.run(300);
  const from = { hostname: "203.0.113.9", port: 9 };
  for (let i = 0; i < 5000; i++) {
    const bytes = crypto.getRandomValues(new Uint8Array(1 + i % 300));
    if (i % 2) bytes.set([1 + i % 4, 0, 0, 0].slice(0, bytes.length));
    b.datapath.handleDatagram(from, bytes);
    if (i % 100 === 0) {
      b.wantsStep = true;
      await world.run(1);
    }
  }
  await world.run(10);
  const { counters, peers } = await world.until(b.client.send({ kind: "status" }));
  assert((counters["notForUs"] ?? 0) > 2000, JSON.stringify(counters));
  assertEquals(peers[0]?.endpoint, formatSocketAddress(a.outer));
  assertEquals(
    await world.until(
      a.client.send({ kind: "ping", address: b.mesh, sequence: 2, timeoutMs: 500 }),
    ),
    0,
  );
});

Deno.test("Datapath: an ICMP error makes it look for the peer again, and is never believed", async () => {
  const world = new World();
  const [a, b] = [world.add(), world.add()];
  await world.join(a, b);
  await world.join(b, a);
  // A new session is proven every 3 s at first; the hint counts only where a second has passed in silence.
  await world.run(24_000);
  let initiations = 0;
  world.lose = (_from, _to, bytes) => {
    if (bytes[0] === 1) initiations++;
    return false;
  };
  const hint = (destination: SocketAddress): void => {
    a.datapath.handlePathError({ kind: "unreachable", destination, what: "port" });
    a.wantsStep = true;
  };
  hint({ hostname: "203.0.113.5", port: 1 });
  await world.run(500);
  assertEquals(initiations, 0);
  hint(b.outer);
  await world.run(500);
  assertEquals(initiations, 1);
  for (let i = 0; i < 100; i++) hint({ hostname: "203.0.113.5", port: i });
  await world.run(500);
  const { peers, counters } = await world.until(a.client.send({ kind: "status" }));
  assertEquals([peers[0]?.connected, initiations], [true, 1]);
  assertEquals(counters["pathErrorsNotLookedAt"], 84);
});

Deno.test("Datapath: removing a peer ends its streams and frees its addresses", async () => {
  const world = new World();
  const [a, b] = [world.add(), world.add()];
  await world.join(a, b);
  await world.join(b, a);
  b.network.listen(80);
  const conn = await world.until(a.network.connect({ hostname: b.mesh, port: 80 }));
  await world.until(a.client.send({ kind: "removePeer", publicKey: b.publicKey }));
  const read = await world.until(conn.read(new Uint8Array(1)).catch((error) => error.code));
  assertEquals(read, "closed");
  const again = await world.until(
    a.network.connect({ hostname: b.mesh, port: 80 }).catch((error) => error.code),
  );
  assertEquals(again, "unreachable");
});
