import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import { Code } from "@connectrpc/connect";
import { RequestLimiter } from "./request_limits.ts";

Deno.test("RequestLimiter refuses what is too much of a source, and says when to come again", () => {
  const limiter = new RequestLimiter({ key: { ratePerSecond: 1, burst: 2 } });
  assertEquals(limiter.refusal("key", "a", 0), undefined);
  assertEquals(limiter.refusal("key", "a", 0), undefined);
  const refusal = limiter.refusal("key", "a", 100);
  assertEquals([refusal?.code, refusal?.rawMessage], [
    Code.ResourceExhausted,
    "too many requests by this node",
  ]);
  assertEquals(refusal?.metadata.get("retry-after"), "1");
  assertEquals(limiter.refusal("key", "b", 100), undefined);
  assertEquals(limiter.refusal("mesh", "a", 100), undefined);
  assertEquals(limiter.refusal("key", "a", 1000), undefined);
  const { requestsLimited, requestsLimitedByKey } = limiter.counters();
  assertEquals([requestsLimited, requestsLimitedByKey], [1, 1]);
});

Deno.test("RequestLimiter says a longer wait where a rate is slow", () => {
  const limiter = new RequestLimiter({ mesh: { ratePerSecond: 1, burst: 1 } });
  // A clock that went back gives no token and takes none.
  assertEquals(limiter.refusal("mesh", "m", 5000), undefined);
  assertEquals(limiter.refusal("mesh", "m", 1000)?.metadata.get("retry-after"), "1");
});

Deno.test("RequestLimiter counts a /64 as one address", () => {
  const limiter = new RequestLimiter({ address: { ratePerSecond: 1, burst: 1 } });
  assertEquals(limiter.refusal("address", "2001:db8::1", 0), undefined);
  assert(limiter.refusal("address", "2001:db8::2", 0) !== undefined);
  assertEquals(limiter.refusal("address", "2001:db8:0:1::1", 0), undefined);
  const crowd = new RequestLimiter({ openPerAddressMax: 1 });
  assert(crowd.enter("2001:db8::1") !== undefined);
  assertEquals(crowd.enter("2001:db8::2"), undefined);
});

Deno.test("RequestLimiter bounds the calls that are under way, of each and of all", () => {
  const limiter = new RequestLimiter({ openMax: 3, openPerAddressMax: 2 });
  const [first, second] = [limiter.enter("a"), limiter.enter("a")];
  assertEquals(limiter.enter("a"), undefined);
  const third = limiter.enter("b");
  assertEquals(limiter.enter("c"), undefined);
  assertEquals(limiter.counters()["requestsOpen"], 3);
  first?.();
  const fourth = limiter.enter("c");
  assert(fourth !== undefined);
  for (const leave of [second, third, fourth]) leave?.();
  const { requestsOpen, requestsCrowdedOut } = limiter.counters();
  assertEquals([requestsOpen, requestsCrowdedOut], [0, 2]);
  assert(limiter.enter("a") !== undefined);
});

Deno.test("RequestLimiter insists on limits", () => {
  throws(() => new RequestLimiter({ key: { ratePerSecond: 0, burst: 1 } }), RangeError);
});
