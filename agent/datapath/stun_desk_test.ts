import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { formatSocketAddress, type Instant, type SocketAddress } from "../../core/mod.ts";
import {
  answerBinding,
  decodeStun,
  encodeStun,
  METHOD_BINDING,
  type PathEvent,
} from "../../traversal/mod.ts";
import { StunDesk } from "./stun_desk.ts";

const SERVER: SocketAddress = { hostname: "198.51.100.1", port: 3478 };
const COLONY: SocketAddress = { hostname: "198.51.100.7", port: 51820 };
/** Where the agent's NAT puts it. */
const OUTSIDE: SocketAddress = { hostname: "203.0.113.9", port: 40_000 };
const AGENT_ASKS = { username: "agent asks", password: "one secret" };
const COLONY_ASKS = { username: "colony asks", password: "another secret" };

const NO_ENDS = { openLocal: () => undefined, closeLocal: () => undefined } as const;

/** An agent behind a NAT, a colony, and maybe a STUN server. */
class World {
  now = 0 as Instant;
  readonly colony: StunDesk;
  readonly agent: StunDesk;
  /** Whether the STUN server answers. */
  answers = false;
  silent = 0;
  /** Where the agent's NAT puts a datagram of an end of its. */
  outside: (local: number, to: SocketAddress) => SocketAddress = () => OUTSIDE;
  /** The agent's extra ends, and how many there may be. */
  readonly ends = new Set<number>();
  free = 256;
  #opened = 0;
  #wire: (() => void)[] = [];

  constructor() {
    let byte = 0;
    const rng = { bytes: (n: number) => Uint8Array.from({ length: n }, () => byte++ & 0xff) };
    this.colony = new StunDesk(this.now, {
      rng,
      hostAddresses: [COLONY.hostname],
      transport: { ...NO_ENDS, send: (bytes, _, to) => this.#deliver(COLONY, to, bytes.slice()) },
    });
    this.agent = new StunDesk(this.now, {
      rng,
      hostAddresses: ["192.168.1.10"],
      transport: {
        openLocal: () => this.free > this.ends.size ? this.#open() : undefined,
        closeLocal: (local) => assert(this.ends.delete(local)),
        send: (bytes, _, to, local = 0) => {
          const from = this.outside(local, to);
          this.#deliver(from, to, bytes.slice(), local);
        },
      },
    });
  }

  /** Both know each other's credentials, and are connected. */
  join(): void {
    this.agent.execute(this.now, {
      kind: "setMember",
      publicKey: "colony",
      asks: AGENT_ASKS,
      answers: COLONY_ASKS,
    });
    this.colony.execute(this.now, {
      kind: "setMember",
      publicKey: "agent",
      asks: COLONY_ASKS,
      answers: AGENT_ASKS,
    });
    this.agent.handlePath(this.now, "colony", at(COLONY));
  }

  run(ms: number): void {
    const end = this.now + ms;
    while (this.now <= end) {
      for (const desk of [this.agent, this.colony]) {
        if (desk.step(this.now).silent) this.silent++;
      }
      const wire = this.#wire;
      this.#wire = [];
      wire.forEach((deliver) => deliver());
      if (wire.length > 0) continue;
      const due = [this.agent, this.colony].map((desk) => desk.pollTimeout() ?? Infinity);
      this.now = Math.max(this.now + 1, Math.min(end + 1, ...due)) as Instant;
    }
    this.now = end as Instant;
  }

  #open(): number {
    const local = ++this.#opened;
    this.ends.add(local);
    return local;
  }

  /** `local`: the agent's end that asked, and gets the answer. */
  #deliver(source: SocketAddress, to: SocketAddress, payload: Uint8Array, local = 0): void {
    this.#wire.push(() => {
      const datagram = { source, payload };
      if (to.hostname === COLONY.hostname) this.colony.handleInput(this.now, datagram);
      else if (to.hostname === OUTSIDE.hostname) {
        this.agent.handleInput(this.now, { ...datagram, local });
      } else if (to.hostname.startsWith("198.51.100.") && this.answers) {
        const answer = answerBinding(datagram);
        if (answer !== undefined) this.#deliver(to, answer.destination, answer.payload, local);
      }
    });
  }
}

Deno.test("an agent learns its mapping from its colony, without any STUN server", () => {
  const world = new World();
  world.join();
  world.run(100);
  assertEquals(world.agent.candidates, [
    { kind: "serverReflexive", address: OUTSIDE, via: formatSocketAddress(COLONY) },
  ]);
  assertEquals(world.colony.counters(), { memberStunAnswers: 1 });
  assertEquals(world.agent.status, [{
    server: formatSocketAddress(COLONY),
    origin: "peer",
    rttMs: 0,
    mapped: formatSocketAddress(OUTSIDE),
    reason: null,
  }]);
});

Deno.test("what the colony sees and what a server sees make a verdict on the NAT together", () => {
  const world = new World();
  world.answers = true;
  world.agent.execute(world.now, {
    kind: "setStunServers",
    servers: [{ address: formatSocketAddress(SERVER), origin: "discovery" }],
  });
  world.run(100);
  assertEquals(world.agent.nat.mapping, "unknown");
  world.join();
  world.run(100);
  assertEquals(world.agent.nat.mapping, "endpointIndependent");
});

Deno.test("a node answers no STUN of strangers, and none of a member that has left", () => {
  const world = new World();
  world.join();
  world.run(100);
  world.colony.removePeer(world.now, "agent");
  world.agent.execute(world.now, { kind: "regather" });
  world.run(30_000);
  assertEquals(world.agent.candidates, []);
  const transactionId = new Uint8Array(12);
  const plain = {
    class: "request",
    method: METHOD_BINDING,
    transactionId,
    attributes: [],
  } as const;
  world.colony.handleInput(world.now, { source: OUTSIDE, payload: encodeStun(plain) });
  const { memberStunAnswers, memberStunRefused = 0 } = world.colony.counters();
  assertEquals(memberStunAnswers, 1);
  assert(memberStunRefused > 1);
});

Deno.test("an agent asks its colony no more once it is lost, and elsewhere once it has moved", () => {
  const world = new World();
  world.join();
  world.run(100);
  const moved = { ...COLONY, port: 51_900 };
  world.agent.handlePath(world.now, "colony", at(moved));
  world.run(100);
  assertEquals(world.agent.status.map(({ server }) => server), [formatSocketAddress(moved)]);
  world.agent.handlePath(world.now, "colony", { kind: "lost" });
  assertEquals([world.agent.status, world.agent.candidates], [[], []]);
});

Deno.test("a request cannot be sent back to its sender as one of the other side", () => {
  const world = new World();
  world.join();
  let request: Uint8Array | undefined;
  const spy = new StunDesk(world.now, {
    rng: { bytes: (n) => new Uint8Array(n) },
    hostAddresses: [],
    transport: { ...NO_ENDS, send: (bytes) => void (request = bytes.slice()) },
  });
  spy.execute(world.now, {
    kind: "setMember",
    publicKey: "colony",
    asks: AGENT_ASKS,
    answers: COLONY_ASKS,
  });
  spy.handlePath(world.now, "colony", at(COLONY));
  spy.step(world.now);
  assert(request !== undefined && decodeStun(request)?.class === "request");
  spy.handleInput(world.now, { source: COLONY, payload: request });
  assertEquals(spy.counters(), { memberStunRefused: 1 });
});

Deno.test("the next ports of a NAT that counts are told, from two ends that are closed again", () => {
  for (const stride of [1, 5_000]) {
    const world = new World();
    world.answers = true;
    const ports = new Map<string, number>();
    world.outside = (local, to) => {
      const key = `${local} ${formatSocketAddress(to)}`;
      const port = ports.get(key) ?? 20_000 + stride * ports.size;
      ports.set(key, port);
      return { hostname: OUTSIDE.hostname, port };
    };
    world.agent.samplePorts(world.now);
    assertEquals(world.ends.size, 0, "nothing is known of the NAT yet");
    const servers = ["198.51.100.1:3478", "198.51.100.2:3478"]
      .map((address) => ({ address, origin: "configured" }));
    world.agent.execute(world.now, { kind: "setStunServers", servers });
    world.run(3_000);
    world.free = 1;
    world.agent.samplePorts(world.now);
    assertEquals([world.ends.size, world.agent.counters()], [0, { portSamplesRefused: 1 }]);
    world.free = 2;
    world.run(2_000);
    world.agent.samplePorts(world.now);
    world.agent.samplePorts(world.now);
    assertEquals(world.ends.size, 2);
    assertEquals(world.agent.step(world.now).candidates, false);
    world.run(100);
    assertEquals(world.ends.size, 0);
    const seen = world.agent.sampled.map(({ port }) => port);
    assertEquals(seen, stride === 1 ? [20_002, 20_003] : [], "ports at random tell nothing");
    for (const look of ["second", "third"]) {
      world.run(3_000);
      world.agent.samplePorts(world.now);
      assertEquals(world.ends.size, 2, `${look}: others may have had theirs between two of ours`);
      world.run(100);
    }
    world.run(3_000);
    world.agent.samplePorts(world.now);
    assertEquals(world.ends.size, stride === 1 ? 2 : 0, "and are not looked at for a while");
    world.run(100);
    world.agent.linkChanged(world.now, ["192.168.1.10"]);
    assertEquals(world.agent.sampled, []);
  }
});

Deno.test("a NAT that was seen to count is looked at again soon, however often others had the ports between ours", () => {
  const world = new World();
  world.answers = true;
  const ports = new Map<string, number>();
  let stride = 1;
  world.outside = (local, to) => {
    const key = `${local} ${formatSocketAddress(to)}`;
    const port = ports.get(key) ?? 20_000 + stride * ports.size;
    ports.set(key, port);
    return { hostname: OUTSIDE.hostname, port };
  };
  const servers = ["198.51.100.1:3478", "198.51.100.2:3478"]
    .map((address) => ({ address, origin: "configured" }));
  world.agent.execute(world.now, { kind: "setStunServers", servers });
  world.run(3_000);
  world.free = 2;
  const look = (): readonly number[] => {
    world.agent.samplePorts(world.now);
    world.run(3_000);
    return world.agent.sampled.map(({ port }) => port);
  };
  const first = look();
  assertEquals(first, [20_002, 20_003]);
  stride = 5_000;
  for (let i = 0; i < 4; i++) assertEquals(look(), first, "what was seen last, for want of better");
  stride = 1;
  assertEquals(look(), [20_012, 20_013]);
});

Deno.test("silence of every server is told once", () => {
  const world = new World();
  world.agent.execute(world.now, {
    kind: "setStunServers",
    servers: [
      { address: formatSocketAddress(SERVER), origin: "discovery" },
      { address: "not an address", origin: "discovery" },
    ],
  });
  world.run(60_000);
  assertEquals([world.silent, world.agent.udpBlocked], [1, true]);
});

Deno.test("a forgetful NAT makes keepalives more frequent, a good one does not make them rare for peers", () => {
  const { agent, now } = new World();
  const nat = {
    mapping: "endpointIndependent",
    filtering: "addressAndPortDependent",
    hint: "NAT_RESTRICTED",
  } as const;
  assertEquals(agent.keepaliveMs, 25_000);
  agent.execute(now, { kind: "setProbed", nat, keepaliveMs: 8_333 });
  assertEquals([agent.keepaliveMs, agent.nat.filtering], [8_333, nat.filtering]);
  agent.execute(now, { kind: "setProbed", nat, keepaliveMs: 100_000 });
  assertEquals(agent.keepaliveMs, 25_000);
  agent.execute(now, { kind: "setProbed", nat, keepaliveMs: 0 });
  assertEquals(agent.keepaliveMs, 1_000);
  agent.execute(now, { kind: "setProbed" });
  assertEquals([agent.keepaliveMs, agent.nat.filtering], [25_000, "unknown"]);
});

/** The peer is reached at an address, from the node's own socket. */
function at(remote: SocketAddress): PathEvent {
  return { kind: "connected", path: { local: 0, remote } };
}
