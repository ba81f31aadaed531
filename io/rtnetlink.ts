/**
 * rtnetlink (rtnetlink(7)): the kernel's interfaces, addresses and routes are changed by messages, without the `ip` program.
 *
 * Each request is answered by `struct nlmsgerr`: a negative errno or 0, then the header it answers. The other structures stand in
 * `netlink.ts`.
 *
 * @module
 */
import { type Cidr, concat, MorayError } from "../core/mod.ts";
import { Libc } from "./libc.ts";
import {
  encodeMessage,
  IFA_ADDRESS,
  IFA_LOCAL,
  messagesIn,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  numberMessage,
  openNetlink,
  receiveNetlink,
  RT_SCOPE_LINK,
  RT_TABLE_MAIN,
  RTA_OIF,
  RTM_DELADDR,
  RTM_DELROUTE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWROUTE,
} from "./netlink.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const IFF_UP = 1;
const IFLA_MTU = 4;
const IFLA_AF_SPEC = 26;
const IFLA_GSO_MAX_SEGS = 40;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;
/** Nobody else is on a tunnel: no duplicate address detection, which would delay the address by a second. */
const IFA_F_NODAD = 2;
const RTA_DST = 1;
const RTPROT_STATIC = 4;
const RT_SCOPE_UNIVERSE = 0;
const RTN_UNICAST = 1;

const ANSWER_BYTES = 8192;

/** A request that the kernel answers. */
function message(
  type: number,
  flags: number,
  body: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  return encodeMessage(type, flags | NLM_F_REQUEST | NLM_F_ACK, concat(...body));
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
  for (const { type, sequence: answered, body } of messagesIn(bytes)) {
    if (answered !== sequence || type !== NLMSG_ERROR || body.length < 4) continue;
    return Math.abs(new DataView(body.buffer, body.byteOffset).getInt32(0, true));
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
    this.#socket = openNetlink(this.#libc);
    if (this.#socket < 0) {
      this.#libc[Symbol.dispose]();
      throw new MorayError("unsupported", `no rtnetlink socket: errno ${-this.#socket}`);
    }
  }

  /** Sends a message and returns the errno of the kernel's answer, 0 for success. */
  request(message: Uint8Array<ArrayBuffer>): number {
    const sequence = ++this.#sequence;
    numberMessage(message, sequence);
    const { send } = this.#libc.calls;
    if (send(this.#socket, message, BigInt(message.length), 0) < 0) return this.#libc.errno();
    // The kernel has answered by the time that send returns.
    for (;;) {
      const length = receiveNetlink(this.#libc, this.#socket, this.#answer);
      if (length < 0) return -length;
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
