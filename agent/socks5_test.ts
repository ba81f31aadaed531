import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import { encodeSocks5Reply, Socks5Handshake } from "./socks5.ts";
import { type Socks5Event, socks5ReplyOf } from "./socks5.ts";

const GREETING = [5, 1, 0];
const NAME = [..."a.reef.internal"].map((c) => c.charCodeAt(0));

interface Outcome {
  readonly sent: number[][];
  readonly event: Socks5Event | undefined;
}

const CREDENTIALS = { username: "walker", password: "reef" };
const USER = [1, 6, ..."walker"].map((c) => typeof c === "string" ? c.charCodeAt(0) : c);
const PASSWORD = [4, ..."reef"].map((c) => typeof c === "string" ? c.charCodeAt(0) : c);
const TO_COLONY = [5, 1, 0, 1, 10, 42, 0, 1, 0, 80];

const CASES: readonly {
  readonly name: string;
  readonly credentials?: typeof CREDENTIALS;
  readonly input: readonly number[];
  readonly outcome: Outcome;
}[] = [
  { name: "nothing yet", input: [], outcome: { sent: [], event: undefined } },
  {
    name: "CONNECT to an IPv4 address",
    input: [...GREETING, 5, 1, 0, 1, 10, 42, 0, 1, 0x1f, 0x90],
    outcome: { sent: [[5, 0]], event: connect("10.42.0.1", 8080) },
  },
  {
    name: "CONNECT to an IPv6 address",
    input: [...GREETING, 5, 1, 0, 4, 0xfd, ...Array(14).fill(0), 1, 0, 80],
    outcome: { sent: [[5, 0]], event: connect("fd00::1", 80) },
  },
  {
    name: "CONNECT to a name, one method among others, early data",
    input: [5, 3, 1, 0, 2, 5, 1, 0, 3, NAME.length, ...NAME, 1, 187, 7, 8],
    outcome: { sent: [[5, 0]], event: connect("a.reef.internal", 443, [7, 8]) },
  },
  {
    name: "no acceptable method",
    input: [5, 2, 1, 2],
    outcome: {
      sent: [[5, 255]],
      event: rejected("the client insists on authentication"),
    },
  },
  {
    name: "no method at all",
    input: [5, 0],
    outcome: { sent: [[5, 255]], event: rejected("the client insists on authentication") },
  },
  {
    name: "SOCKS4",
    input: [4, 1, 0, 80],
    outcome: { sent: [], event: rejected("SOCKS4 is not supported") },
  },
  { name: "HTTP", input: [71, 69], outcome: { sent: [], event: rejected("not SOCKS5") } },
  {
    name: "BIND",
    input: [...GREETING, 5, 2, 0, 1, 10, 42, 0, 1, 0, 80],
    outcome: refused(7, "a command other than CONNECT and UDP ASSOCIATE"),
  },
  {
    name: "UDP ASSOCIATE from a port that is not known yet",
    input: [...GREETING, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0],
    outcome: { sent: [[5, 0]], event: { kind: "associate", port: 0 } },
  },
  {
    name: "UDP ASSOCIATE from a port, whatever the address that is claimed",
    input: [...GREETING, 5, 3, 0, 3, 1, 120, 0x13, 0x88],
    outcome: { sent: [[5, 0]], event: { kind: "associate", port: 5000 } },
  },
  {
    name: "an unknown address type",
    input: [...GREETING, 5, 1, 0, 9],
    outcome: refused(8, "an unknown address type"),
  },
  {
    name: "an empty name",
    input: [...GREETING, 5, 1, 0, 3, 0],
    outcome: refused(4, "an empty name"),
  },
  {
    name: "a name with a control character",
    input: [...GREETING, 5, 1, 0, 3, 2, 97, 10, 0, 80],
    outcome: refused(4, "a name that is not ASCII"),
  },
  {
    name: "port 0",
    input: [...GREETING, 5, 1, 0, 1, 10, 42, 0, 1, 0, 0],
    outcome: refused(1, "port 0"),
  },
  {
    name: "the right user and password",
    credentials: CREDENTIALS,
    input: [5, 2, 0, 2, ...USER, ...PASSWORD, ...TO_COLONY],
    outcome: { sent: [[5, 2], [1, 0]], event: connect("10.42.0.1", 80) },
  },
  {
    name: "a wrong password",
    credentials: CREDENTIALS,
    input: [5, 1, 2, ...USER, 4, 114, 101, 101, 103, ...TO_COLONY],
    outcome: { sent: [[5, 2], [1, 1]], event: rejected("a wrong user or password") },
  },
  {
    name: "the same letters, divided elsewhere",
    credentials: { username: "walkerr", password: "eef" },
    input: [5, 1, 2, ...USER, ...PASSWORD, ...TO_COLONY],
    outcome: { sent: [[5, 2], [1, 1]], event: rejected("a wrong user or password") },
  },
  {
    name: "no user and no password",
    credentials: CREDENTIALS,
    input: [5, 1, 2, 1, 0, 0, ...TO_COLONY],
    outcome: { sent: [[5, 2], [1, 1]], event: rejected("a wrong user or password") },
  },
  {
    name: "none offered where some are wanted",
    credentials: CREDENTIALS,
    input: [...GREETING, ...TO_COLONY],
    outcome: { sent: [[5, 255]], event: rejected("the client offers no user and password") },
  },
  {
    name: "a user and password of another version",
    credentials: CREDENTIALS,
    input: [5, 1, 2, 5],
    outcome: { sent: [[5, 2]], event: rejected("a user and password of another version") },
  },
  {
    name: "a request of another version",
    input: [...GREETING, 4],
    outcome: { sent: [[5, 0]], event: rejected("a request of another version") },
  },
];

for (const { name, credentials, input, outcome } of CASES) {
  Deno.test(`Socks5Handshake: ${name}, whole and byte by byte`, () => {
    assertEquals(run([Uint8Array.from(input)], credentials), outcome);
    const event = outcome.event;
    // Early data exists only where it comes in one piece with the request.
    const alone = event?.kind === "connect"
      ? input.slice(0, input.length - event.rest.length)
      : input;
    const expected = event?.kind === "connect"
      ? { ...outcome, event: { ...event, rest: new Uint8Array() } }
      : outcome;
    assertEquals(run(alone.map((byte) => Uint8Array.of(byte)), credentials), expected);
  });
}

Deno.test("Socks5Handshake takes the longest name and ignores what comes after the end", () => {
  const handshake = new Socks5Handshake();
  handshake.handleInput(Uint8Array.of(5, 255, ...new Uint8Array(255)));
  const request = Uint8Array.of(5, 1, 0, 3, 255, ...new Uint8Array(255).fill(97), 0, 80);
  handshake.handleInput(request);
  assertEquals(handshake.pollEvent(), connect("a".repeat(255), 80));
  handshake.handleInput(request);
  assertEquals([handshake.pollEvent(), handshake.pollTransmit()?.length], [undefined, 2]);
});

Deno.test("Socks5Handshake takes the longest user and password", () => {
  const username = "u".repeat(255);
  const password = "p".repeat(255);
  const texts = [username, password].map((text) => new TextEncoder().encode(text));
  const user = [1, ...texts.flatMap((text) => [text.length, ...text])];
  const bytes = [5, 1, 2, ...user, ...TO_COLONY].map((byte) => Uint8Array.of(byte));
  const { sent, event } = run(bytes, { username, password });
  assertEquals([sent, event], [[[5, 2], [1, 0]], connect("10.42.0.1", 80)]);
});

Deno.test("encodeSocks5Reply writes both families", () => {
  assertEquals([...encodeSocks5Reply(4)], [5, 4, 0, 1, 0, 0, 0, 0, 0, 0]);
  assertEquals(
    [...encodeSocks5Reply(0, { hostname: "10.42.0.2", port: 258 })],
    [5, 0, 0, 1, 10, 42, 0, 2, 1, 2],
  );
  assertEquals(
    [...encodeSocks5Reply(0, { hostname: "fd00::1", port: 65535 })],
    [5, 0, 0, 4, 0xfd, ...Array(14).fill(0), 1, 255, 255],
  );
});

Deno.test("socks5ReplyOf tells why a connection failed", () => {
  const codes = ["refused", "unreachable", "timedOut", "limit", "closed", "internal"] as const;
  assertEquals(codes.map(socks5ReplyOf), [5, 4, 6, 1, 1, 1]);
});

Deno.test("10,000 random and mutated inputs lead to one event at most, never to an exception", () => {
  let state = 7;
  const random = (below: number): number => {
    state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0;
    return (state >>> 8) % below;
  };
  const ends = { none: 0, connect: 0, rejected: 0 };
  let associations = 0;
  for (let i = 0; i < 10_000; i++) {
    const { input: base = [], credentials } = i % 2 === 0 ? {} : CASES[random(CASES.length)] ?? {};
    const input = base.length === 0
      ? Array.from({ length: random(600) }, () => random(256))
      : [...base];
    if (i % 4 === 0) input.splice(0, 3, ...GREETING, 5);
    for (let n = random(3); n > 0; n--) input[random(input.length)] = random(256);
    const handshake = new Socks5Handshake(credentials);
    const events: Socks5Event[] = [];
    for (let at = 0; at < input.length;) {
      const length = 1 + random(40);
      handshake.handleInput(Uint8Array.from(input.slice(at, at + length)));
      at += length;
      for (let out; (out = handshake.pollTransmit()) !== undefined;) {
        ok(out[0] === 5 || out[0] === 1);
      }
      const event = handshake.pollEvent();
      if (event !== undefined) events.push(event);
    }
    ok(events.length <= 1);
    const [event] = events;
    if (event?.kind === "connect") {
      ok(event.port >= 1 && event.port <= 65_535 && event.host.length >= 1);
    }
    if (event?.kind === "associate") associations++;
    else ends[event?.kind ?? "none"]++;
  }
  ok(Math.min(...Object.values(ends)) > 200, JSON.stringify(ends));
  ok(associations > 100, `${associations}`);
});

function run(chunks: readonly Uint8Array[], credentials?: typeof CREDENTIALS): Outcome {
  const handshake = new Socks5Handshake(credentials);
  const sent: number[][] = [];
  for (const chunk of chunks) {
    handshake.handleInput(chunk);
    for (let out; (out = handshake.pollTransmit()) !== undefined;) sent.push([...out]);
  }
  return { sent, event: handshake.pollEvent() };
}

function connect(host: string, port: number, rest: readonly number[] = []): Socks5Event {
  return { kind: "connect", host, port, rest: Uint8Array.from(rest) };
}

function rejected(reason: string): Socks5Event {
  return { kind: "rejected", reason };
}

function refused(code: number, reason: string): Outcome {
  return { sent: [[5, 0], [5, code, 0, 1, 0, 0, 0, 0, 0, 0]], event: rejected(reason) };
}
