/**
 * What the network says of datagrams that did not arrive: ICMP errors, as Linux hands them out on a socket's error queue
 * (`IP_RECVERR`, ip(7)).
 *
 * ```text
 *   struct cmsghdr            16 bytes: length 0, level 8, type 12; data follows, the next one at a multiple of 8
 *   struct sock_extended_err  16 bytes: errno 0, origin 4, type 5, code 6, info 8; the offender's address follows
 * ```
 *
 * Anybody who knows both addresses and ports can forge an ICMP error. So these are hints: they may make us try something, and
 * nothing is ever given up because of them.
 *
 * @module
 */
import { familyOf, formatIp, type SocketAddress } from "../../core/mod.ts";
import type { Libc } from "../../io/mod.ts";

/** What became of an earlier datagram. */
export type PathError =
  | {
    /** It was larger than a link on its way. */
    readonly kind: "packetTooBig";
    /** Where it was sent to; port 0 where a link of our own says so. */
    readonly destination: SocketAddress;
    /** Largest IP packet that the link takes, in bytes; never less than every link must take. */
    readonly mtu: number;
    /** Whether the link is one of this machine's, so that nobody can have forged it. */
    readonly local: boolean;
  }
  | {
    /** Nobody took it. */
    readonly kind: "unreachable";
    /** Where it was sent to. */
    readonly destination: SocketAddress;
    /** What is missing there: a socket on the port, the host, a route; or a firewall refuses. */
    readonly what: "port" | "host" | "network" | "prohibited";
  };

/** Levels and types of the control messages that carry an error. */
const IPPROTO_IP = 0;
const IP_RECVERR = 11;
const IPPROTO_IPV6 = 41;
const IPV6_RECVERR = 25;

/** `ee_origin`. */
const ORIGIN_LOCAL = 1;
const ORIGIN_ICMP = 2;
const ORIGIN_ICMP6 = 3;

const EMSGSIZE = 90;
const CMSG_HEADER = 16;
const EXTENDED_ERR = 16;

const AF_INET6 = 10;
/** MSG_DONTWAIT | MSG_ERRQUEUE. */
const FLAGS = 0x40 | 0x2000;
const MMSGHDR = 64;
const SOCKADDR = 28;
/** Room for the one control message that comes with an error, and an IPv6 offender in it. */
const CONTROL = 64;
/** Errors taken at once. More wait in the kernel, which has a limit of its own. */
const ERRORS_MAX = 16;

/** ICMP type 3 by its code (RFC 792, RFC 1812); 4 is about the size. */
const UNREACHABLE_V4 = [
  ...["network", "host", "host", "port", undefined, "network", "network", "host", "host"],
  ...["prohibited", "prohibited", "network", "host", "prohibited", "prohibited", "prohibited"],
] as const;
/** ICMPv6 type 1 by its code (RFC 4443). */
const UNREACHABLE_V6 = [
  ...["network", "prohibited", "network", "host", "port", "prohibited", "prohibited"],
] as const;

/** No path's MTU is believed to be smaller: what hosts must take (RFC 1122), what links must carry (RFC 8200). */
const MTU_MIN = { 4: 576, 6: 1280 } as const;

/**
 * Reads the control data of one message from the error queue. `destination` is the message's address: where the
 * datagram went. `undefined` for what is none of the errors above.
 */
export function parsePathError(
  control: Uint8Array,
  destination: SocketAddress,
): PathError | undefined {
  const view = new DataView(control.buffer, control.byteOffset, control.byteLength);
  for (let at = 0; at + CMSG_HEADER <= control.length;) {
    const length = view.getUint32(at, true);
    if (length < CMSG_HEADER || at + length > control.length) return undefined;
    const level = view.getInt32(at + 8, true);
    const type = view.getInt32(at + 12, true);
    const isError = (level === IPPROTO_IP && type === IP_RECVERR) ||
      (level === IPPROTO_IPV6 && type === IPV6_RECVERR);
    if (isError && length >= CMSG_HEADER + EXTENDED_ERR) {
      return fromExtendedError(view, at + CMSG_HEADER, destination);
    }
    at += Math.ceil(length / 8) * 8;
  }
  return undefined;
}

function fromExtendedError(
  view: DataView,
  at: number,
  destination: SocketAddress,
): PathError | undefined {
  const origin = view.getUint8(at + 4);
  const [type, code] = [view.getUint8(at + 5), view.getUint8(at + 6)];
  if (view.getUint32(at, true) === EMSGSIZE) {
    const mtu = Math.max(view.getUint32(at + 8, true), MTU_MIN[familyOf(destination.hostname)]);
    return { kind: "packetTooBig", destination, mtu, local: origin === ORIGIN_LOCAL };
  }
  const what = origin === ORIGIN_ICMP && type === 3
    ? UNREACHABLE_V4[code]
    : origin === ORIGIN_ICMP6 && type === 1
    ? UNREACHABLE_V6[code]
    : undefined;
  return what === undefined ? undefined : { kind: "unreachable", destination, what };
}

/** How to read an error queue. */
export interface ErrorQueueOptions {
  /** Takes what was understood. */
  readonly onError: (error: PathError) => void;
  /** Called for everything else that the queue held. */
  readonly onOther: () => void;
}

/** The error queues of sockets. While one holds something, its socket polls as POLLERR. */
export class ErrorQueue {
  readonly #libc: Libc;
  readonly #options: ErrorQueueOptions;
  /** `struct mmsghdr` each; without room for the datagram's own bytes, which nobody needs. */
  readonly #headers = new Uint8Array(ERRORS_MAX * MMSGHDR);
  readonly #headersView = new DataView(this.#headers.buffer);
  readonly #names = new Uint8Array(ERRORS_MAX * SOCKADDR);
  readonly #controls = new Uint8Array(ERRORS_MAX * CONTROL);

  /** Prepares to read. */
  constructor(libc: Libc, options: ErrorQueueOptions) {
    this.#libc = libc;
    this.#options = options;
    const [names, controls] = [libc.addressOf(this.#names), libc.addressOf(this.#controls)];
    for (let i = 0; i < ERRORS_MAX; i++) {
      const header = i * MMSGHDR;
      this.#headersView.setBigUint64(header, names + BigInt(i * SOCKADDR), true);
      this.#headersView.setBigUint64(header + 32, controls + BigInt(i * CONTROL), true);
    }
  }

  /**
   * Takes what the queue of a socket holds, a bounded part of it: the next poll tells of the rest. The socket, with `IP_RECVERR` or
   * `IPV6_RECVERR` set, stays the caller's.
   */
  take(socket: number): void {
    for (let i = 0; i < ERRORS_MAX; i++) {
      this.#headersView.setUint32(i * MMSGHDR + 8, SOCKADDR, true);
      this.#headersView.setBigUint64(i * MMSGHDR + 40, BigInt(CONTROL), true);
    }
    const { recvmmsg } = this.#libc.calls;
    const count = recvmmsg(socket, this.#headers, ERRORS_MAX, FLAGS, null);
    for (let i = 0; i < count; i++) {
      const length = this.#headersView.getUint32(i * MMSGHDR + 40, true);
      const control = this.#controls.subarray(i * CONTROL, i * CONTROL + length);
      const error = parsePathError(control, this.#destination(i));
      if (error === undefined) this.#options.onOther();
      else this.#options.onError(error);
    }
  }

  #destination(i: number): SocketAddress {
    const at = i * SOCKADDR;
    const view = new DataView(this.#names.buffer);
    const v6 = view.getUint16(at, true) === AF_INET6;
    const ip = this.#names.subarray(at + (v6 ? 8 : 4), at + (v6 ? 24 : 8));
    return { hostname: formatIp(ip), port: view.getUint16(at + 2) };
  }
}
