import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { ownFamiliesFirst } from "./relay_requests.ts";
import type { RelayTransportInfo } from "./shared/mod.ts";

const UDP6: RelayTransportInfo = { kind: "udp", address: "[2001:db8::7]:3480" };
const UDP4: RelayTransportInfo = { kind: "udp", address: "203.0.113.7:3480" };
const TCP6: RelayTransportInfo = { kind: "tcp", address: "[2001:db8::7]:3480" };
const HERE: RelayTransportInfo = { kind: "udp", address: "[::1]:3480" };
const WEB: RelayTransportInfo = { kind: "websocket", url: "wss://relay.example/turn" };

Deno.test("a relay is tried first by the families that this machine has", () => {
  const all = [UDP6, UDP4, TCP6, WEB];
  assertEquals(ownFamiliesFirst(all, new Set([4])), [UDP4, WEB, UDP6, TCP6]);
  assertEquals(ownFamiliesFirst(all, new Set([6])), [UDP6, TCP6, WEB, UDP4]);
  assertEquals(ownFamiliesFirst(all, new Set([4, 6])), all);
  assertEquals(ownFamiliesFirst([HERE, UDP4], new Set()), [HERE, UDP4]);
});
