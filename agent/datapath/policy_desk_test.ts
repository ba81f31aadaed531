import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import {
  formatBase64,
  type Instant,
  parseCidr,
  parseIp,
  type SocketAddress,
} from "../../core/mod.ts";
import { Engine, type EngineSink, type PeerId, type StreamId } from "../../wg/mod.ts";
import type { NodeRule } from "../policy/node_rules.ts";
import type { Peer } from "./peer_table.ts";
import { PolicyDesk } from "./policy_desk.ts";

const MODULE = new WebAssembly.Module(
  Deno.readFileSync(new URL("../../wg/engine.wasm", import.meta.url)),
);
const WALL_MS = 1.7e12;

/** Two engines side by side; the second has a desk, and is asked for connections by the first. */
class Pair {
  now = 1000 as Instant;
  readonly engines: readonly [Engine, Engine];
  readonly ids: readonly [PeerId, PeerId];
  readonly logged: string[] = [];
  readonly desk: PolicyDesk;
  /** The first node as the second sees it. */
  readonly peer: Peer;
  readonly #queues: [Uint8Array[], Uint8Array[]] = [[], []];

  constructor() {
    const host = {
      wallClockMs: () => WALL_MS + this.now,
      rng: { bytes: (n: number) => crypto.getRandomValues(new Uint8Array(n)) },
      onPrint: (text: string): never => {
        throw new Error(text);
      },
    };
    const start = (i: number): Engine =>
      new Engine(MODULE, host, {
        now: this.now,
        privateKey: new Uint8Array(32).fill(i + 3),
        mtu: 1420,
      });
    this.engines = [start(0), start(1)];
    this.ids = [this.#join(0), this.#join(1)];
    this.desk = new PolicyDesk({
      engine: this.engines[1],
      wallClockMs: host.wallClockMs,
      log: (message) => this.logged.push(message),
    });
    const publicKey = formatBase64(this.engines[0].publicKey);
    this.peer = { id: this.ids[1], name: "laptop", publicKey } as Peer;
  }

  #join(own: 0 | 1): PeerId {
    const other = own === 0 ? 1 : 0;
    const ip = parseIp(`10.42.0.${own + 1}`);
    const block = parseCidr(`10.42.0.${other + 1}/32`);
    const engine = this.engines[own];
    assert(ip && block && engine.setAddresses([ip]));
    const publicKey = this.engines[other].publicKey;
    const peer = engine.addPeer({ publicKey, keepaliveSeconds: 0, hostRoams: false });
    assert(peer !== undefined && engine.allow(peer, block));
    engine.setEndpoint(peer, outer(other));
    return peer;
  }

  /** Carries everything until both are quiet. */
  settle(): void {
    for (let quiet = 0; quiet < 2;) {
      quiet++;
      for (const i of [0, 1] as const) {
        const sink: EngineSink = {
          transmit: ({ bytes, segment }) => {
            quiet = 0;
            for (let at = 0; at < bytes.length; at += segment) {
              this.#queues[i].push(bytes.slice(at, at + segment));
            }
          },
          event: (event) => {
            if (event.kind === "policyRefused") {
              this.desk.handleRefused(this.now, this.peer, event);
            }
          },
        };
        for (const datagram of this.#queues[1 - i]?.splice(0) ?? []) {
          this.engines[i].receive(outer(1 - i), datagram);
        }
        this.engines[i].poll(this.now, sink);
      }
      this.now = this.now + 1 as Instant;
    }
  }

  /** Whether a connection of the first to a port of the second opens. */
  connect(port: number): StreamId | string | undefined {
    const stream = this.engines[0].connect({ hostname: "10.42.0.2", port });
    assert(typeof stream === "number", String(stream));
    this.settle();
    const { established, error } = this.engines[0].streamState(stream);
    return established ? stream : error;
  }
}

function outer(i: number): SocketAddress {
  return { hostname: `192.0.2.${i + 1}`, port: 51820 };
}

function tcp(from: readonly string[], ...ports: readonly number[]): NodeRule {
  const ranges = ports.map((port) => ({ protocol: "tcp" as const, first: port, last: port }));
  return { from: { any: false, keys: from }, ports: ranges };
}

Deno.test("rules hold for peers that are there, and for those that come later", () => {
  const pair = new Pair();
  const { desk, peer, engines: [, engine] } = pair;
  assert(engine.listen(22) && engine.listen(80));
  assert(typeof pair.connect(22) === "number", "before there are rules");
  desk.setRules([tcp([peer.publicKey], 80), tcp(["somebody else"], 22)], [peer]);
  assert(typeof pair.connect(80) === "number");
  assertEquals(pair.connect(22), "prohibited");
  desk.setRules([tcp([peer.publicKey], 22)], []);
  assertEquals(pair.connect(22), "prohibited", "it was not named");
  desk.addPeer(peer);
  assert(typeof pair.connect(22) === "number");
  desk.setRules(null, [peer]);
  assert(typeof pair.connect(80) === "number");
});

Deno.test("connections that new rules do not allow end at both ends", () => {
  const pair = new Pair();
  const { desk, peer, engines } = pair;
  assert(engines[1].listen(22) && engines[1].listen(80));
  desk.setRules([tcp([peer.publicKey], 22, 80)], [peer]);
  const [cut, kept] = [pair.connect(22), pair.connect(80)];
  assert(typeof cut === "number" && typeof kept === "number");
  desk.setRules([tcp([peer.publicKey], 80)], [peer]);
  pair.settle();
  assertEquals(engines[0].streamState(cut).error, "reset");
  assertEquals(engines[0].streamState(kept).error, undefined);
});

Deno.test("what is refused is counted, kept with its time, and logged once a minute", () => {
  const pair = new Pair();
  const { desk, peer, logged } = pair;
  desk.setRules([], [peer]);
  assertEquals(desk.refused(peer), undefined);
  const at = new Date(WALL_MS + pair.now).toISOString();
  for (let i = 0; i < 3; i++) {
    pair.connect(22);
    pair.now = pair.now + 1000 as Instant;
  }
  assertEquals(logged, ["refused tcp/22 from laptop: policy"]);
  const refused = desk.refused(peer);
  assertEquals({ ...refused, last: refused?.last.map(({ what }) => what) }, {
    policy: 3,
    fragment: 0,
    malformed: 0,
    stray: 0,
    last: ["tcp/22"],
  });
  assert((refused?.last[0]?.at ?? "") > at, "the latest time");
  pair.now = pair.now + 60_000 as Instant;
  pair.connect(22);
  pair.now = pair.now + 1000 as Instant;
  pair.engines[0].echo(Uint8Array.of(10, 42, 0, 2), { sequence: 1, length: 8 });
  pair.settle();
  assertEquals(logged.slice(1), [
    "refused tcp/22 from laptop: policy",
    "refused icmp from laptop: policy",
  ]);
  assertEquals(desk.refused(peer)?.last.map(({ what }) => what), ["icmp", "tcp/22"]);
  desk.removePeer(peer);
  assertEquals(desk.refused(peer)?.last, []);
});

Deno.test("a scan of ports fills neither the log nor the memory", () => {
  const pair = new Pair();
  const { desk, peer, logged } = pair;
  desk.setRules([], [peer]);
  for (let port = 1; port <= 1000; port++) {
    desk.handleRefused(pair.now, peer, { protocol: 17, port });
  }
  assertEquals(logged.length, 30);
  pair.connect(22);
  assertEquals(desk.refused(peer)?.last.length, 8);
  assertEquals(desk.refused(peer)?.last[1], {
    what: "udp/1000",
    at: new Date(WALL_MS + 1000).toISOString(),
  });
});
