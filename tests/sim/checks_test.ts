/** The checks of the simulator: each can fail, and none does without a reason. */
import { deepStrictEqual as assertEquals, match as assertMatch } from "node:assert/strict";
import { encodeStun, METHOD_BINDING } from "../../traversal/mod.ts";
import { NodeChecks } from "./checks.ts";
import { expecting } from "./expectations.ts";
import type { Packet } from "./net/packet.ts";
import { Trace } from "./trace.ts";
import { Watchdog } from "./watchdog.ts";

const TO = { hostname: "203.0.113.1", port: 9000 };
const INNER = Uint8Array.of(0xfd, 1, 2, 3, 4, 5, 0, 0, 9, 9, 9, 9, 8, 8, 8, 8);

function checks(): { checks: NodeChecks; reports: string[] } {
  const reports: string[] = [];
  return { checks: new NodeChecks((what) => reports.push(what), [INNER]), reports };
}

function from(name: string, port: number): Packet {
  const sender = { name, icmp: (): void => undefined };
  const source = { hostname: "203.0.113.9", port };
  return { source, destination: TO, bytes: new Uint8Array(1), sender, aim: TO };
}

function data(content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set([4, 0, 0, 0]);
  bytes.set(content, 20);
  return bytes;
}

Deno.test("checks: WireGuard and STUN may leave, anything else may not", () => {
  const { checks: node, reports } = checks();
  const request = {
    class: "request",
    method: METHOD_BINDING,
    transactionId: new Uint8Array(12),
    attributes: [],
  } as const;
  node.sent(0, encodeStun(request), TO);
  node.sent(0, data(new Uint8Array(16)), TO);
  assertEquals(reports, []);
  node.sent(0, new TextEncoder().encode("GET / HTTP/1.1"), TO);
  assertMatch(reports[0] ?? "", /neither WireGuard nor STUN to 203\.0\.113\.1:9000/);
});

Deno.test("checks: ChannelData may go to a relay, and nothing to any for who wants none", () => {
  const relay = { hostname: "198.51.100.11", port: 3478 };
  const channelData = Uint8Array.of(0x40, 0, 0, 1, 9);
  const of = (noRelay: boolean): { node: NodeChecks; reports: string[] } => {
    const reports: string[] = [];
    const rules = { addresses: new Set([relay.hostname]), port: relay.port, noRelay };
    return { node: new NodeChecks((what) => reports.push(what), [INNER], rules), reports };
  };
  const willing = of(false);
  willing.node.sent(0, channelData, relay);
  assertEquals(willing.reports, []);
  willing.node.sent(0, channelData, TO);
  willing.node.sent(0, channelData, { ...relay, port: 50_000 });
  assertEquals(willing.reports.length, 2);
  const unwilling = of(true);
  unwilling.node.sent(0, channelData, relay);
  unwilling.node.received({ ...from("agent", 9), source: relay });
  unwilling.node.received({ ...from("mallory", 9), source: relay });
  assertEquals(unwilling.reports, [
    "sends to a relay, and wants none",
    "is sent something over a relay by agent, and wants none",
  ]);
});

Deno.test("checks: a path over a relay leads to whom the relay has it from", () => {
  const { checks: node, reports } = checks();
  const peer = { hostname: "203.0.113.77", port: 9 };
  node.received({ ...from("agent", 3478), relayedFrom: peer });
  node.moved("agent", "203.0.113.77:9");
  assertEquals(reports, []);
  node.moved("other", "203.0.113.77:9");
  assertEquals(reports.length, 1);
});

Deno.test("checks: an inner address in the clear is seen wherever it stands", () => {
  const { checks: node, reports } = checks();
  node.sent(0, data(INNER.subarray(0, 15)), TO);
  assertEquals(reports, []);
  node.sent(0, data(INNER), TO);
  assertEquals(reports, ["sends an inner address in the clear"]);
});

Deno.test("checks: a node that floods is told of once a second", () => {
  const { checks: node, reports } = checks();
  for (let i = 0; i < 1499; i++) node.sent(999, data(new Uint8Array(0)), TO);
  assertEquals(reports, []);
  for (let i = 0; i < 3000; i++) node.sent(1500, data(new Uint8Array(0)), TO);
  assertEquals(reports, ["sends 1500 datagrams in a second"]);
});

Deno.test("checks: a path may lead only to where the peer has sent from, or what was sent to has reached it", () => {
  const { checks: node, reports } = checks();
  node.received(from("colony", 1));
  node.received(from("mallory", 1));
  node.received(from("mallory", 2));
  node.moved("colony", "203.0.113.9:1");
  node.delivered({ hostname: "203.0.113.9", port: 4 }, "colony");
  node.moved("colony", "203.0.113.9:4 from local end 7");
  assertEquals(reports, []);
  node.moved("colony", "203.0.113.9:2");
  node.moved("colony", "203.0.113.9:3");
  assertEquals(reports, [
    "goes to 203.0.113.9:2 for colony, from where mallory has sent",
    "goes to 203.0.113.9:3 for colony, from where nobody has sent",
  ]);
});

Deno.test("watchdog: the time counts from when the pair is able and asked, and a silence is told of once", () => {
  const dog = new Watchdog(() => 15_000);
  dog.disturbed(0, { after: "start", cause: "start" });
  dog.asked(1000);
  assertEquals(dog.look(10_000, "Discovery is down"), undefined);
  assertEquals(dog.look(10_500, undefined), undefined, "able, and nobody asks");
  assertEquals(dog.waits, false);
  dog.asked(11_000);
  assertEquals(dog.waits, true);
  assertEquals(dog.look(26_000, undefined), undefined);
  assertEquals(dog.look(26_001, undefined), 15_001);
  assertEquals(dog.look(40_000, undefined), undefined);
  assertEquals(dog.heard(41_000, 40_900), undefined);
  assertEquals(dog.recoveries, [
    { after: "start", cause: "start; until then Discovery is down", at: 11_000, ms: 30_000 },
  ]);
  assertEquals(dog.waits, false);
});

Deno.test("watchdog: an answer to what was asked before says nothing, and a late one is told of", () => {
  const dog = new Watchdog(() => 6500);
  dog.heard(1000, 900);
  dog.disturbed(2000, { after: "network", cause: "reboot" });
  assertEquals(dog.heard(2050, 1990), undefined);
  dog.asked(3000);
  assertEquals(dog.heard(9501, 9400), 6501);
  assertEquals(dog.look(900_000, undefined), undefined, "nothing has happened since");
});

Deno.test("watchdog: an echo that is missed where nothing has happened begins a time of its own", () => {
  const dog = new Watchdog(() => 6500);
  dog.missed(500);
  assertEquals(dog.look(60_000, undefined), undefined, "they have not met yet");
  dog.heard(61_000, 60_500);
  dog.missed(70_000);
  assertEquals(dog.look(76_500, undefined), undefined);
  assertEquals(dog.look(76_501, undefined), 6501);
  dog.heard(77_000, 76_900);
  assertEquals(dog.recoveries.map(({ after, ms }) => [after, ms]), [["quiet", 7000]]);
});

Deno.test("expectations: names switch on, and a name that is none is refused", () => {
  assertEquals(expecting("guessing,relay")?.guessing, true);
  assertEquals(expecting("guessing,wishing"), undefined);
});

Deno.test("trace: the hash depends on what happened, when, and in which order", () => {
  const hash = (...events: readonly (readonly [number, string])[]): string => {
    const trace = new Trace();
    for (const [at, line] of events) trace.say(at, () => line);
    return trace.hash;
  };
  const first = hash([1, "a"], [2, "b"]);
  assertEquals(hash([1, "a"], [2, "b"]), first);
  const others = [hash([1, "b"], [2, "a"]), hash([1, "a"], [2.001, "b"]), hash([1, "a"])];
  assertEquals(new Set([first, ...others]).size, 4);
});
