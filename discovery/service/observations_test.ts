import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { agent } from "../testing/nodes.ts";
import { Observations } from "./observations.ts";
import { stunHolder } from "./stun_credentials.ts";
import { type Observation, StunReceipts } from "./stun_receipts.ts";

const NOW = 1_790_000_000_000;
const receipts = new StunReceipts(new Uint8Array(32).fill(7));
const NODE = {
  ...agent(2),
  proven: true,
  endpoints: ["192.0.2.2:51820", "203.0.113.3:3"],
  observedEndpoints: [
    { ip: "203.0.113.1", port: 1, viaRelay: false },
    { ip: "2001:db8::2", port: 2, viaRelay: false },
    { ip: "203.0.113.3", port: 3, viaRelay: false },
    { ip: "203.0.113.4", port: 4, viaRelay: true },
  ],
};

function observation(hostname: string, port: number): Observation {
  const address = { hostname, port };
  const receipt = receipts.make(stunHolder(NODE), address, NOW);
  assert(receipt !== undefined);
  return { address, receipt };
}

Deno.test("Observations keeps what it has receipts for, and what relays listen on; the rest are claims", () => {
  const observations = new Observations(receipts, () => NOW);
  const settled = observations.settle(NODE, [
    observation("2001:db8::2", 2),
    { ...observation("203.0.113.1", 7), address: { hostname: "203.0.113.1", port: 1 } },
    // Of no use: the node does not say that it is there.
    observation("203.0.113.9", 9),
  ]);
  assertEquals(settled, {
    ...NODE,
    endpoints: ["192.0.2.2:51820", "203.0.113.3:3", "203.0.113.1:1"],
    observedEndpoints: [
      { ip: "2001:db8::2", port: 2, viaRelay: false },
      { ip: "203.0.113.4", port: 4, viaRelay: true },
    ],
  });
  assertEquals(observations.counters(), { receipts: 2, receiptsRefused: 1 });
});

Deno.test("Observations believes who proves nothing, as plain Coral does", () => {
  const plain = { ...NODE, proven: false };
  const observations = new Observations(receipts, () => NOW);
  assertEquals(observations.settle(plain, []), plain);
});

Deno.test("Observations without STUN observes nothing", () => {
  const observations = new Observations(undefined, () => NOW);
  const settled = observations.settle(NODE, [observation("203.0.113.1", 1)]);
  assertEquals(settled.observedEndpoints.map(({ ip }) => ip), ["203.0.113.4"]);
  assertEquals(settled.endpoints.length, 4);
});
