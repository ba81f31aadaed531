import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { after, type Instant } from "../../core/mod.ts";
import { fuzzRuns, mutate, seeded } from "../testing/fuzz.ts";
import type { MappingEvent } from "./mapping.ts";
import { encodePcpAnnounce } from "./pcp.ts";
import { PortControl } from "./port_control.ts";
import { type GatewayManners, pcpAnswer, TestGateway } from "./testing/gateway.ts";

const GATEWAY = "192.168.1.1";
const SERVER = { hostname: GATEWAY, port: 5351 };
const CLIENT = "192.168.1.7";
const PORT = 51820;
const START = 1_000_000 as Instant;
const HOUR_MS = 3_600_000;

/** A client and its gateway on a wire that takes 10 ms each way, in virtual time. */
class Wire {
  readonly gateway: TestGateway;
  readonly client: PortControl;
  /** Events as `kind`, `kind: reason` or `kind address`, each with the seconds since the start. */
  readonly events: string[] = [];
  /** Requests as `pcp` or `nat-pmp`, opcode, and the milliseconds since the start. */
  readonly sent: [language: string, opcode: number, atMs: number][] = [];
  now: Instant = START;
  #coming: { at: Instant; payload: Uint8Array }[] = [];

  constructor(manners: Partial<GatewayManners> = {}, client = CLIENT) {
    this.gateway = new TestGateway(this.now, manners);
    const options = { gateway: GATEWAY, client, internalPort: PORT, rng: seeded(1) };
    this.client = new PortControl(this.now, options);
  }

  /** Lets `ms` milliseconds pass. */
  run(ms: number): this {
    const until = after(this.now, ms);
    for (let steps = 0;; steps++) {
      assert(steps < 100_000, "comes to rest");
      this.#drain();
      const due = Math.min(this.client.pollTimeout() ?? Infinity, this.#coming[0]?.at ?? Infinity);
      if (due > until) break;
      this.now = Math.max(this.now, due) as Instant;
      const [next] = this.#coming;
      if (next !== undefined && next.at <= this.now) {
        this.#coming.shift();
        this.client.handleInput(this.now, { source: SERVER, payload: next.payload });
      } else this.client.handleTimeout(this.now);
    }
    this.now = until;
    return this;
  }

  /** Takes the events noted so far. */
  take(): string[] {
    this.#drain();
    return this.events.splice(0);
  }

  #drain(): void {
    for (let event; (event = this.client.pollEvent()) !== undefined;) this.events.push(text(event));
    for (let out; (out = this.client.pollTransmit()) !== undefined;) {
      assertEquals(out.destination, SERVER);
      const language = out.payload[0] === 0 ? "nat-pmp" : "pcp";
      this.sent.push([language, out.payload[1] ?? -1, this.now - START]);
      const payload = this.gateway.answer(after(this.now, 10), out.payload);
      if (payload !== undefined) this.#coming.push({ at: after(this.now, 20), payload });
    }
  }
}

function text(event: MappingEvent): string {
  switch (event.kind) {
    case "mapped": {
      const { protocol, external } = event.mapping;
      return `mapped by ${protocol} ${external.hostname}:${external.port}`;
    }
    case "lost":
    case "failed":
      return `${event.kind}: ${event.reason}`;
    case "released":
      return event.kind;
  }
}

Deno.test("PortControl maps by PCP with one request", () => {
  const wire = new Wire().run(100);
  assertEquals(wire.take(), ["mapped by pcp 203.0.113.9:51820"]);
  assertEquals(wire.sent, [["pcp", 1, 0]]);
  assertEquals(wire.client.mapping?.expiresAt, after(START, 20 + 7_200_000));
  assertEquals([...wire.gateway.mappings], [[PORT, PORT]]);
});

Deno.test("PortControl falls back to NAT-PMP at once when a gateway refuses PCP with version 0", () => {
  const wire = new Wire({ speaks: "nat-pmp" }).run(100);
  assertEquals(wire.take(), ["mapped by nat-pmp 203.0.113.9:51820"]);
  assertEquals(wire.sent, [["pcp", 1, 0], ["nat-pmp", 0, 20], ["nat-pmp", 1, 20]]);
});

Deno.test("PortControl asks in NAT-PMP too when a gateway is silent about PCP", () => {
  const wire = new Wire({ speaks: "nat-pmp", refusesPcp: false }).run(3000);
  assertEquals(wire.take(), ["mapped by nat-pmp 203.0.113.9:51820"]);
  assert((wire.sent[1]?.[2] ?? 0) <= 1100, "within the tenth more that chance adds");
});

Deno.test("PortControl gives up on a silent gateway after 13 s, and rests longer each time", () => {
  const wire = new Wire({ speaks: "nothing" }).run(20_000);
  assertEquals(wire.take(), ["failed: no answer"]);
  assertEquals(wire.sent.length, 13, "three in PCP, five pairs in NAT-PMP");
  wire.run(2 * HOUR_MS);
  assertEquals(new Set(wire.take()), new Set(["failed: no answer"]));
  assert(wire.sent.length < 13 * 12, `${wire.sent.length} datagrams in two hours`);
  wire.gateway.manners.speaks = "pcp";
  wire.run(HOUR_MS);
  assertEquals(wire.take(), ["mapped by pcp 203.0.113.9:51820"]);
});

for (const speaks of ["pcp", "nat-pmp"] as const) {
  Deno.test(`PortControl renews ${speaks} between 1/2 and 5/8 of the lifetime, and says nothing`, () => {
    const wire = new Wire({ speaks }).run(1000);
    wire.take();
    wire.sent.length = 0;
    wire.run(24 * HOUR_MS);
    assertEquals(wire.take(), []);
    const renewals = wire.sent.filter(([, opcode]) => opcode === 1).map(([, , at]) => at);
    const gaps = renewals.map((at, i) => at - (renewals[i - 1] ?? 0)).slice(1);
    assert(gaps.every((gap) => gap >= 3_600_000 && gap <= 4_510_000), String(gaps));
    assertEquals(wire.client.mapping !== undefined, true);
  });

  Deno.test(`PortControl makes a ${speaks} mapping again within a minute after the gateway's reboot`, () => {
    const wire = new Wire({ speaks }).run(600_000);
    wire.take();
    wire.gateway.reboot(wire.now);
    wire.run(61_000);
    assertEquals(wire.take(), [], "the same address: nobody has to be told");
    assertEquals([...wire.gateway.mappings], [[PORT, PORT]]);
  });

  Deno.test(`PortControl tells when a ${speaks} gateway's reboot has changed the address`, () => {
    const wire = new Wire({ speaks }).run(600_000);
    wire.take();
    wire.gateway.reboot(wire.now);
    wire.gateway.manners.address = Uint8Array.of(203, 0, 113, 77);
    wire.run(61_000);
    assertEquals(wire.take(), [`mapped by ${speaks} 203.0.113.77:51820`]);
  });

  Deno.test(`PortControl deletes its ${speaks} mapping`, () => {
    const wire = new Wire({ speaks }).run(1000);
    wire.take();
    wire.client.release(wire.now);
    wire.run(100);
    assertEquals(wire.take(), ["released"]);
    assertEquals([...wire.gateway.mappings], []);
    assertEquals(wire.client.pollTimeout(), undefined);
  });

  Deno.test(`PortControl loses a ${speaks} mapping when it expires unanswered, and asks again`, () => {
    const wire = new Wire({ speaks }).run(1000);
    wire.take();
    wire.gateway.manners.speaks = "nothing";
    wire.run(7_250_000);
    assertEquals(wire.take(), [
      "lost: it has expired: the gateway does not answer any more",
      "failed: no answer",
    ]);
    wire.gateway.manners.speaks = speaks;
    wire.run(HOUR_MS);
    assertEquals(wire.take(), [`mapped by ${speaks} 203.0.113.9:51820`]);
  });
}

Deno.test("PortControl sees a NAT-PMP gateway's new address without a reboot", () => {
  const wire = new Wire({ speaks: "nat-pmp" }).run(1000);
  wire.take();
  wire.gateway.manners.address = Uint8Array.of(203, 0, 113, 78);
  wire.run(61_000);
  assertEquals(wire.take(), ["mapped by nat-pmp 203.0.113.78:51820"]);
});

Deno.test("PortControl looks at once when told that something has changed", () => {
  const wire = new Wire().run(10_000);
  wire.take();
  wire.gateway.manners.address = Uint8Array.of(203, 0, 113, 79);
  wire.client.check(wire.now);
  wire.run(100);
  assertEquals(wire.take(), ["mapped by pcp 203.0.113.79:51820"]);
  const sent = wire.sent.length;
  wire.client.check(wire.now);
  wire.run(100);
  assertEquals(wire.sent.length, sent, "not again within 5 s");
});

Deno.test("PortControl keeps the port that it was given, also when it is made again", () => {
  const wire = new Wire({ port: 40123 }).run(1000);
  assertEquals(wire.take(), ["mapped by pcp 203.0.113.9:40123"]);
  wire.gateway.manners.port = 0;
  wire.gateway.reboot(wire.now);
  wire.run(61_000);
  assertEquals(wire.take(), [], "it suggested what it had");
  assertEquals([...wire.gateway.mappings], [[PORT, 40123]]);
});

Deno.test("PortControl renews with the nonce that it asked with", () => {
  const wire = new Wire().run(1000);
  const nonce = wire.gateway.nonces.get(PORT);
  wire.gateway.reboot(wire.now);
  wire.run(61_000);
  assertEquals(wire.gateway.nonces.get(PORT), nonce);
});

Deno.test("PortControl rests as long as a PCP error lasts, at least 30 s, at most 30 min", () => {
  for (const [errorLifetime, restS] of [[0, 30], [90, 90], [1_000_000, 1800]] as const) {
    const wire = new Wire({ result: 2, errorLifetime }).run(1000);
    assertEquals(wire.take(), ["failed: not authorized"]);
    const due = wire.client.pollTimeout();
    assert(due !== undefined);
    const rest = (due - START) / 1000;
    assert(rest > restS * 0.9 && rest <= restS + 1, `${rest} s`);
  }
});

Deno.test("PortControl doubles its rest while a NAT-PMP gateway refuses", () => {
  const wire = new Wire({ speaks: "nat-pmp", result: 3 }).run(HOUR_MS);
  const events = wire.take();
  assertEquals(new Set(events), new Set(["failed: the gateway's network has failed"]));
  assert(events.length <= 8, `${events.length} attempts in an hour`);
});

Deno.test("PortControl keeps a mapping whose renewal is refused until it expires", () => {
  const wire = new Wire().run(1000);
  wire.take();
  wire.gateway.manners.result = 8;
  wire.run(2 * HOUR_MS - 60_000);
  assertEquals(wire.take(), []);
  wire.run(120_000);
  assertEquals(wire.take()[0], "lost: it has expired: the gateway does not answer any more");
});

Deno.test("PortControl gives up on a gateway that speaks another version of PCP", () => {
  const wire = new Wire({ speaks: "nothing" }).run(0);
  const payload = pcpAnswer(encodePcpAnnounce(CLIENT), { epoch: 1, result: 1 });
  payload[0] = 1;
  wire.client.handleInput(wire.now, { source: SERVER, payload });
  assertEquals(wire.take(), ["failed: the gateway speaks version 1 of PCP"]);
});

Deno.test("PortControl takes no mapping without an address or without time", () => {
  const without = new Wire({ address: new Uint8Array(4) }).run(1000);
  assertEquals(without.take(), ["failed: the gateway has no external address"]);
  const timeless = new Wire({ lifetimeMax: 0 }).run(1000);
  assertEquals(timeless.take(), ["failed: the gateway grants no time"]);
});

Deno.test("PortControl asks a gateway that grants a second no more than every few seconds", () => {
  const wire = new Wire({ lifetimeMax: 1 }).run(HOUR_MS);
  assertEquals(wire.take(), ["mapped by pcp 203.0.113.9:51820"]);
  assert(wire.sent.length < 400, `${wire.sent.length} datagrams in an hour`);
});

Deno.test("PortControl hears only its gateway's port 5351 and its own nonce", () => {
  const wire = new Wire({ speaks: "nothing" }).run(0);
  const request = [...Array(24).fill(0), ...Array(12).fill(9), 17, 0, 0, 0, PORT >> 8, PORT & 255];
  const forged = pcpAnswer(Uint8Array.from([2, 1, ...request.slice(2), ...Array(18).fill(1)]), {
    epoch: 1,
  });
  const client = wire.client;
  assertEquals(client.handleInput(wire.now, { source: SERVER, payload: forged }), false);
  const pmp = Uint8Array.of(0, 129, 0, 0, 0, 0, 0, 1, PORT >> 8, PORT & 255, 1, 1, 0, 0, 1, 0);
  for (const source of [{ ...SERVER, port: 5350 }, { ...SERVER, hostname: "192.168.1.2" }]) {
    assertEquals(client.handleInput(wire.now, { source, payload: pmp }), false);
  }
  assertEquals([client.ignored, client.mapping, wire.take()], [3, undefined, []]);
});

Deno.test("PortControl asks again after an announcement of a new clock, at most every 5 s", () => {
  const wire = new Wire().run(60_000);
  const before = wire.sent.length;
  for (let i = 0; i < 1000; i++) {
    const payload = pcpAnswer(encodePcpAnnounce("0.0.0.0"), { epoch: i % 2 });
    wire.client.handleAnnouncement(wire.now, { source: SERVER, payload });
    wire.run(10);
  }
  assert(wire.sent.length - before <= 5, `${wire.sent.length - before} requests in 10 s`);
  assert(wire.sent.length - before >= 1, "at least one");
});

Deno.test("PortControl asks after an announcement that comes too soon after the last question, and once", () => {
  const wire = new Wire().run(60_000);
  wire.client.check(wire.now);
  wire.run(1000);
  const before = wire.sent.length;
  for (const epoch of [0, 1, 0]) {
    const payload = pcpAnswer(encodePcpAnnounce("0.0.0.0"), { epoch });
    wire.client.handleAnnouncement(wire.now, { source: SERVER, payload });
  }
  wire.run(3900);
  assertEquals(wire.sent.length, before, "five seconds are not over");
  wire.run(5200);
  assertEquals(wire.sent.length, before + 1);
});

Deno.test("PortControl takes a NAT-PMP announcement of another address for a reason to ask", () => {
  const wire = new Wire({ speaks: "nat-pmp" }).run(10_000);
  wire.take();
  wire.gateway.manners.address = Uint8Array.of(203, 0, 113, 80);
  const payload = wire.gateway.answer(wire.now, Uint8Array.of(0, 0));
  assert(payload !== undefined);
  assertEquals(wire.client.handleAnnouncement(wire.now, { source: SERVER, payload }), true);
  const foreign = { source: { hostname: "192.168.1.3", port: 5351 }, payload };
  assertEquals(wire.client.handleAnnouncement(wire.now, foreign), false);
  wire.run(5100);
  assertEquals(wire.take(), ["mapped by nat-pmp 203.0.113.80:51820"]);
});

Deno.test("PortControl speaks only PCP on IPv6, and says so of a gateway that knows only NAT-PMP", () => {
  const wire = new Wire({ speaks: "nat-pmp" }, "2001:db8::7").run(1000);
  assertEquals(wire.take(), ["failed: the gateway speaks NAT-PMP only, which knows no IPv6"]);
  assertEquals(new Set(wire.sent.map(([language]) => language)), new Set(["pcp"]));
});

Deno.test("PortControl deletes once in both languages what a silent gateway may have mapped, and waits for nothing", () => {
  const wire = new Wire({ speaks: "nothing" }).run(1500);
  wire.sent.length = 0;
  wire.client.release(wire.now);
  assertEquals(wire.take(), ["released"]);
  assertEquals(wire.sent.map(([language]) => language), ["pcp", "nat-pmp"]);
  assertEquals(wire.client.pollTimeout(), undefined);
});

Deno.test("PortControl that never asked is released at once", () => {
  const options = { gateway: GATEWAY, client: CLIENT, internalPort: PORT, rng: seeded(2) };
  const client = new PortControl(START, options);
  client.release(START);
  assertEquals(client.pollEvent(), { kind: "released" });
  assertEquals([client.pollTransmit(), client.pollTimeout()], [undefined, undefined]);
});

Deno.test("PortControl survives any bytes from its gateway, in bounded memory and time", () => {
  const rng = seeded(5351);
  const gateway = new TestGateway(START);
  const options = { gateway: GATEWAY, client: CLIENT, internalPort: PORT, rng };
  const client = new PortControl(START, options);
  const request = ((): Uint8Array => {
    client.handleTimeout(START);
    return client.pollTransmit()?.payload ?? new Uint8Array();
  })();
  const seeds = [request, Uint8Array.of(0, 0), Uint8Array.of(0, 1, ...Array(10).fill(1))]
    .map((bytes) => gateway.answer(START, bytes) ?? new Uint8Array());
  let now = START;
  for (let i = 0; i < fuzzRuns() / 10; i++) {
    const payload = mutate(rng, seeds[i % seeds.length] ?? new Uint8Array());
    now = after(now, 1);
    client.handleInput(now, { source: SERVER, payload });
    client.handleAnnouncement(now, { source: SERVER, payload });
    client.handleTimeout(now);
    let out = 0;
    while (client.pollTransmit() !== undefined) out++;
    while (client.pollEvent() !== undefined) out++;
    assert(out <= 8, `${out} at once`);
  }
});
