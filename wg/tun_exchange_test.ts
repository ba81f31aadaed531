import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { packetsOfTrain } from "./tun_exchange.ts";

Deno.test("packetsOfTrain is what one segmented send holds", () => {
  // 1420 is padded by its peers to no more than the MTU, so this is one datagram on the safe side.
  assertEquals([1280, 1420, 1500, 576, 65_535].map(packetsOfTrain), [49, 44, 42, 64, 1]);
});
