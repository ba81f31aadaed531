/** What flags about relays may say. @module */
import type { RelayTransport } from "../discovery/mod.ts";
import type { Value } from "./values.ts";

/** A relay that runs elsewhere: one way to it. */
export interface RelayServerRule {
  /** Its id. */
  readonly id: string;
  /** Where it stands; empty for unknown. */
  readonly region: string;
  /** How to reach it. */
  readonly transport: RelayTransport;
}

/** The secret of a relay that runs elsewhere. */
export interface RelaySecretRule {
  /** The relay's id. */
  readonly id: string;
  /** The secret. */
  readonly secret: string;
}

const ID = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?";

/** The id of a relay, or a region. */
export function relayName(metavar: string): Value<string> {
  return {
    metavar,
    expected: "a name of 1 to 63 letters, digits, ., _ and -, for example eu-1",
    parse: (input) => new RegExp(`^${ID}$`).test(input) ? input : undefined,
  };
}

/** `ID[@REGION]=URL`, where the URL is as RFC 7065 has it, or that of a WebSocket. */
export const RELAY_SERVER: Value<RelayServerRule> = {
  metavar: "ID[@REGION]=URL",
  expected:
    "a name and a TURN or WebSocket URL, for example eu=turn:turn.example.com:3478?transport=udp",
  parse(input): RelayServerRule | undefined {
    const match = new RegExp(`^(${ID})(?:@(${ID}))?=(.+)$`).exec(input);
    const [, id = "", region = "", url = ""] = match ?? [];
    const transport = match === null ? undefined : parseTurnUrl(url);
    return transport === undefined ? undefined : { id, region, transport };
  },
};

/** `ID=SECRET`. */
export const RELAY_SERVER_SECRET: Value<RelaySecretRule> = {
  metavar: "ID=SECRET",
  expected: "a relay's name and its secret, for example eu=SECRET",
  secret: true,
  parse(input): RelaySecretRule | undefined {
    const [, id, secret] = new RegExp(`^(${ID})=(.+)$`, "s").exec(input) ?? [];
    return id === undefined || secret === undefined ? undefined : { id, secret };
  },
};

/** A secret that relays and Discovery share. */
export const RELAY_SECRET: Value<string> = {
  metavar: "SECRET",
  expected: "a text that is not empty",
  secret: true,
  parse: (input) => input.trim() === "" ? undefined : input,
};

const UNITS: Readonly<Record<string, number>> = { "": 1, k: 1e3, M: 1e6, G: 1e9 };

/** Bytes a second: `500k`, `2M`. */
export const BYTES_PER_SECOND: Value<number> = {
  metavar: "RATE",
  expected: "bytes per second, with k, M or G for thousands, millions or thousand millions, " +
    "for example 2M",
  parse(input): number | undefined {
    const [, digits = "", unit = ""] = /^(\d{1,12})([kMG]?)$/.exec(input) ?? [];
    const rate = digits === "" ? 0 : Number(digits) * (UNITS[unit] ?? 0);
    return rate >= 1 && Number.isSafeInteger(rate) ? rate : undefined;
  },
};

/** Returns the way that a URL names: `turn:host:port?transport=udp`, `turns:host:port`, `wss://host/turn`. */
function parseTurnUrl(url: string): RelayTransport | undefined {
  if (/^wss?:\/\//i.test(url)) {
    const parsed = URL.parse(url);
    const plain = parsed !== null && parsed.username === "" && parsed.password === "";
    return plain ? { kind: "websocket", endpoint: parsed.href } : undefined;
  }
  const match =
    /^(turns?):(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?(?:\?transport=(udp|tcp))?$/
      .exec(url);
  if (match === null) return undefined;
  const [, scheme, host = "", port = scheme === "turns" ? "5349" : "3478", transport] = match;
  if (Number(port) < 1 || Number(port) > 65535) return undefined;
  const endpoint = `${host}:${Number(port)}`;
  if (scheme === "turn") return { kind: transport === "tcp" ? "tcp" : "udp", endpoint };
  // TURN over DTLS is spoken by nobody here.
  return transport === "udp" ? undefined : { kind: "tls", endpoint };
}
