import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import {
  AnsweredRequests,
  RECEIPT_AGE_MAX_MS,
  RECEIPT_BYTES,
  StunReceipts,
  TRANSACTIONS_MAX,
} from "./stun_receipts.ts";
import { stunHolder } from "./stun_credentials.ts";

const NOW = 1_790_000_000_000;
const NODE = { meshId: "reef", publicKey: "ERERERERERERERERERERERERERERERERERERERERERE=" };
const SEEN = { hostname: "203.0.113.9", port: 40000 };
const receipts = new StunReceipts(new Uint8Array(32).fill(7));

function made(seen = SEEN, now = NOW): Uint8Array {
  const receipt = receipts.make(stunHolder(NODE), seen, now);
  assert(receipt !== undefined);
  return receipt;
}

Deno.test("a receipt is good for its node, its address and its time", () => {
  const receipt = made();
  assertEquals(receipt.length, RECEIPT_BYTES);
  const good = (address = SEEN, node = NODE, now = NOW): boolean =>
    receipts.vouchesFor({ address, receipt }, node, now);
  assertEquals(good(), true);
  assertEquals(good(SEEN, NODE, NOW + RECEIPT_AGE_MAX_MS - 1000), true);
  assertEquals(good(SEEN, NODE, NOW + RECEIPT_AGE_MAX_MS), false);
  assertEquals(good(SEEN, NODE, NOW - 5000), true);
  assertEquals(good(SEEN, NODE, NOW - 6000), false);
  assertEquals(good({ ...SEEN, port: 40001 }), false);
  assertEquals(good({ ...SEEN, hostname: "203.0.113.10" }), false);
  assertEquals(good(SEEN, { ...NODE, meshId: "atoll" }), false);
  assertEquals(good(SEEN, { ...NODE, publicKey: `${NODE.publicKey.slice(0, -4)}AAE=` }), false);
  const others = new StunReceipts(new Uint8Array(32).fill(8));
  assertEquals(others.vouchesFor({ address: SEEN, receipt }, NODE, NOW), false);
});

Deno.test("a receipt with any bit turned, or of another length, is none", () => {
  const receipt = made();
  for (let bit = 0; bit < 8 * RECEIPT_BYTES; bit++) {
    const forged = receipt.slice();
    forged[bit >> 3] = (forged[bit >> 3] ?? 0) ^ 1 << (bit & 7);
    assertEquals(receipts.vouchesFor({ address: SEEN, receipt: forged }, NODE, NOW), false);
  }
  for (const length of [0, 4, RECEIPT_BYTES - 1, RECEIPT_BYTES + 1]) {
    const forged = new Uint8Array(length);
    forged.set(receipt.subarray(0, length));
    assertEquals(receipts.vouchesFor({ address: SEEN, receipt: forged }, NODE, NOW), false);
  }
});

Deno.test("an IPv6 address has receipts, and what is no address has none", () => {
  const seen = { hostname: "2001:db8::9", port: 1 };
  assert(receipts.vouchesFor({ address: seen, receipt: made(seen) }, NODE, NOW));
  const name = { hostname: "host.example", port: 1 };
  assertEquals(receipts.make(stunHolder(NODE), name, NOW), undefined);
  assertEquals(receipts.vouchesFor({ address: name, receipt: made() }, NODE, NOW), false);
  throws(() => new StunReceipts(new Uint8Array(16)), RangeError);
});

Deno.test("AnsweredRequests lets a request be answered to one address, as often as it comes", () => {
  const answered = new AnsweredRequests();
  assertEquals(answered.admit(NOW, "a 1", SEEN), true);
  assertEquals(answered.admit(NOW + 20_000, "a 1", SEEN), true);
  assertEquals(answered.admit(NOW + 20_000, "a 1", { ...SEEN, port: 1 }), false);
  assertEquals(answered.admit(NOW + 20_000, "b 1", { ...SEEN, port: 1 }), true);
  assertEquals([answered.elsewhere, answered.forgotten], [1, 0]);
  // Long after it, the request is nobody's any more: its client has given up.
  assertEquals(answered.admit(NOW + 40_000, "a 1", { ...SEEN, port: 1 }), true);
});

Deno.test("AnsweredRequests forgets the oldest when it is full, and counts that", () => {
  const answered = new AnsweredRequests();
  for (let i = 0; i < TRANSACTIONS_MAX + 3; i++) answered.admit(NOW, `a ${i}`, SEEN);
  assertEquals(answered.forgotten, 3);
  assertEquals(answered.admit(NOW, "a 3", { ...SEEN, port: 1 }), false);
  assertEquals(answered.admit(NOW, "a 0", { ...SEEN, port: 1 }), true);
});
