import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { after, type Instant } from "../../core/mod.ts";
import { seeded } from "../testing/fuzz.ts";
import { Igd, type IgdManners } from "./testing/igd.ts";
import type { HttpResponse } from "./upnp.ts";
import { UpnpControl, type UpnpControlOptions } from "./upnp_control.ts";

const GATEWAY = "192.168.1.1";
const CLIENT = "192.168.1.7";
const PORT = 51820;
const START = 1_000_000 as Instant;
const HOUR_MS = 3_600_000;
const ENTRY = { client: CLIENT, port: String(PORT), lease: "7200" };

/** A client and its gateway, 10 ms apart, in virtual time. */
class Wire {
  readonly igd: Igd;
  readonly client: UpnpControl;
  readonly events: string[] = [];
  searches = 0;
  requests = 0;
  now: Instant = START;
  /** Where answers to searches come from. */
  source = GATEWAY;
  /** Bodies instead of the gateway's own. */
  forge: ((own: HttpResponse | undefined) => HttpResponse | undefined) | undefined;
  #coming: { at: Instant; give: (now: Instant) => void }[] = [];

  constructor(manners: Partial<IgdManners> = {}, options: Partial<UpnpControlOptions> = {}) {
    this.igd = new Igd({ hostname: GATEWAY, port: 5000 }, manners);
    this.client = new UpnpControl(START, {
      gateway: GATEWAY,
      client: CLIENT,
      internalPort: PORT,
      rng: seeded(1),
      ...options,
    });
  }

  run(ms: number): this {
    const until = after(this.now, ms);
    for (let steps = 0;; steps++) {
      assert(steps < 100_000, "comes to rest");
      this.#drain();
      const due = Math.min(this.client.pollTimeout() ?? Infinity, this.#coming[0]?.at ?? Infinity);
      if (due > until) break;
      this.now = Math.max(this.now, due) as Instant;
      const [next] = this.#coming;
      if (next !== undefined && next.at <= this.now) this.#coming.shift()?.give(this.now);
      else this.client.handleTimeout(this.now);
    }
    this.now = until;
    return this;
  }

  take(): string[] {
    this.#drain();
    return this.events.splice(0);
  }

  #drain(): void {
    const at = after(this.now, 20);
    for (let event; (event = this.client.pollEvent()) !== undefined;) {
      const { kind } = event;
      if (kind === "mapped") {
        const { protocol, external, expiresAt } = event.mapping;
        const left = expiresAt === undefined ? "for ever" : `${(expiresAt - this.now) / 1000} s`;
        this.events.push(`${protocol} ${external.hostname}:${external.port} ${left}`);
      } else this.events.push(kind === "released" ? kind : `${kind}: ${event.reason}`);
    }
    for (let out; (out = this.client.pollTransmit()) !== undefined;) {
      this.searches++;
      const payload = this.igd.search(out.payload);
      const source = { hostname: this.source, port: 1900 };
      if (payload === undefined) continue;
      this.#coming.push({ at, give: (now) => this.client.handleInput(now, { source, payload }) });
    }
    for (let out; (out = this.client.pollRequest()) !== undefined;) {
      this.requests++;
      const { id, request } = out;
      const own = this.igd.fetch(request);
      const response = this.forge === undefined ? own : this.forge(own);
      this.#coming.push({ at, give: (now) => this.client.handleResponse(now, id, response) });
    }
  }
}

for (const version of [1, 2] as const) {
  Deno.test(`UpnpControl maps on a gateway of version ${version}, and deletes the mapping`, () => {
    const wire = new Wire({ version }).run(1000);
    assertEquals(wire.take(), [`upnp 203.0.113.9:${PORT} 7200 s`]);
    assertEquals([...wire.igd.table], [[PORT, ENTRY]]);
    const action = version === 1 ? "AddPortMapping" : "AddAnyPortMapping";
    assertEquals(wire.igd.actions, ["GetExternalIPAddress", action]);
    wire.client.release(wire.now);
    wire.run(100);
    assertEquals(wire.take(), ["released"]);
    assertEquals([...wire.igd.table], []);
  });
}

Deno.test("UpnpControl takes the port that version 2 gives, or tries others where it has to", () => {
  const two = new Wire({ taken: [PORT] }).run(1000);
  assertEquals(two.take(), ["upnp 203.0.113.9:50000 7200 s"]);
  const one = new Wire({ version: 1, taken: [PORT] }).run(1000);
  const [mapped = ""] = one.take();
  const port = Number(/:(\d+) /.exec(mapped)?.[1]);
  assert(port >= 49152, mapped);
  assertEquals([...one.igd.table.keys()], [port]);
});

Deno.test("UpnpControl gives up after five ports", () => {
  const taken = Array.from({ length: 65536 }, (_, port) => port);
  const wire = new Wire({ version: 1, taken }).run(1000);
  assertEquals(wire.take(), ["failed: the gateway refuses with 718 (ConflictInMappingEntry)"]);
  const tried = wire.igd.actions.filter((action) => action === "AddPortMapping");
  assertEquals(tried.length, 5);
});

Deno.test("UpnpControl asks for ever where a gateway knows nothing else, and makes it again all the same", () => {
  const wire = new Wire({ onlyPermanent: true }).run(1000);
  assertEquals(wire.take(), [`upnp 203.0.113.9:${PORT} for ever`]);
  wire.igd.actions.length = 0;
  wire.run(3 * HOUR_MS);
  const made = wire.igd.actions.filter((action) => action === "AddAnyPortMapping");
  assert(made.length >= 2, `${made.length} times`);
  assertEquals(wire.take(), []);
});

Deno.test("UpnpControl renews before the lease ends, and says nothing", () => {
  const wire = new Wire().run(1000);
  wire.take();
  wire.igd.actions.length = 0;
  wire.run(12 * HOUR_MS);
  const renewals = wire.igd.actions.filter((action) => action === "AddAnyPortMapping").length;
  assert(renewals >= 9 && renewals <= 12, `${renewals} renewals in twelve hours`);
  assertEquals(wire.take(), []);
});

Deno.test("UpnpControl makes its mapping again within two minutes after the gateway has lost it", () => {
  const wire = new Wire().run(1000);
  wire.take();
  wire.igd.table.clear();
  wire.run(121_000);
  assertEquals([...wire.igd.table], [[PORT, ENTRY]]);
  assertEquals(wire.take(), []);
});

Deno.test("UpnpControl does not take somebody else's entry for its own", () => {
  const wire = new Wire().run(1000);
  wire.take();
  wire.igd.table.set(PORT, { ...ENTRY, client: "192.168.1.8" });
  wire.igd.manners.taken = [PORT];
  wire.run(121_000);
  assertEquals(wire.take(), ["upnp 203.0.113.9:50000 7200 s"]);
});

Deno.test("UpnpControl sees the gateway's new address when told to look", () => {
  const wire = new Wire().run(1000);
  wire.take();
  wire.igd.manners.external = "203.0.113.77";
  wire.client.check(wire.now);
  wire.run(200);
  assertEquals(wire.take(), [`upnp 203.0.113.77:${PORT} 7200 s`]);
});

Deno.test("UpnpControl searches again when its gateway has gone, and says when it is lost", () => {
  const wire = new Wire().run(1000);
  wire.take();
  wire.igd.manners.alive = false;
  wire.run(130_000);
  assertEquals(wire.take(), ["lost: no UPnP gateway answers", "failed: no UPnP gateway answers"]);
  wire.igd.manners.alive = true;
  wire.run(HOUR_MS);
  assertEquals(wire.take(), [`upnp 203.0.113.9:${PORT} 7200 s`]);
});

Deno.test("UpnpControl bears a gateway that is away for a moment", () => {
  const wire = new Wire().run(1000);
  wire.take();
  wire.igd.manners.alive = false;
  wire.run(120_100);
  wire.igd.manners.alive = true;
  wire.run(2000);
  assertEquals(wire.take(), []);
  assert(wire.client.mapping !== undefined);
});

Deno.test("UpnpControl rests longer each time that nobody answers", () => {
  const wire = new Wire({ alive: false }).run(7000);
  assertEquals(wire.take(), ["failed: no UPnP gateway answers"]);
  assertEquals(wire.searches, 12, "two targets, to the group and the gateway, three times");
  wire.run(4 * HOUR_MS);
  assert(wire.searches < 12 * 16, `${wire.searches} datagrams in four hours`);
  assertEquals(wire.requests, 0);
});

Deno.test("UpnpControl hears nobody but its gateway", () => {
  const wire = new Wire();
  wire.source = "192.168.1.66";
  wire.run(7000);
  assertEquals([wire.take(), wire.requests], [["failed: no UPnP gateway answers"], 0]);
});

Deno.test("UpnpControl without a known gateway hears whoever answers", () => {
  const wire = new Wire({}, { gateway: undefined }).run(2000);
  assertEquals(wire.take(), [`upnp 203.0.113.9:${PORT} 7200 s`]);
});

Deno.test("UpnpControl says why a gateway will not do", () => {
  const reasons: readonly [Partial<IgdManners>, string][] = [
    [{ refuses: 606 }, "the gateway refuses with 606 (refused)"],
    [{ external: "0.0.0.0" }, "the gateway has no external address"],
    [{ external: "<script>" }, "the gateway has no external address"],
    [{ controlUrl: "http://192.168.1.66/" }, "the gateway describes nothing that maps ports"],
  ];
  for (const [manners, reason] of reasons) {
    assertEquals(new Wire(manners).run(5000).take(), [`failed: ${reason}`]);
  }
});

Deno.test("UpnpControl makes nothing of nonsense, and comes to rest", () => {
  const bodies = ["", "<", "<a>".repeat(40), "\u0000", "<html><body>Login</body></html>"];
  for (const status of [200, 302, 500]) {
    for (const body of bodies) {
      const wire = new Wire();
      wire.forge = (own) => own?.body.includes("rootDesc") ? own : { status, body };
      wire.run(10_000);
      const [event = ""] = wire.take();
      assert(event.startsWith("failed: the gateway"), `${status} ${body}: ${event}`);
      assert(wire.requests <= 3, `${wire.requests} requests`);
    }
  }
});

Deno.test("UpnpControl that is released while it asks deletes what may have been made", () => {
  const wire = new Wire().run(60);
  assertEquals(wire.igd.actions, ["GetExternalIPAddress", "AddAnyPortMapping"]);
  wire.client.release(wire.now);
  wire.run(1000);
  assertEquals(wire.take(), ["released"]);
  assertEquals([...wire.igd.table], []);
  const early = new Wire();
  early.client.release(early.now);
  assertEquals(early.take(), ["released"]);
});
