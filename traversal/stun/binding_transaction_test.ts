import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import { after, type Instant, type SocketAddress } from "../../core/mod.ts";
import { seeded } from "../testing/fuzz.ts";
import { answerBinding } from "./binding_server.ts";
import { BindingTransaction } from "./binding_transaction.ts";
import {
  decodeStun,
  encodeStun,
  errorAttribute,
  type StunMessage,
  XOR_MAPPED_ADDRESS,
  xorAddressAttribute,
} from "./codec.ts";

const SERVER = { hostname: "192.0.2.1", port: 3478 };
const MAPPED = { hostname: "203.0.113.9", port: 40000 };
const ID = new Uint8Array(12).fill(7);

Deno.test("BindingTransaction retransmits on our schedule, then times out", () => {
  assertEquals(timesOf(start()), [0, 250, 750, 1750, 3750, 7750, 15750, "timedOut at 19750"]);
});

Deno.test("BindingTransaction retransmits on the RFC 8489 schedule when asked", () => {
  const times = timesOf(start({ rtoMs: 500 }));
  assertEquals(times, [0, 500, 1500, 3500, 7500, 15500, 31500, "timedOut at 39500"]);
  assertEquals(timesOf(start({ attempts: 1 })), [0, "timedOut at 4000"]);
});

Deno.test("BindingTransaction tells the mapped address and the round trip", () => {
  const transaction = start();
  const request = sent(transaction, 0);
  const answer = answerBinding({ source: MAPPED, payload: request });
  assert(answer !== undefined);
  const datagram = { source: SERVER, payload: answer.payload };
  assertEquals(transaction.handleInput(at(31), datagram), true);
  assertEquals(transaction.pollEvent(), { kind: "mapped", address: MAPPED, rttMs: 31 });
  assertEquals(transaction.pollEvent(), undefined);
  assertEquals(transaction.pollTimeout(), undefined);
  assertEquals(transaction.handleInput(at(32), datagram), false);
});

Deno.test("BindingTransaction tells no round trip after a retransmission", () => {
  const transaction = start();
  sent(transaction, 0);
  sent(transaction, 250);
  transaction.handleInput(at(260), { source: SERVER, payload: success() });
  assertEquals(transaction.pollEvent(), { kind: "mapped", address: MAPPED, rttMs: undefined });
});

Deno.test("BindingTransaction ignores the right answer from the wrong address", () => {
  const transaction = start();
  sent(transaction, 0);
  const wrong: SocketAddress[] = [{ ...SERVER, port: 9 }, { ...SERVER, hostname: "192.0.2.2" }];
  for (const source of wrong) {
    assertEquals(transaction.handleInput(at(1), { source, payload: success() }), false);
  }
  assertEquals(transaction.handleInput(at(2), { source: SERVER, payload: success() }), true);
});

Deno.test("BindingTransaction ignores what is no answer to it", () => {
  const transaction = start();
  assertEquals(transaction.handleInput(at(0), { source: SERVER, payload: success() }), false);
  const request = sent(transaction, 0);
  const foreign = {
    "another transaction": success({ transactionId: new Uint8Array(12) }),
    "its own request": request,
    "an indication": success({ class: "indication" }),
    "another method": success({ method: 3 }),
    "junk": new Uint8Array(32),
  };
  for (const [name, payload] of Object.entries(foreign)) {
    assertEquals(transaction.handleInput(at(1), { source: SERVER, payload }), false, name);
  }
  const value = new Uint8Array();
  for (const attributes of [[], [...(mapped()), { type: 0x7fff, value }]]) {
    const payload = success({ attributes });
    assertEquals(transaction.handleInput(at(1), { source: SERVER, payload }), true);
  }
  assertEquals(transaction.pollEvent(), undefined);
  assertEquals(transaction.pollTimeout(), at(250));
});

Deno.test("BindingTransaction ends with the server's error", () => {
  for (const [attributes, code] of [[[errorAttribute(420, "")], 420], [[], undefined]] as const) {
    const transaction = start();
    sent(transaction, 0);
    const payload = success({ class: "error", attributes });
    assertEquals(transaction.handleInput(at(9), { source: SERVER, payload }), true);
    assertEquals(transaction.pollEvent(), { kind: "refused", code });
    assertEquals(transaction.pollTimeout(), undefined);
  }
});

Deno.test("BindingTransaction does nothing early and one step late", () => {
  const transaction = start();
  sent(transaction, 0);
  transaction.handleTimeout(at(249));
  assertEquals(transaction.pollTransmit(), undefined);
  sent(transaction, 5000);
  assertEquals(transaction.pollTransmit(), undefined);
  assertEquals(transaction.pollTimeout(), at(5500));
});

Deno.test("BindingTransaction refuses options that make no sense", () => {
  throws(() => start({ rtoMs: 0 }), RangeError);
  throws(() => start({ attempts: 0 }), RangeError);
});

Deno.test("a Binding transaction with the real server core always ends, once, under any loss", () => {
  let mappedCount = 0;
  for (let seed = 0; seed < 1000; seed++) {
    const rng = seeded(seed);
    const loss = rng.below(101) / 100;
    const transaction = new BindingTransaction(at(0), { server: SERVER, rng });
    const wire: { at: Instant; payload: Uint8Array }[] = [];
    let ends = 0;
    for (let now; (now = transaction.pollTimeout()) !== undefined;) {
      const [packet] = wire;
      if (packet !== undefined && packet.at <= now) {
        wire.shift();
        transaction.handleInput(packet.at, { source: SERVER, payload: packet.payload });
      } else {
        transaction.handleTimeout(now);
        const request = transaction.pollTransmit();
        const answer = request && answerBinding({ source: MAPPED, payload: request.payload });
        if (answer !== undefined && !rng.chance(loss)) {
          wire.push({ at: after(now, 5 + rng.below(400)), payload: answer.payload });
          wire.sort((a, b) => a.at - b.at);
        }
      }
      for (let outcome; (outcome = transaction.pollEvent()) !== undefined;) {
        ends++;
        if (outcome.kind === "mapped") mappedCount++;
        if (outcome.kind === "mapped") assertEquals(outcome.address, MAPPED);
      }
    }
    assertEquals(ends, 1, `seed ${seed}`);
  }
  assert(mappedCount > 500 && mappedCount < 1000, `${mappedCount} of 1000 mapped`);
});

/** When requests went out, and how it ended. */
function timesOf(transaction: BindingTransaction): (number | string)[] {
  const times: (number | string)[] = [];
  for (let now; (now = transaction.pollTimeout()) !== undefined;) {
    transaction.handleTimeout(now);
    if (transaction.pollTransmit() !== undefined) times.push(now);
    const outcome = transaction.pollEvent();
    if (outcome !== undefined) times.push(`${outcome.kind} at ${now}`);
  }
  return times;
}

/** Takes the request that is due at `ms`. */
function sent(transaction: BindingTransaction, ms: number): Uint8Array {
  transaction.handleTimeout(at(ms));
  const transmit = transaction.pollTransmit();
  assertEquals(transmit?.destination, SERVER);
  assert(transmit !== undefined && decodeStun(transmit.payload)?.class === "request");
  return transmit.payload;
}

function mapped(): StunMessage["attributes"] {
  return [xorAddressAttribute(XOR_MAPPED_ADDRESS, MAPPED, ID)];
}

function success(change: Partial<StunMessage> = {}): Uint8Array {
  const message = { class: "success", method: 1, transactionId: ID, attributes: mapped() } as const;
  return encodeStun({ ...message, ...change });
}

function start(options: { rtoMs?: number; attempts?: number } = {}): BindingTransaction {
  return new BindingTransaction(at(0), { server: SERVER, rng: { bytes: () => ID }, ...options });
}

function at(ms: number): Instant {
  return ms as Instant;
}
