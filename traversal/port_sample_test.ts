import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { formatSocketAddress, type Instant } from "../core/mod.ts";
import { PortSample } from "./port_sample.ts";
import { answerBinding } from "./stun/binding_server.ts";
import { seeded } from "./testing/fuzz.ts";

const SERVER = { hostname: "198.51.100.1", port: 3478 };
const NAT = "203.0.113.9";

Deno.test("a PortSample asks one server from two ends, and tells the ports in the order of the answers", () => {
  const sample = start();
  const asked = requests(sample);
  assertEquals(asked.map(({ local }) => local), [11, 12]);
  assertEquals(asked.map(({ destination }) => formatSocketAddress(destination)), [
    "198.51.100.1:3478",
    "198.51.100.1:3478",
  ]);
  const [first, second] = asked;
  assert(first !== undefined && second !== undefined);
  assert(answer(sample, second, 40_001));
  assertEquals(sample.ended, false);
  assert(answer(sample, first, 40_000));
  assertEquals(sample.ended, true);
  assertEquals(sample.seen.map(({ hostname, port }) => `${hostname} ${port}`), [
    `${NAT} 40001`,
    `${NAT} 40000`,
  ]);
  assertEquals(sample.pollTimeout(), undefined);
});

Deno.test("a PortSample takes no answer that came to another end, from elsewhere, or twice", () => {
  const sample = start();
  const [first, second] = requests(sample);
  assert(first !== undefined && second !== undefined);
  assertEquals(answer(sample, { ...first, local: 12 }, 40_000), false, "the other end's question");
  assertEquals(answer(sample, { ...first, local: 13 }, 40_000), false, "none of the two");
  assertEquals(answer(sample, first, 40_000, { ...SERVER, port: 3479 }), false);
  assertEquals(sample.seen, []);
  assert(answer(sample, first, 40_000));
  assertEquals(answer(sample, first, 50_000), false);
  assertEquals(sample.seen.map(({ port }) => port), [40_000]);
});

Deno.test("a PortSample asks again, and ends without answers", () => {
  const sample = start();
  let asked = requests(sample).length;
  let ms = 0;
  for (let due; (due = sample.pollTimeout()) !== undefined;) {
    assert(due >= ms, "time runs forward");
    ms = due;
    sample.handleTimeout(due);
    asked += requests(sample).length;
  }
  assert(asked >= 4 && asked % 2 === 0, `${asked} requests`);
  assert(ms > 0 && ms < 60_000, `${ms} ms`);
  assertEquals([sample.ended, sample.seen], [true, []]);
});

function start(): PortSample {
  return new PortSample(0 as Instant, { server: SERVER, locals: [11, 12], rng: seeded(1) });
}

type Request = NonNullable<ReturnType<PortSample["pollTransmit"]>>;

function requests(sample: PortSample): Request[] {
  const taken: Request[] = [];
  for (let request; (request = sample.pollTransmit()) !== undefined;) taken.push(request);
  return taken;
}

/** The server's answer to a request that a NAT let out by a port. Returns whether the sample took it. */
function answer(
  sample: PortSample,
  { local, payload }: Request,
  port: number,
  source = SERVER,
): boolean {
  const reply = answerBinding({ source: { hostname: NAT, port }, payload });
  assert(reply !== undefined);
  return sample.handleInput(5 as Instant, local, { source, payload: reply.payload });
}
