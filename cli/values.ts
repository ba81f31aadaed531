/**
 * What a flag's text may be: one parser per kind of value, pure, shared by flags, environment and file.
 *
 * @module
 */
import {
  canonicalIp,
  type Cidr,
  formatSocketAddress,
  parseCidr,
  parseSocketAddress,
  type SocketAddress,
} from "../core/mod.ts";
import type { ExposeRule, ForwardRule } from "../agent/mod.ts";

/** A kind of value. */
export interface Value<T> {
  /** The placeholder in help texts: `H:P`, `DIR`. */
  readonly metavar: string;
  /** What the text has to be, with an example; completes "X is not ...". */
  readonly expected: string;
  /** Every accepted text, where the set is small. Absent: open. */
  readonly choices?: readonly string[];
  /** Whether the text is a secret, which no message repeats. @default false */
  readonly secret?: boolean;
  /** What a shell completes in its place. Absent: nothing. */
  readonly completes?: "file" | "directory";
  /** Returns the value, or `undefined` if the text is none. */
  parse(text: string): T | undefined;
}

/** Any text that is not empty. */
export function text(metavar: string, expected: string): Value<string> {
  return { metavar, expected, parse: (input) => input.trim() === "" ? undefined : input };
}

/** A path of a file. */
export const FILE: Value<string> = {
  ...text("FILE", "the path of a file"),
  completes: "file",
};

/** The token of the status page. */
export const STATUS_TOKEN: Value<string> = {
  metavar: "TOKEN",
  expected: "16 to 256 printable ASCII characters without spaces",
  secret: true,
  parse: (input) => /^[\x21-\x7e]{16,256}$/.test(input) ? input : undefined,
};

/** An invite. What it has to look like is said where it is read, without a part of it. */
export const INVITE_TEXT: Value<string> = { ...text("STRING", "an invite"), secret: true };

/** A time that something lasts, as milliseconds. */
export const DURATION: Value<number> = {
  metavar: "TIME",
  expected: "a time from 1s to 365d, for example 30m, 24h or 7d",
  parse(input): number | undefined {
    const [, digits = "", unit = ""] = /^(\d{1,8})([smhd])$/.exec(input) ?? [];
    const ms = Number(digits) * ({ s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[unit] ?? 0);
    return ms >= 1000 && ms <= 365 * 86_400_000 ? ms : undefined;
  },
};

/** A path of a directory. */
export const DIRECTORY: Value<string> = {
  ...text("DIR", "the path of a directory"),
  completes: "directory",
};

/** A whole number within bounds, both included. */
export function integer(
  metavar: string,
  { min, max, unit, example }: {
    readonly min: number;
    readonly max: number;
    /** What is counted, in the plural: `milliseconds`. */
    readonly unit: string;
    readonly example: number;
  },
): Value<number> {
  return {
    metavar,
    expected: `${unit} from ${min} to ${max}, for example ${example}`,
    parse(input): number | undefined {
      if (!/^\d{1,15}$/.test(input)) return undefined;
      const value = Number(input);
      return value >= min && value <= max ? value : undefined;
    },
  };
}

/** One of a few words. */
export function choice<const T extends string>(metavar: string, choices: readonly T[]): Value<T> {
  return {
    metavar,
    expected: `one of ${choices.join(", ")}`,
    choices,
    parse: (input) => choices.find((word) => word === input),
  };
}

/** `true` or `false`, as the environment and the file write a switch. */
export const TRUTH: Value<boolean> = {
  metavar: "BOOLEAN",
  expected: "true or false",
  choices: ["true", "false"],
  parse(input): boolean | undefined {
    if (/^(1|true|yes|on)$/i.test(input)) return true;
    return /^(0|false|no|off)$/i.test(input) ? false : undefined;
  },
};

/** A UDP or TCP port; 0 lets the system choose. */
export const PORT: Value<number> = {
  ...integer("PORT", { min: 0, max: 65535, unit: "a port", example: 51820 }),
};

/** A DNS label: what meshes and nodes are called. */
export function label(metavar: string): Value<string> {
  return {
    metavar,
    expected: "a name of 1 to 63 characters a-z, 0-9 and - (not at the ends), for example reef",
    parse: (input) => /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(input) ? input : undefined,
  };
}

/** A network interface to make: what Linux takes, without `%`, which it would replace. */
export const INTERFACE: Value<string> = {
  metavar: "NAME",
  expected: "a name of 1 to 15 characters without blanks and / : %, for example moray0",
  parse: (input) =>
    /^[!-$&-,.0-9;-~][!-$&-.0-9;-~]{0,14}$/.test(input) && input !== "." && input !== ".."
      ? input
      : undefined,
};

/** A local address to listen on, `H:P`; `localhost` is 127.0.0.1, port 0 lets the system choose. */
export const LISTEN: Value<SocketAddress> = {
  metavar: "H:P",
  expected: "an IP address and a port, for example 127.0.0.1:1080 or [::1]:1080",
  parse: (input) => parseSocketAddress(input.replace(/^localhost:/i, "127.0.0.1:")),
};

/** An endpoint that others can send to: no port 0, no unspecified address. */
export const ENDPOINT: Value<SocketAddress> = {
  metavar: "H:P",
  expected: "a public IP address and a port, for example 203.0.113.7:51820",
  parse(input): SocketAddress | undefined {
    const address = parseSocketAddress(input);
    if (address === undefined || address.port === 0) return undefined;
    return address.hostname === "0.0.0.0" || address.hostname === "::" ? undefined : address;
  },
};

/** An IP address that others can send to. */
export const IP: Value<string> = {
  metavar: "IP",
  expected: "an IP address, for example 203.0.113.7 or 2001:db8::7",
  parse(input): string | undefined {
    const ip = canonicalIp(input);
    return ip === "0.0.0.0" || ip === "::" ? undefined : ip;
  },
};

/** A block of IP addresses. */
export const BLOCK: Value<Cidr> = {
  metavar: "CIDR",
  expected: "a block of IP addresses, for example 10.0.0.0/8, 192.0.2.7 or fd00::/8",
  parse: parseCidr,
};

/** A block that nodes of a mesh get IPv4 addresses from, as text; the colony looks whether it may be. */
export const SUBNET: Value<string> = {
  metavar: "CIDR",
  expected: "a private IPv4 block, for example 10.42.0.0/16",
  parse: (input) => parseCidr(input)?.address.length === 4 ? input : undefined,
};

/** A range of ports, both ends included. */
export const PORT_RANGE: Value<{ readonly first: number; readonly last: number }> = {
  metavar: "FIRST-LAST",
  expected: "two ports, the lower one first, for example 49152-65535",
  parse(input): { readonly first: number; readonly last: number } | undefined {
    const match = /^(\d{1,5})-(\d{1,5})$/.exec(input);
    const [first, last] = [portOf(match?.[1]), portOf(match?.[2])];
    return first === undefined || last === undefined || first > last ? undefined : { first, last };
  },
};

/** A base URL of a Discovery service, without the slash at its end. */
export const DISCOVERY_URL: Value<string> = {
  metavar: "URL",
  expected: "an http or https URL, for example https://discovery.example.com",
  parse(input): string | undefined {
    const url = URL.parse(input);
    if (url === null || !/^https?:$/.test(url.protocol)) return undefined;
    if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
      return undefined;
    }
    return url.href.replace(/\/+$/, "");
  },
};

/** A STUN server as `host:port`; port 3478 where none is given, a leading `stun:` is dropped. */
export const STUN_SERVER: Value<string> = {
  metavar: "HOST[:PORT]",
  expected: "a host and a port, for example stun.example.com:3478",
  parse(input): string | undefined {
    const source = input.replace(/^stun:/i, "");
    const match = new RegExp(`^(${HOST})(?::(\\d{1,5}))?$`).exec(source);
    const host = hostOf(match?.[1]);
    const port = portOf(match?.[2] ?? "3478");
    return host === undefined || port === undefined ? undefined : hostPort(host, port);
  },
};

/** The user of a SOCKS5 proxy: as long as RFC 1929 has room for. */
export const SOCKS5_USER: Value<string> = {
  metavar: "NAME",
  expected: "a name of 1 to 255 bytes",
  parse: (input) => {
    const { length } = new TextEncoder().encode(input);
    return length >= 1 && length <= 255 ? input : undefined;
  },
};

/** `H:P:PEER:PORT[/udp]` or `unix:PATH:PEER:PORT`: a local port or unix socket that leads to a peer's port. */
export const FORWARD: Value<ForwardRule> = {
  metavar: "H:P:PEER:PORT[/udp]",
  expected: "a local address or unix:PATH, a peer and its port, for example " +
    "127.0.0.1:8080:colony:80, 127.0.0.1:5353:colony:53/udp or unix:/run/web.sock:colony:80",
  parse: parseForward,
};

/** `H:P:ADDR:PORT[/udp]`: as {@linkcode FORWARD}, where peers have addresses and no names. */
export const FORWARD_ADDRESS: Value<ForwardRule> = {
  metavar: "H:P:ADDR:PORT[/udp]",
  expected: "a local address or unix:PATH, an address in the tunnel and its port, for example " +
    "127.0.0.1:8080:10.0.0.1:80, 127.0.0.1:5353:10.0.0.1:53/udp or unix:/run/web.sock:10.0.0.1:80",
  parse(input): ForwardRule | undefined {
    const rule = parseForward(input);
    return rule === undefined || canonicalIp(rule.peer) === undefined ? undefined : rule;
  },
};

/** `MESHPORT:HOST:PORT[/udp]` or `MESHPORT:unix:PATH`: a port inside the mesh that leads to a local service. */
export function expose(metavar: string): Value<ExposeRule> {
  return {
    metavar,
    expected: "a mesh port, and a local host and its port or unix:PATH, for example " +
      "80:127.0.0.1:8080, 53:127.0.0.1:53/udp or 2375:unix:/run/docker.sock",
    parse(input): ExposeRule | undefined {
      const unix = /^(\d{1,5}):unix:(.+)$/s.exec(input);
      const exposed = portOf(unix?.[1]);
      if (unix !== null) {
        const path = unixPathOf(unix[2]);
        return exposed === undefined || path === undefined
          ? undefined
          : { meshPort: exposed, path };
      }
      const [text, protocol] = protocolOf(input);
      const match = new RegExp(`^(\\d{1,5}):(${HOST}):(\\d{1,5})$`).exec(text);
      const meshPort = portOf(match?.[1]);
      const hostname = hostOf(match?.[2]);
      const port = portOf(match?.[3]);
      if (meshPort === undefined || hostname === undefined || port === undefined) return undefined;
      return { meshPort, hostname, port, ...protocol };
    },
  };
}

/** A name, an IPv4 literal, or an IPv6 literal in brackets. */
const HOST = "\\[[0-9a-fA-F:.]+\\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?";

/** Longest path of a unix socket: 104 bytes on macOS and the BSDs, 108 on Linux, with the final zero. */
const UNIX_PATH_BYTES_MAX = 103;

/** A path of a unix socket. */
function unixPathOf(path: string | undefined): string | undefined {
  const fits = path !== undefined && path !== "" && !path.includes("\0") &&
    new TextEncoder().encode(path).length <= UNIX_PATH_BYTES_MAX;
  return fits ? path : undefined;
}

/** What stands before `/tcp` or `/udp`, and the protocol; TCP needs no word. */
function protocolOf(input: string): readonly [string, { readonly protocol?: "udp" }] {
  const match = /^(.*)\/(tcp|udp)$/s.exec(input);
  return [match?.[1] ?? input, match?.[2] === "udp" ? { protocol: "udp" } : {}];
}

function parseForward(input: string): ForwardRule | undefined {
  const unix = new RegExp(`^unix:(.+):(${HOST}):(\\d{1,5})$`, "s").exec(input);
  if (unix !== null) {
    const [path, peer, port] = [unixPathOf(unix[1]), hostOf(unix[2]), portOf(unix[3])];
    if (path === undefined || peer === undefined || port === undefined) return undefined;
    return { listen: { path }, peer, port };
  }
  const [text, protocol] = protocolOf(input);
  const match = new RegExp(`^(${HOST}):(\\d{1,5}):(${HOST}):(\\d{1,5})$`).exec(text);
  if (match === null) return undefined;
  const listen = LISTEN.parse(`${match[1]}:${match[2]}`);
  const peer = hostOf(match[3]);
  const port = portOf(match[4]);
  if (listen === undefined || peer === undefined || port === undefined) return undefined;
  return { listen, peer, port, ...protocol };
}

/** A host without brackets; `undefined` for brackets around something that is no IPv6 literal, or for digits and dots that are no IPv4 literal. */
function hostOf(input: string | undefined): string | undefined {
  if (input === undefined) return undefined;
  if (input.startsWith("[")) {
    return input.includes(":") ? canonicalIp(input.slice(1, -1)) : undefined;
  }
  return /^[\d.]+$/.test(input) ? canonicalIp(input) : input;
}

/** A port that one can connect to, 1 to 65535. */
function portOf(input: string | undefined): number | undefined {
  const port = PORT.parse(input ?? "");
  return port === 0 ? undefined : port;
}

function hostPort(hostname: string, port: number): string {
  return formatSocketAddress({ hostname, port });
}
