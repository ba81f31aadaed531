/**
 * The server's side of a SOCKS5 handshake (RFC 1928), sans I/O. CONNECT and UDP ASSOCIATE; with a user and a password (RFC 1929), or
 * without authentication.
 *
 * ```text
 *   greeting  05 NMETHODS METHODS[1..255]               -> 05 00 or 05 02, or 05 FF if what is wanted is not offered
 *   user      01 LENGTH NAME[1..255] LENGTH PASSWORD[1..255]  -> 01 00, or 01 01 if they are wrong
 *   request   05 CMD 00 ATYP ADDRESS PORT[2]            -> 05 REP 00 ATYP ADDRESS PORT[2]
 *             CMD  01 CONNECT, 02 BIND, 03 UDP ASSOCIATE
 *             ATYP 01 4 bytes, 03 length and name[1..255], 04 16 bytes
 * ```
 *
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { ProxyCredentials } from "./options.ts";
import { type ErrorCode, formatIp, parseIp, type SocketAddress } from "../core/mod.ts";

/** Reply codes (RFC 1928 section 6). */
export const SOCKS5_REPLY: {
  readonly succeeded: 0x00;
  readonly generalFailure: 0x01;
  readonly notAllowed: 0x02;
  readonly networkUnreachable: 0x03;
  readonly hostUnreachable: 0x04;
  readonly connectionRefused: 0x05;
  readonly ttlExpired: 0x06;
  readonly commandNotSupported: 0x07;
  readonly addressTypeNotSupported: 0x08;
} = {
  succeeded: 0x00,
  generalFailure: 0x01,
  notAllowed: 0x02,
  networkUnreachable: 0x03,
  hostUnreachable: 0x04,
  connectionRefused: 0x05,
  ttlExpired: 0x06,
  commandNotSupported: 0x07,
  addressTypeNotSupported: 0x08,
};

/** One of {@linkcode SOCKS5_REPLY}. */
export type Socks5Reply = typeof SOCKS5_REPLY[keyof typeof SOCKS5_REPLY];

/** How a handshake ended. */
export type Socks5Event =
  | {
    readonly kind: "connect";
    /** A canonical literal, or a name of printable ASCII as it was sent; 1 to 255 characters. */
    readonly host: string;
    /** 1 to 65535. */
    readonly port: number;
    /** Bytes behind the request, from a client that did not wait for the reply. */
    readonly rest: Uint8Array;
  }
  | {
    readonly kind: "associate";
    /** Where the client will send from, as far as it knows: 0 for an unknown port. */
    readonly port: number;
  }
  | {
    readonly kind: "rejected";
    /** Why, for the log. Holds nothing of the client's bytes. */
    readonly reason: string;
  };

/** Longest message: version, name and password with their lengths. */
const MESSAGE_BYTES_MAX = 1 + 256 + 256;

const VERSION = 0x05;
const NO_AUTHENTICATION = 0x00;
const USERNAME_PASSWORD = 0x02;
const USERNAME_PASSWORD_VERSION = 0x01;
const NONE_ACCEPTABLE = 0xff;
const CONNECT = 0x01;
const UDP_ASSOCIATE = 0x03;

/** The handshake of one connection. Any bytes lead to an event or to waiting for more, never to an exception. */
export class Socks5Handshake {
  readonly #secret: Uint8Array | undefined;
  #state: "greeting" | "user" | "request" | "ended" = "greeting";
  #pending = new Uint8Array(0);
  #transmits: Uint8Array[] = [];
  #event: Socks5Event | undefined;

  /** Waits for a greeting. With `credentials`, nobody gets further who does not know them. */
  constructor(credentials?: ProxyCredentials) {
    if (credentials === undefined) return;
    const [name, password] = [credentials.username, credentials.password].map(utf8);
    this.#secret = digest(name ?? NOTHING, password ?? NOTHING);
  }

  /** Takes what the client sent. Does nothing after the end. */
  handleInput(bytes: Uint8Array): void {
    if (this.#state === "ended") return;
    let input = new Uint8Array(this.#pending.length + bytes.length);
    input.set(this.#pending);
    input.set(bytes, this.#pending.length);
    if (this.#state === "greeting") {
      const used = this.#greeting(input);
      if (used === undefined) return this.#keep(input);
      input = input.subarray(used);
    }
    if (this.#state === "user") {
      const used = this.#user(input);
      if (used === undefined) return this.#keep(input);
      input = input.subarray(used);
    }
    if (this.#state === "request") this.#request(input);
  }

  /** Takes the next bytes for the client, until `undefined`. */
  pollTransmit(): Uint8Array | undefined {
    return this.#transmits.shift();
  }

  /** Takes the end of the handshake. After `connect` and `associate` the owner sends {@linkcode encodeSocks5Reply}. */
  pollEvent(): Socks5Event | undefined {
    const event = this.#event;
    this.#event = undefined;
    return event;
  }

  /** Returns the length of the greeting, or `undefined` while it is not whole. */
  #greeting(input: Uint8Array): number | undefined {
    const [version, count] = input;
    if (version === undefined) return undefined;
    if (version !== VERSION) {
      this.#reject(version === 0x04 ? "SOCKS4 is not supported" : "not SOCKS5");
      return 0;
    }
    if (count === undefined || input.length < 2 + count) return undefined;
    const wanted = this.#secret === undefined ? NO_AUTHENTICATION : USERNAME_PASSWORD;
    if (!input.subarray(2, 2 + count).includes(wanted)) {
      this.#transmits.push(Uint8Array.of(VERSION, NONE_ACCEPTABLE));
      this.#reject(
        this.#secret === undefined
          ? "the client insists on authentication"
          : "the client offers no user and password",
      );
      return 0;
    }
    this.#transmits.push(Uint8Array.of(VERSION, wanted));
    this.#state = this.#secret === undefined ? "request" : "user";
    return 2 + count;
  }

  /** Returns the length of the client's name and password, or `undefined` while they are not whole. */
  #user(input: Uint8Array): number | undefined {
    const [version, nameLength] = input;
    if (version === undefined) return undefined;
    if (version !== USERNAME_PASSWORD_VERSION) {
      this.#reject("a user and password of another version");
      return 0;
    }
    if (nameLength === undefined) return undefined;
    const passwordLength = input[2 + nameLength];
    if (passwordLength === undefined) return undefined;
    const end = 3 + nameLength + passwordLength;
    if (input.length < end) return undefined;
    const given = digest(input.subarray(2, 2 + nameLength), input.subarray(3 + nameLength, end));
    const right = this.#secret !== undefined && timingSafeEqual(given, this.#secret);
    this.#transmits.push(Uint8Array.of(USERNAME_PASSWORD_VERSION, right ? 0 : 1));
    if (right) this.#state = "request";
    else this.#reject("a wrong user or password");
    return end;
  }

  #request(input: Uint8Array): void {
    const [version, command, , type, nameLength] = input;
    if (version !== undefined && version !== VERSION) {
      return this.#reject("a request of another version");
    }
    if (type === undefined) return this.#keep(input);
    // Which address follows decides what is read, so its type is judged before the command.
    const start = type === 0x03 ? 5 : 4;
    const length = type === 0x01 ? 4 : type === 0x04 ? 16 : type === 0x03 ? nameLength : 0;
    if (length === undefined) return this.#keep(input);
    if (length === 0) {
      return type === 0x03
        ? this.#reject("an empty name", SOCKS5_REPLY.hostUnreachable)
        : this.#reject("an unknown address type", SOCKS5_REPLY.addressTypeNotSupported);
    }
    const end = start + length + 2;
    if (input.length < end) return this.#keep(input);
    if (command !== CONNECT && command !== UDP_ASSOCIATE) {
      const reason = "a command other than CONNECT and UDP ASSOCIATE";
      return this.#reject(reason, SOCKS5_REPLY.commandNotSupported);
    }
    const address = input.subarray(start, start + length);
    const port = (input[end - 2] ?? 0) << 8 | (input[end - 1] ?? 0);
    // Its address is that of the connection, whatever is claimed.
    if (command === UDP_ASSOCIATE) return this.#end({ kind: "associate", port });
    const host = type === 0x03 ? decodeName(address) : formatIp(address);
    if (host === undefined) {
      return this.#reject("a name that is not ASCII", SOCKS5_REPLY.hostUnreachable);
    }
    if (port === 0) return this.#reject("port 0", SOCKS5_REPLY.generalFailure);
    this.#end({ kind: "connect", host, port, rest: input.slice(end) });
  }

  #keep(input: Uint8Array): void {
    // What is not whole is shorter than the longest message, so this stays within its bound.
    this.#pending = input.slice(0, MESSAGE_BYTES_MAX);
  }

  #reject(reason: string, code?: Socks5Reply): void {
    if (code !== undefined) this.#transmits.push(encodeSocks5Reply(code));
    this.#end({ kind: "rejected", reason });
  }

  #end(event: Socks5Event): void {
    this.#state = "ended";
    this.#pending = new Uint8Array(0);
    this.#event = event;
  }
}

/** Encodes a reply. `bound` is the near end of a connection that was made; 0.0.0.0:0 where there is none. */
export function encodeSocks5Reply(code: Socks5Reply, bound?: SocketAddress): Uint8Array {
  const ip = bound === undefined ? new Uint8Array(4) : parseIp(bound.hostname) ?? new Uint8Array(4);
  const port = bound?.port ?? 0;
  return Uint8Array.of(
    ...[VERSION, code, 0, ip.length === 4 ? 0x01 : 0x04],
    ...ip,
    ...[port >> 8 & 0xff, port & 0xff],
  );
}

/** Returns the reply that tells a failed connection. */
export function socks5ReplyOf(code: ErrorCode): Socks5Reply {
  switch (code) {
    case "refused":
      return SOCKS5_REPLY.connectionRefused;
    case "unreachable":
      return SOCKS5_REPLY.hostUnreachable;
    case "timedOut":
      return SOCKS5_REPLY.ttlExpired;
    case "permission":
      return SOCKS5_REPLY.notAllowed;
    default:
      return SOCKS5_REPLY.generalFailure;
  }
}

const NOTHING = new Uint8Array();

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** What a name and a password are compared by: as long for any, so that the time tells nothing of them. */
function digest(name: Uint8Array, password: Uint8Array): Uint8Array {
  const hash = createHash("sha256").update(Uint8Array.of(name.length)).update(name);
  return Uint8Array.from(hash.update(password).digest());
}

/** A name of printable ASCII; `undefined` for anything else. */
export function decodeName(bytes: Uint8Array): string | undefined {
  const name = String.fromCharCode(...bytes);
  return /^[\x21-\x7e]+$/.test(name) ? name : undefined;
}
