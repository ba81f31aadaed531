import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { Vouchers, VOUCHERS_MAX } from "./vouchers.ts";

const receipt = (byte: number): string => new Uint8Array(20).fill(byte).toBase64();
const at = (port: number): { hostname: string; port: number } => ({
  hostname: "203.0.113.9",
  port,
});

Deno.test("Vouchers has the last receipt for each address, and nothing for others", () => {
  const vouchers = new Vouchers();
  vouchers.handle({ address: "203.0.113.9:1", receipt: receipt(1) });
  vouchers.handle({ address: "203.0.113.9:2", receipt: receipt(2) });
  vouchers.handle({ address: "203.0.113.9:1", receipt: receipt(3) });
  assertEquals(vouchers.of([at(1), at(3)]), [
    { address: at(1), receipt: new Uint8Array(20).fill(3) },
  ]);
});

Deno.test("Vouchers forgets the oldest when there are too many, and takes nothing that is no receipt", () => {
  const vouchers = new Vouchers();
  vouchers.handle({ address: "nowhere", receipt: receipt(1) });
  vouchers.handle({ address: "203.0.113.9:1", receipt: "!" });
  assertEquals(vouchers.of([at(1)]), []);
  for (let port = 1; port <= VOUCHERS_MAX + 1; port++) {
    vouchers.handle({ address: `203.0.113.9:${port}`, receipt: receipt(port) });
  }
  assertEquals(vouchers.of([at(1), at(2)]).map(({ address }) => address), [at(2)]);
});
