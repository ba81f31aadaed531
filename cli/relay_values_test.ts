import { deepStrictEqual as assertEquals, throws as assertThrows } from "node:assert/strict";
import { repeated } from "./parameter.ts";
import {
  BYTES_PER_SECOND,
  RELAY_SECRET,
  RELAY_SERVER,
  RELAY_SERVER_SECRET,
  relayName,
} from "./relay_values.ts";
import type { Value } from "./values.ts";

function check<T>(value: Value<T>, cases: Readonly<Record<string, T | undefined>>): void {
  for (const [text, expected] of Object.entries(cases)) {
    assertEquals(value.parse(text), expected, text);
  }
}

Deno.test("a relay elsewhere has a name, maybe a region, and a URL", () => {
  const eu = { id: "eu", region: "" };
  const udp = (endpoint: string) => ({ ...eu, transport: { kind: "udp", endpoint } }) as const;
  check(RELAY_SERVER, {
    "eu=turn:turn.example.com": udp("turn.example.com:3478"),
    "eu=turn:turn.example.com:3479?transport=udp": udp("turn.example.com:3479"),
    "eu=turn:[2001:db8::1]:3478": udp("[2001:db8::1]:3478"),
    "eu=turn:192.0.2.1?transport=tcp": {
      ...eu,
      transport: { kind: "tcp", endpoint: "192.0.2.1:3478" },
    },
    "eu-1@europe=turns:turn.example.com": {
      id: "eu-1",
      region: "europe",
      transport: { kind: "tls", endpoint: "turn.example.com:5349" },
    },
    "eu=wss://relay.example.com/turn": {
      ...eu,
      transport: { kind: "websocket", endpoint: "wss://relay.example.com/turn" },
    },
    "eu=turns:turn.example.com?transport=udp": undefined,
    "eu=turn:turn.example.com:0": undefined,
    "eu=turn:turn.example.com:65536": undefined,
    "eu=turn:user@turn.example.com": undefined,
    "eu=https://relay.example.com": undefined,
    "eu=": undefined,
    "turn:turn.example.com": undefined,
    "e u=turn:turn.example.com": undefined,
    "": undefined,
  });
});

Deno.test("secrets may be anything, and no message repeats them", () => {
  check(RELAY_SECRET, { "a b=c:d": "a b=c:d", " ": undefined });
  check(RELAY_SERVER_SECRET, {
    "eu=a=b c": { id: "eu", secret: "a=b c" },
    "eu=": undefined,
    "hunter2": undefined,
  });
  const parameter = repeated("relay-server-secret", RELAY_SERVER_SECRET, {
    group: "Relay",
    description: "",
  });
  const given = { origin: "--relay-server-secret", file: false, texts: ["hunter2"] };
  assertThrows(() => parameter.resolve(given), {
    code: "usage",
    message:
      "--relay-server-secret: what it says is not a relay's name and its secret, for example eu=SECRET",
  });
});

Deno.test("rates have units of a thousand, and names no blanks", () => {
  check(BYTES_PER_SECOND, {
    "1": 1,
    "500k": 500_000,
    "2M": 2_000_000,
    "3G": 3_000_000_000,
    "0": undefined,
    "0k": undefined,
    "2m": undefined,
    "1.5M": undefined,
    "-1": undefined,
    "999999999999G": undefined,
    "": undefined,
  });
  check(relayName("ID"), { "eu-1": "eu-1", "-eu": undefined, "e u": undefined, "": undefined });
});
