/**
 * The standard WireGuard configuration file, as `wg-quick` reads it.
 *
 * ```ini
 * [Interface]
 * PrivateKey = <base64>
 * Address = 10.0.0.2/24, fd00::2/64
 *
 * [Peer]
 * PublicKey = <base64>
 * AllowedIPs = 10.0.0.0/24
 * Endpoint = vpn.example.com:51820
 * PersistentKeepalive = 25
 * ```
 *
 * Section and key names in any case; `#` starts a comment; `Address` and `AllowedIPs` repeat and take lists. Errors name file
 * and line and never repeat a value: a key may stand anywhere in a file that somebody got wrong.
 *
 * @module
 */
import {
  type Cidr,
  formatBase64,
  formatIp,
  MorayError,
  parseCidr,
  parseIp,
  parseKey,
} from "../core/mod.ts";
import { ALLOWED_IPS_MAX } from "./shared/mod.ts";

/** Longest file parsed. Four thousand peers take a quarter of it. */
export const CONFIG_CHARACTERS_MAX = 1 << 20;
/** Most peers in one file. */
export const PEERS_MAX = 4096;
/** Most addresses of the interface. */
export const ADDRESSES_MAX = 64;

/** A parsed file. Holds secrets: never for a log, an error or JSON. */
export interface WireGuardConfig {
  /** 32 bytes. */
  readonly privateKey: Uint8Array;
  /** Our addresses inside the tunnel; at least one. */
  readonly addresses: readonly InterfaceAddress[];
  /** UDP port; 0 lets the system choose. */
  readonly listenPort: number;
  /** MTU of the tunnel in bytes, 576 to 65535. Absent: by path. */
  readonly mtu?: number;
  /** At least one. */
  readonly peers: readonly WireGuardPeer[];
  /** Keys that `wg-quick` knows and that mean nothing here, in the order of the file. */
  readonly ignored: readonly IgnoredKey[];
}

/** An address of our own with the length of its network. */
export interface InterfaceAddress {
  /** Canonical literal. */
  readonly address: string;
  /** 0 to 32 or 0 to 128. */
  readonly prefix: number;
}

/** A `[Peer]` section. */
export interface WireGuardPeer {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 32 bytes. Absent: none. */
  readonly presharedKey?: Uint8Array;
  /** Addresses that are the peer's. Empty: it may not send anything. */
  readonly allowedIps: readonly Cidr[];
  /** Where it is. Absent: it calls us. */
  readonly endpoint?: EndpointName;
  /** Seconds between keepalives, 0 (none) to 65535. */
  readonly persistentKeepalive: number;
}

/** A host by name or canonical literal, and a port. */
export interface EndpointName {
  /** Name or literal, without brackets. */
  readonly host: string;
  /** 1 to 65535. */
  readonly port: number;
}

/** A line that has no effect. */
export interface IgnoredKey {
  /** The key as `wg-quick` documents it. */
  readonly key: string;
  /** Its line, from 1. */
  readonly line: number;
}

/** Keys of `wg-quick` and `wg` that configure a kernel interface, its routes or a resolver. */
const IGNORED = ["DNS", "Table", "PreUp", "PostUp", "PreDown", "PostDown", "SaveConfig", "FwMark"];
const IGNORED_BY_NAME = new Map(IGNORED.map((key) => [key.toLowerCase(), key]));
/** Smallest MTU that IPv4 must carry (RFC 791). */
const MTU_MIN = 576;

/** Parses the text of a configuration file. Throws `config` with a message that starts with `file:line:`. */
export function parseWireGuardConfig(text: string, { file }: { file: string }): WireGuardConfig {
  const parser = new Parser(file);
  if (text.length > CONFIG_CHARACTERS_MAX) parser.fail("the file is longer than 1 MiB");
  // Some editors put a byte order mark first.
  for (const [i, raw] of text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/).entries()) {
    parser.line(i + 1, raw);
  }
  return parser.finish();
}

/** A value and where it stands. */
interface Value<T> {
  readonly value: T;
  readonly line: number;
}

/** What a section has so far; scalar keys by name, to tell a second one. */
interface InterfaceDraft {
  readonly line: number;
  readonly addresses: InterfaceAddress[];
  privateKey?: Value<Uint8Array>;
  listenPort?: Value<number>;
  mtu?: Value<number>;
}

interface PeerDraft {
  readonly line: number;
  readonly allowedIps: Cidr[];
  publicKey?: Value<Uint8Array>;
  presharedKey?: Value<Uint8Array>;
  endpoint?: Value<EndpointName>;
  persistentKeepalive?: Value<number>;
}

class Parser {
  readonly #file: string;
  readonly #peers: PeerDraft[] = [];
  readonly #ignored: IgnoredKey[] = [];
  #interface: InterfaceDraft | undefined;
  #section: "none" | "interface" | "peer" = "none";
  #line = 1;

  constructor(file: string) {
    this.#file = file;
  }

  fail(problem: string, line = this.#line): never {
    throw new MorayError("config", `${this.#file}:${line}: ${problem}`);
  }

  line(number: number, raw: string): void {
    this.#line = number;
    const text = raw.replace(/#.*$/, "").trim();
    if (text === "") return;
    if (text.startsWith("[")) return this.#open(text);
    const at = text.indexOf("=");
    if (at < 0) this.fail("not a [Section] and not a Key = Value");
    const key = text.slice(0, at).trim();
    const value = text.slice(at + 1).trim();
    switch (this.#section) {
      case "none":
        return this.fail("a key before the first section");
      case "interface":
        return this.#interfaceKey(key, value);
      case "peer":
        return this.#peerKey(key, value);
      default:
        return this.#section satisfies never;
    }
  }

  finish(): WireGuardConfig {
    const draft = this.#interface ?? this.fail("no [Interface] section");
    const { privateKey, line } = draft;
    const key = this.#required(privateKey, "[Interface] has no PrivateKey", line);
    if (draft.addresses.length === 0) this.fail("[Interface] has no Address", line);
    if (this.#peers.length === 0) this.fail("no [Peer] section");
    return {
      privateKey: key,
      addresses: draft.addresses,
      listenPort: draft.listenPort?.value ?? 0,
      ...(draft.mtu && { mtu: draft.mtu.value }),
      peers: this.#finishPeers(),
      ignored: this.#ignored,
    };
  }

  #finishPeers(): WireGuardPeer[] {
    const lines = new Map<string, number>();
    return this.#peers.map((draft) => {
      const publicKey = this.#required(draft.publicKey, "[Peer] has no PublicKey", draft.line);
      const id = formatBase64(publicKey);
      const first = lines.get(id);
      if (first !== undefined) {
        this.fail(`the same PublicKey as the [Peer] of line ${first}`, draft.line);
      }
      lines.set(id, draft.line);
      return {
        publicKey,
        ...(draft.presharedKey && { presharedKey: draft.presharedKey.value }),
        allowedIps: draft.allowedIps,
        ...(draft.endpoint && { endpoint: draft.endpoint.value }),
        persistentKeepalive: draft.persistentKeepalive?.value ?? 0,
      };
    });
  }

  #open(text: string): void {
    const name = /^\[\s*(\w+)\s*\]$/.exec(text)?.[1]?.toLowerCase();
    if (name === "interface") {
      if (this.#interface !== undefined) {
        this.fail(`a second [Interface]; the first is in line ${this.#interface.line}`);
      }
      this.#interface = { line: this.#line, addresses: [] };
      this.#section = "interface";
    } else if (name === "peer") {
      if (this.#peers.length === PEERS_MAX) this.fail(`more than ${PEERS_MAX} peers`);
      this.#peers.push({ line: this.#line, allowedIps: [] });
      this.#section = "peer";
    } else {
      this.fail("not [Interface] and not [Peer]");
    }
  }

  #interfaceKey(key: string, value: string): void {
    const draft = this.#interface;
    const ignored = IGNORED_BY_NAME.get(key.toLowerCase());
    if (draft === undefined) return;
    switch (key.toLowerCase()) {
      case "privatekey":
        draft.privateKey = this.#once(draft.privateKey, "PrivateKey", () => this.#key(value));
        return;
      case "address":
        for (const item of this.#list(value)) draft.addresses.push(this.#address(item));
        if (draft.addresses.length > ADDRESSES_MAX) {
          this.fail(`more than ${ADDRESSES_MAX} addresses`);
        }
        return;
      case "listenport":
        draft.listenPort = this.#once(
          draft.listenPort,
          "ListenPort",
          () => integer(value, 0, 65_535),
          "a port from 0 to 65535",
        );
        return;
      case "mtu":
        draft.mtu = this.#once(
          draft.mtu,
          "MTU",
          () => integer(value, MTU_MIN, 65_535),
          `a number from ${MTU_MIN} to 65535`,
        );
        return;
      default:
        if (ignored === undefined) this.#unknown(key, "Interface");
        this.#ignored.push({ key: ignored, line: this.#line });
    }
  }

  #peerKey(key: string, value: string): void {
    const draft = this.#peers.at(-1);
    if (draft === undefined) return;
    switch (key.toLowerCase()) {
      case "publickey":
        draft.publicKey = this.#once(draft.publicKey, "PublicKey", () => this.#key(value));
        return;
      case "presharedkey":
        draft.presharedKey = this.#once(draft.presharedKey, "PresharedKey", () => this.#key(value));
        return;
      case "allowedips":
        // An empty list is legal: `wg showconf` writes it for a peer without addresses.
        if (value === "") return;
        for (const item of this.#list(value)) draft.allowedIps.push(this.#block(item));
        if (draft.allowedIps.length > ALLOWED_IPS_MAX) {
          this.fail(`more than ${ALLOWED_IPS_MAX} AllowedIPs of one peer`);
        }
        return;
      case "endpoint":
        draft.endpoint = this.#once(
          draft.endpoint,
          "Endpoint",
          () => parseEndpoint(value),
          "host:port or [IPv6]:port",
        );
        return;
      case "persistentkeepalive":
        draft.persistentKeepalive = this.#once(
          draft.persistentKeepalive,
          "PersistentKeepalive",
          () => value.toLowerCase() === "off" ? 0 : integer(value, 0, 65_535),
          "off or a number of seconds from 0 to 65535",
        );
        return;
      default:
        this.#unknown(key, "Peer");
    }
  }

  #once<T>(
    before: Value<T> | undefined,
    key: string,
    parse: () => T | undefined,
    expected = "32 bytes of base64",
  ): Value<T> {
    if (before !== undefined) this.fail(`a second ${key}; the first is in line ${before.line}`);
    const value = parse() ?? this.fail(`${key} is not ${expected}`);
    return { value, line: this.#line };
  }

  #key(value: string): Uint8Array | undefined {
    return parseKey(value);
  }

  #list(value: string): string[] {
    return value.split(",").map((item) => item.trim());
  }

  #address(item: string): InterfaceAddress {
    const cidr = parseCidr(item);
    const ip = parseIp(item.split("/")[0] ?? "");
    if (cidr === undefined || ip === undefined) {
      this.fail("Address is not a list of IP addresses with prefix lengths");
    }
    return { address: formatIp(ip), prefix: cidr.prefix };
  }

  #block(item: string): Cidr {
    return parseCidr(item) ??
      this.fail("AllowedIPs is not a list of IP addresses with prefix lengths");
  }

  #required<T>(value: Value<T> | undefined, problem: string, line: number): T {
    return value === undefined ? this.fail(problem, line) : value.value;
  }

  #unknown(key: string, section: string): never {
    // A key file line without its name is `<base64>=`: what is before the `=` must not be shown.
    const name = /^[A-Za-z]{1,20}$/.test(key) ? ` ${key}` : "";
    return this.fail(`unknown key${name} in [${section}]`);
  }
}

function integer(text: string, min: number, max: number): number | undefined {
  if (!/^\d{1,5}$/.test(text)) return undefined;
  const value = Number(text);
  return value >= min && value <= max ? value : undefined;
}

function parseEndpoint(text: string): EndpointName | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]{1,253})):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const [, bracketed, plain, digits = ""] = match;
  const port = integer(digits, 1, 65_535);
  const host = bracketed === undefined ? hostOf(plain ?? "") : literalOf(bracketed);
  return port === undefined || host === undefined ? undefined : { host, port };
}

/** An IPv4 literal or a name of DNS labels; a name of digits and dots only is a mistyped literal. */
function hostOf(text: string): string | undefined {
  const literal = literalOf(text);
  if (literal !== undefined) return literal;
  const labels = text.replace(/\.$/, "").split(".");
  if (!labels.every((label) => /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label))) {
    return undefined;
  }
  return /^\d+$/.test(labels.at(-1) ?? "") ? undefined : text.toLowerCase();
}

function literalOf(text: string): string | undefined {
  const bytes = parseIp(text);
  return bytes === undefined ? undefined : formatIp(bytes);
}
