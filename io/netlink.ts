/**
 * Netlink messages (netlink(7), rtnetlink(7)), as the modules that speak with the kernel about its links share them.
 *
 * ```text
 *   struct nlmsghdr    16 bytes: length 0, type 4, flags 6, sequence 8, port 12; the body follows, padded to four bytes
 *   struct ifinfomsg   16 bytes: family 0, type 2, index 4, flags 8, change 12
 *   struct ifaddrmsg    8 bytes: family 0, prefix 1, flags 2, scope 3, index 4
 *   struct rtmsg       12 bytes: family 0, prefix 1, source prefix 2, tos 3, table 4, protocol 5, scope 6, type 7, flags 8
 *   struct rtattr       4 bytes: length 0, type 2; the value follows, padded to four bytes
 * ```
 *
 * All in the byte order of the machine, which is little-endian wherever {@linkcode Libc.open} succeeds.
 *
 * @module
 */
import { ERRNO, type Libc } from "./libc.ts";

const AF_NETLINK = 16;
/** SOCK_RAW | SOCK_CLOEXEC. */
const SOCKET_KIND = 3 | 0x80000;
const NETLINK_ROUTE = 0;
const MSG_DONTWAIT = 0x40;

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_EXCL = 0x200;
export const NLM_F_DUMP = 0x300;
export const NLM_F_CREATE = 0x400;

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;

export const IFA_ADDRESS = 1;
export const IFA_LOCAL = 2;
export const RTA_OIF = 4;
export const RT_TABLE_MAIN = 254;
export const RT_SCOPE_LINK = 253;

/** Bytes in front of a message's body. */
export const HEADER_BYTES = 16;
/** Bytes in front of the attributes of messages about links. */
export const LINK_BYTES = 16;
/** Bytes in front of the attributes of messages about addresses. */
export const ADDRESS_BYTES = 8;
/** Bytes in front of the attributes of messages about routes. */
export const ROUTE_BYTES = 12;

/** One message, borrowed from what was read. */
export interface NetlinkMessage {
  /** `NLMSG_*` or `RTM_*`. */
  readonly type: number;
  /** The request that it answers. */
  readonly sequence: number;
  /** What follows the header. */
  readonly body: Uint8Array;
}

/** A message without its sequence number, which {@linkcode numberMessage} sets. */
export function encodeMessage(
  type: number,
  flags: number,
  body: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

/** Gives a message the number that its answer will bear. */
export function numberMessage(message: Uint8Array<ArrayBuffer>, sequence: number): void {
  new DataView(message.buffer, message.byteOffset).setUint32(8, sequence, true);
}

/** The messages of one read. A bad length ends them; never throws. */
export function* messagesIn(bytes: Uint8Array): Generator<NetlinkMessage, void> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + HEADER_BYTES <= bytes.length;) {
    const length = view.getUint32(at, true);
    if (length < HEADER_BYTES || length > bytes.length - at) return;
    yield {
      type: view.getUint16(at + 4, true),
      sequence: view.getUint32(at + 8, true),
      body: bytes.subarray(at + HEADER_BYTES, at + length),
    };
    at += length + 3 & ~3;
  }
}

/** The attributes of a message by type, the last of each. A bad length ends them; never throws. */
export function attributesIn(bytes: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = view.getUint16(at, true);
    if (length < 4 || length > bytes.length - at) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += length + 3 & ~3;
  }
  return found;
}

/** Opens a socket to rtnetlink that hears of `groups` (`RTMGRP_*`; 0 for none). A negative errno when the kernel refuses. */
export function openNetlink(libc: Libc, groups = 0): number {
  const { socket, bind, close } = libc.calls;
  const fd = socket(AF_NETLINK, SOCKET_KIND, NETLINK_ROUTE);
  if (fd < 0) return -libc.errno();
  // struct sockaddr_nl: family 0, port 4 (0: the kernel chooses), groups 8.
  const address = new Uint8Array(Uint32Array.of(AF_NETLINK, 0, groups).buffer);
  if (bind(fd, address, address.length) === 0) return fd;
  const errno = libc.errno();
  close(fd);
  return -errno;
}

/** Reads what the kernel has said, without waiting. Bytes read, or a negative errno; never `EINTR`. */
export function receiveNetlink(libc: Libc, fd: number, into: Uint8Array<ArrayBuffer>): number {
  for (;;) {
    const length = libc.calls.recv(fd, into, BigInt(into.length), MSG_DONTWAIT);
    if (length >= 0) return length;
    const errno = libc.errno();
    if (errno !== ERRNO.EINTR) return -errno;
  }
}
