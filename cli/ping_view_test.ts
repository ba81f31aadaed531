import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { PathStatus, PingReply } from "../agent/mod.ts";
import {
  encodePingEvent,
  encodePingStatistics,
  formatPingEvent,
  formatPingStatistics,
  PingCount,
  sendPings,
} from "./ping_view.ts";
import { painter } from "./text_format.ts";

const paint = painter(false);

const NONE: PathStatus = { kind: "none", remote: null, relay: null, rttMs: null, mtu: null };
const RELAYED: PathStatus = { ...NONE, kind: "relayed", relay: "198.51.100.1:3478", mtu: 1280 };
const DIRECT: PathStatus = { ...NONE, kind: "direct", remote: "203.0.113.7:51820", mtu: 1420 };

const reply = (
  sequence: number,
  rttMs: number | null,
  path = rttMs === null ? NONE : DIRECT,
  reason: string | null = null,
): PingReply => ({ sequence, rttMs, path, reason });

function lines(...replies: readonly PingReply[]): string[] {
  const counted = new PingCount();
  const events = replies.flatMap((one) => counted.handleReply(one, one.sequence * 1000));
  const formatted = events.map((event) => formatPingEvent("colony", event, paint));
  return [
    ...formatted.filter((line) => line !== undefined),
    formatPingStatistics(counted.statistics),
  ];
}

Deno.test("ping shows the path of each answer, and counts answers and losses", () => {
  assertEquals(lines(reply(1, 1), reply(2, 2), reply(3, 6)), [
    "reply from colony: seq=1 direct 203.0.113.7:51820 time=1.00 ms",
    "reply from colony: seq=2 direct 203.0.113.7:51820 time=2.00 ms",
    "reply from colony: seq=3 direct 203.0.113.7:51820 time=6.00 ms",
    "3 sent, 3 received, 0 % lost, min/avg/max 1.00 ms / 3.00 ms / 6.00 ms",
  ]);
});

Deno.test("ping says when the path changes, after how long, and why it is not direct", () => {
  const tried = "4 handshakes to 2 endpoints, no answer";
  assertEquals(
    lines(
      reply(1, null, NONE, tried),
      reply(2, 81.3, RELAYED, "mapping varies by destination on both sides"),
      reply(3, 0.42),
      reply(4, 0.42),
    ),
    [
      `path to colony: none after 1.00 s because ${tried}`,
      "no reply from colony: seq=1",
      "path to colony: none -> relayed via 198.51.100.1:3478 after 2.00 s because mapping varies by " +
      "destination on both sides",
      "reply from colony: seq=2 relayed via 198.51.100.1:3478 time=81.3 ms",
      "path to colony: relayed via 198.51.100.1:3478 -> direct 203.0.113.7:51820 after 3.00 s",
      "reply from colony: seq=3 direct 203.0.113.7:51820 time=0.42 ms",
      "reply from colony: seq=4 direct 203.0.113.7:51820 time=0.42 ms",
      "4 sent, 3 received, 25 % lost, min/avg/max 0.42 ms / 27.4 ms / 81.3 ms, 2 path changes, direct " +
      "after 3.00 s",
    ],
  );
});

Deno.test("ping without any answer says so", () => {
  const counted = new PingCount();
  assertEquals(counted.statistics.lossPercent, 0);
  counted.handleReply(reply(1, null), 5000);
  assertEquals(formatPingStatistics(counted.statistics), "1 sent, 0 received, 100 % lost");
  assertEquals(counted.direct, false);
});

Deno.test("ping --json is one object a line", () => {
  const counted = new PingCount();
  const events = counted.handleReply(reply(1, 0.42), 12);
  const objects = events.map((event) => JSON.parse(encodePingEvent("colony", event)));
  assertEquals(objects, [
    { event: "path", peer: "colony", from: null, to: DIRECT, reason: null, afterMs: 12 },
    { event: "reply", peer: "colony", sequence: 1, rttMs: 0.42, path: DIRECT, reason: null },
  ]);
  assertEquals(JSON.parse(encodePingStatistics("colony", counted.statistics)), {
    event: "summary",
    peer: "colony",
    sent: 1,
    received: 1,
    lossPercent: 0,
    minMs: 0.42,
    avgMs: 0.42,
    maxMs: 0.42,
    pathChanges: 0,
    directAfterMs: 12,
  });
});

Deno.test("what a node sends cannot write to the terminal", () => {
  const [line = ""] = lines(reply(1, null, NONE, "evil\x1b[2J"));
  assertEquals(line, "path to colony: none after 1.00 s because evil?[2J");
});

Deno.test("ping pauses between echoes, never behind the last", async () => {
  const events: string[] = [];
  await sendPings({
    send: (sequence) => Promise.resolve(reply(sequence, 1)),
    onReply: ({ sequence }) => events.push(`reply ${sequence}`) > 0,
    count: 2,
    pause: () => Promise.resolve(void events.push("pause")),
    signal: new AbortController().signal,
  });
  assertEquals(events, ["reply 1", "pause", "reply 2"]);
});

Deno.test("ping goes on without end for count 0, until it is told enough", async () => {
  let sent = 0;
  await sendPings({
    send: (sequence) => Promise.resolve(reply(sequence, 1)),
    onReply: () => ++sent < 5000,
    count: 0,
    pause: () => Promise.resolve(),
    signal: new AbortController().signal,
  });
  assertEquals(sent, 5000);
});

Deno.test("ping ends at once when asked, and the echo in flight does not count", async () => {
  const stop = new AbortController();
  let replies = 0;
  await sendPings({
    send: (sequence) => {
      if (sequence === 1) return Promise.resolve(reply(1, 1));
      stop.abort();
      return new Promise(() => {});
    },
    onReply: () => ++replies > 0,
    count: 9,
    pause: () => Promise.resolve(),
    signal: stop.signal,
  });
  assertEquals(replies, 1);
});
