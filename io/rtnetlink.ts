/**
 * rtnetlink (rtnetlink(7)): the kernel's interfaces, addresses and routes are changed by messages, without the `ip` program.
 *
 * ```text
 *   struct nlmsghdr    16 bytes: length 0, type 4, flags 6, sequence 8, port 12; the body follows
 *   struct ifinfomsg   16 bytes: family 0, type 2, index 4, flags 8, change 12
 *   struct ifaddrmsg    8 bytes: family 0, prefix 1, flags 2, scope 3, index 4
 *   struct rtmsg       12 bytes: family 0, prefix 1, source prefix 2, tos 3, table 4, protocol 5, scope 6, type 7, flags 8
 *   struct rtattr       4 bytes: length 0, type 2; the value follows, padded to four bytes
 *   struct nlmsgerr     the body of an answer: a negative errno or 0, then the header it answers
 * ```
 *
 * All in the byte order of the machine, which is little-endian wherever {@linkcode Libc.open} succeeds.
 *
 * @module
 */
import { type Cidr, concat, MorayError } from "../core/mod.ts";
import { ERRNO, Libc } from "./libc.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
/** SOCK_RAW | SOCK_CLOEXEC. */
const SOCKET_KIND = 3 | 0x80000;
const NETLINK_ROUTE = 0;
const MSG_DONTWAIT = 0x40;

const NLMSG_ERROR = 2;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_EXCL = 0x200;
const NLM_F_CREATE = 0x400;

const RTM_NEWLINK = 16;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;

const IFF_UP = 1;
const IFLA_MTU = 4;
const IFLA_AF_SPEC = 26;
const IFLA_GSO_MAX_SEGS = 40;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
/** Nobody else is on a tunnel: no duplicate address detection, which would delay the address by a second. */
const IFA_F_NODAD = 2;
const RTA_DST = 1;
const RTA_OIF = 4;
const RT_TABLE_MAIN = 254;
const RTPROT_STATIC = 4;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;

const HEADER_BYTES = 16;
const ANSWER_BYTES = 8192;

/** Puts a message in front of the kernel; the sequence number is set when it is sent. */
function message(
  type: number,
  flags: number,
  body: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(HEADER_BYTES);
  const bytes = concat(header, ...body);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags | NLM_F_REQUEST | NLM_F_ACK, true);
  return bytes;
}

function attribute(type: number, ...value: readonly Uint8Array[]): Uint8Array {
  const length = value.reduce((sum, { length }) => sum + length, 4);
  const header = new Uint8Array(Uint16Array.of(length, type).buffer);
  return concat(header, ...value, new Uint8Array(-length & 3));
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function familyOf(address: Uint8Array): number {
  return address.length === 4 ? AF_INET : AF_INET6;
}

/** Sets an interface's MTU and brings it up. */
export function encodeLinkUp(
  { index, mtu }: { readonly index: number; readonly mtu: number },
): Uint8Array<ArrayBuffer> {
  const info = new Uint8Array(Int32Array.of(0, index, IFF_UP, IFF_UP).buffer);
  return message(RTM_NEWLINK, 0, [info, attribute(IFLA_MTU, u32(mtu))]);
}

/** Bounds how many segments or datagrams the kernel joins in one packet to an interface; 1 to 65535. */
export function encodeSegmentsMax(
  { index, segments }: { readonly index: number; readonly segments: number },
): Uint8Array<ArrayBuffer> {
  const info = new Uint8Array(Int32Array.of(0, index, 0, 0).buffer);
  return message(RTM_NEWLINK, 0, [info, attribute(IFLA_GSO_MAX_SEGS, u32(segments))]);
}

/** Keeps the kernel from giving an interface a link-local IPv6 address, from which it would solicit routers. */
export function encodeNoLinkLocal(index: number): Uint8Array<ArrayBuffer> {
  const info = new Uint8Array(Int32Array.of(0, index, 0, 0).buffer);
  const mode = attribute(IFLA_INET6_ADDR_GEN_MODE, Uint8Array.of(IN6_ADDR_GEN_MODE_NONE));
  return message(RTM_NEWLINK, 0, [info, attribute(IFLA_AF_SPEC, attribute(AF_INET6, mode))]);
}

/** Gives an address to an interface, or takes it away. `prefix` is the length of the network that it is in. */
export function encodeAddress(
  change: "add" | "remove",
  { index, address, prefix }: {
    readonly index: number;
    readonly address: Uint8Array;
    readonly prefix: number;
  },
): Uint8Array<ArrayBuffer> {
  const flags = address.length === 4 ? 0 : IFA_F_NODAD;
  const info = Uint8Array.of(familyOf(address), prefix, flags, 0);
  const body = [info, u32(index), attribute(IFA_LOCAL, address), attribute(IFA_ADDRESS, address)];
  return change === "add"
    ? message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body)
    : message(RTM_DELADDR, 0, body);
}

/** Leads a block to an interface, or no longer. */
export function encodeRoute(
  change: "add" | "remove",
  { index, block }: { readonly index: number; readonly block: Cidr },
): Uint8Array<ArrayBuffer> {
  const { address, prefix } = block;
  const scope = address.length === 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  const route = [familyOf(address), prefix, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST];
  const body = [
    Uint8Array.from([...route, 0, 0, 0, 0]),
    attribute(RTA_DST, address),
    attribute(RTA_OIF, u32(index)),
  ];
  return change === "add"
    ? message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body)
    : message(RTM_DELROUTE, 0, body);
}

/** The errno of the answer to the message with this sequence number, 0 for success; `undefined` where it is another's. */
export function decodeAnswer(bytes: Uint8Array, sequence: number): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
    const length = view.getUint32(at, true);
    if (length < HEADER_BYTES || length > bytes.length - at) return undefined;
    const ours = view.getUint32(at + 8, true) === sequence;
    if (ours && view.getUint16(at + 4, true) === NLMSG_ERROR && length >= HEADER_BYTES + 4) {
      return Math.abs(view.getInt32(at + HEADER_BYTES, true));
    }
    at += length + 3 & ~3;
  }
  return undefined;
}

/** A socket to the kernel's routing tables. Every request is answered before it returns. */
export class Rtnetlink implements Disposable {
  readonly #libc: Libc;
  readonly #socket: number;
  readonly #answer = new Uint8Array(ANSWER_BYTES);
  #sequence = 0;

  /** Opens one. Throws `unsupported` where libc cannot be called or the kernel has no such socket. */
  constructor() {
    this.#libc = Libc.open();
    this.#socket = this.#libc.calls.socket(AF_NETLINK, SOCKET_KIND, NETLINK_ROUTE);
    if (this.#socket < 0) {
      const errno = this.#libc.errno();
      this.#libc[Symbol.dispose]();
      throw new MorayError("unsupported", `no rtnetlink socket: errno ${errno}`);
    }
  }

  /** Sends a message and returns the errno of the kernel's answer, 0 for success. */
  request(message: Uint8Array<ArrayBuffer>): number {
    const sequence = ++this.#sequence;
    new DataView(message.buffer, message.byteOffset).setUint32(8, sequence, true);
    const { send, recv } = this.#libc.calls;
    if (send(this.#socket, message, BigInt(message.length), 0) < 0) return this.#libc.errno();
    // The kernel has answered by the time that send returns.
    for (;;) {
      const length = recv(this.#socket, this.#answer, BigInt(ANSWER_BYTES), MSG_DONTWAIT);
      if (length < 0) {
        const errno = this.#libc.errno();
        if (errno === ERRNO.EINTR) continue;
        return errno;
      }
      const answer = decodeAnswer(this.#answer.subarray(0, length), sequence);
      if (answer !== undefined) return answer;
    }
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.#libc.calls.close(this.#socket);
    this.#libc[Symbol.dispose]();
  }
}
