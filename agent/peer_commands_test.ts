import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { type PeerCommand, PeerCommands } from "./peer_commands.ts";

const add = (publicKey: string): PeerCommand => (
  { kind: "addPeer", publicKey, allowedIps: [], keepaliveSeconds: 25, mesh: true }
);
const remove = (publicKey: string): PeerCommand => ({ kind: "removePeer", publicKey });
const connect = (publicKey: string): PeerCommand => ({ kind: "connectPeer", publicKey });
const at = (publicKey: string, port: number): PeerCommand => (
  {
    kind: "setCandidates",
    publicKey,
    candidates: [{ kind: "host", address: `192.0.2.1:${port}` }],
  }
);
const punch = (publicKey: string, port: number): PeerCommand => (
  {
    kind: "punch",
    publicKey,
    windowMs: 3000,
    coin: 0.5,
    candidates: [{ kind: "host", address: `192.0.2.1:${port}` }],
  }
);

function told(...commands: readonly PeerCommand[]): PeerCommand[] {
  const queue = new PeerCommands();
  for (const command of commands) queue.push(command);
  const out: PeerCommand[] = [];
  for (let command; (command = queue.poll()) !== undefined;) out.push(command);
  assertEquals(queue.size, 0);
  return out;
}

Deno.test("PeerCommands tells of each peer in an order that makes sense, first come first served", () => {
  assertEquals(told(add("b"), connect("a"), at("a", 1), add("a"), at("b", 2)), [
    add("b"),
    at("b", 2),
    add("a"),
    at("a", 1),
    connect("a"),
  ]);
});

Deno.test("PeerCommands tells the last word only", () => {
  assertEquals(told(add("a"), at("a", 1), at("a", 2), at("a", 3)), [add("a"), at("a", 3)]);
  assertEquals(told(at("a", 1), punch("a", 2)), [punch("a", 2)]);
  assertEquals(told(punch("a", 1), at("a", 2)), [punch("a", 2)]);
  const gone = { ...at("a", 2), gone: true };
  assertEquals(told(punch("a", 1), gone), [gone], "nobody answers there");
  assertEquals(told(gone, punch("a", 1)), [punch("a", 1)]);
  assertEquals(told(add("a"), at("a", 1), remove("a")), [], "it never came");
  assertEquals(told(at("a", 1), remove("a")), [remove("a")]);
  assertEquals(told(remove("a"), add("a"), at("a", 1)), [remove("a"), add("a"), at("a", 1)]);
  assertEquals(told(remove("a"), add("a"), remove("a")), [remove("a")]);
});

Deno.test("PeerCommands counts what it did not tell", () => {
  const queue = new PeerCommands();
  for (const command of [add("a"), at("a", 1), at("a", 2), remove("a")]) queue.push(command);
  assertEquals([queue.superseded, queue.size], [3, 0]);
});
