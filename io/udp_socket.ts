/**
 * UDP sockets of libc's, with large buffers and trains joined by the kernel (UDP_GRO): a node's, of both families where the system has
 * both, nothing split (docs/decisions/0006-df-and-the-error-queue.md), with an error queue; and those of a relay.
 *
 * ```text
 *   struct sockaddr_in6     28 bytes: family 0, port 2 (big-endian), flow 4, address 8, scope 24
 *   struct sockaddr_in      16 bytes: family 0, port 2 (big-endian), address 4
 * ```
 *
 * @module
 */
import {
  type Family,
  familyOf,
  formatSocketAddress,
  MorayError,
  parseIp,
  type SocketAddress,
} from "../core/mod.ts";
import { ERRNO, type Libc } from "./libc.ts";

const AF_INET6 = 10;
const AF_INET = 2;
/** SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC. */
const SOCKET_KIND = 2 | 0x800 | 0x80000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPV6_MTU_DISCOVER = 23;
const IPV6_RECVERR = 25;
const IP_MTU_DISCOVER = 10;
const IP_RECVERR = 11;
const IPPROTO_IP = 0;
const SOL_UDP = 17;
const UDP_GRO = 104;
/** What the kernel may hold for us; the default of 208 KiB is 90 packets. */
const BUFFER_BYTES = 7 << 20;
/** `EADDRNOTAVAIL`: no address of this host. */
const EADDRNOTAVAIL = 99;

/** Bytes of the longest socket address. */
export const SOCKADDR_BYTES = 28;

/** What `IP_MTU_DISCOVER` may be. */
export const PMTUDISC = {
  /** The kernel splits what does not fit the first link, and lets routers split the rest. */
  dont: 0,
  /** The kernel splits what does not fit the path as far as it knows that. */
  want: 1,
  /** Nothing is split, here or on the way, and what the kernel has heard of the path does not hold sending back. */
  probe: 3,
} as const;

/** The family of a socket; one for IPv6 carries IPv4 too, in mapped addresses. */
export type SocketFamily = 2 | 10;

/** A bound socket. */
export interface UdpSocket {
  /** Its descriptor, which whoever opened it closes. */
  readonly fd: number;
  /** Its family. */
  readonly family: SocketFamily;
  /** Whether its addresses are IPv6. */
  readonly v6: boolean;
  /** Where it is bound. */
  readonly address: SocketAddress;
}

/** Binds a socket; port 0 lets the system choose. Throws `unsupported` where an option is missing, `portInUse`, or `permission`. */
export function openUdpSocket(libc: Libc, port: number): UdpSocket {
  for (const family of [AF_INET6, AF_INET] as const) {
    const fd = libc.calls.socket(family, SOCKET_KIND, 0);
    if (fd < 0) continue;
    const v6 = family === AF_INET6;
    if (v6) setOption(libc, fd, [IPPROTO_IPV6, IPV6_V6ONLY, 0]);
    const hostname = v6 ? "::" : "0.0.0.0";
    const name = encodeSocketAddress(family, { hostname, port }) ?? new Uint8Array();
    if (libc.calls.bind(fd, name, name.length) === 0) {
      configure(libc, fd);
      return { fd, family, v6, address: { hostname, port: boundPort(libc, fd) } };
    }
    const errno = libc.errno();
    libc.calls.close(fd);
    if (errno === ERRNO.EADDRINUSE) {
      throw new MorayError(
        "portInUse",
        `Cannot bind UDP port ${port}: address is in use; choose another with --wg-port`,
      );
    }
    if (errno === ERRNO.EACCES) {
      throw new MorayError("permission", `Cannot bind UDP port ${port}: permission denied`);
    }
  }
  throw new MorayError("unsupported", "no UDP socket by FFI");
}

/** Options of {@linkcode bindUdpSocket}. */
export interface BindUdpSocketOptions {
  /** What the kernel may hold for us, in bytes. @default 7 MiB */
  readonly bufferBytes?: number;
}

/**
 * Binds a socket to one address, `::` for both families; port 0 lets the system choose. Datagrams may be split, and what became of those
 * before is not told. Throws `unsupported`, `portInUse`, `permission`, or `usage` for an address that this host does not have.
 */
export function bindUdpSocket(
  libc: Libc,
  address: SocketAddress,
  { bufferBytes = BUFFER_BYTES }: BindUdpSocketOptions = {},
): UdpSocket {
  const v6 = familyOf(address.hostname) === 6;
  const family = v6 ? AF_INET6 : AF_INET;
  const fd = libc.calls.socket(family, SOCKET_KIND, 0);
  if (fd < 0) throw new MorayError("unsupported", `no UDP socket of family IPv${v6 ? 6 : 4}`);
  const isBoth = address.hostname === "::";
  if (v6) setOption(libc, fd, [IPPROTO_IPV6, IPV6_V6ONLY, isBoth ? 0 : 1]);
  const name = encodeSocketAddress(family, address) ?? new Uint8Array();
  if (libc.calls.bind(fd, name, name.length) !== 0) {
    const errno = libc.errno();
    libc.calls.close(fd);
    const what = `Cannot bind UDP ${formatSocketAddress(address)}`;
    if (errno === ERRNO.EADDRINUSE) throw new MorayError("portInUse", `${what}: address is in use`);
    if (errno === ERRNO.EACCES) throw new MorayError("permission", `${what}: permission denied`);
    if (errno === EADDRNOTAVAIL) {
      throw new MorayError("usage", `${what}: this host has no such address`);
    }
    throw new MorayError("internal", `${what}: errno ${errno}`);
  }
  setBuffers(libc, fd, bufferBytes);
  setMtuDiscovery(libc, fd, 4, PMTUDISC.dont);
  setMtuDiscovery(libc, fd, 6, PMTUDISC.dont);
  joinTrains(libc, fd);
  return { fd, family, v6, address: { ...address, port: boundPort(libc, fd) } };
}

/** Sets how the kernel treats datagrams of a family that do not fit, a value of {@linkcode PMTUDISC}. */
export function setMtuDiscovery(libc: Libc, fd: number, family: Family, how: number): void {
  setOption(
    libc,
    fd,
    family === 6 ? [IPPROTO_IPV6, IPV6_MTU_DISCOVER, how] : [IPPROTO_IP, IP_MTU_DISCOVER, how],
  );
}

/** A socket address for libc; IPv4 is mapped on an IPv6 socket. `undefined` for an IPv6 address on an IPv4 socket. */
export function encodeSocketAddress(
  family: SocketFamily,
  { hostname, port }: SocketAddress,
): Uint8Array<ArrayBuffer> | undefined {
  const ip = parseIp(hostname);
  if (ip === undefined || (family === AF_INET && ip.length === 16)) return undefined;
  const bytes = new Uint8Array(family === AF_INET6 ? SOCKADDR_BYTES : 16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family, true);
  view.setUint16(2, port);
  if (family === AF_INET) bytes.set(ip, 4);
  else if (ip.length === 16) bytes.set(ip, 8);
  else bytes.set([0xff, 0xff, ...ip], 18);
  return bytes;
}

function configure(libc: Libc, fd: number): void {
  setBuffers(libc, fd, BUFFER_BYTES);
  // The IPv6 options say no on a socket for IPv4, and those for IPv4 hold for the mapped addresses.
  setOption(libc, fd, [IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC.probe]);
  setOption(libc, fd, [IPPROTO_IP, IP_RECVERR, 1]);
  setOption(libc, fd, [IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC.probe]);
  setOption(libc, fd, [IPPROTO_IPV6, IPV6_RECVERR, 1]);
  joinTrains(libc, fd);
}

function setBuffers(libc: Libc, fd: number, bytes: number): void {
  // The forced sizes need CAP_NET_ADMIN; without it the system's maximum holds.
  if (!setOption(libc, fd, [SOL_SOCKET, SO_RCVBUFFORCE, bytes])) {
    setOption(libc, fd, [SOL_SOCKET, SO_RCVBUF, bytes]);
  }
  if (!setOption(libc, fd, [SOL_SOCKET, SO_SNDBUFFORCE, bytes])) {
    setOption(libc, fd, [SOL_SOCKET, SO_SNDBUF, bytes]);
  }
}

function joinTrains(libc: Libc, fd: number): void {
  if (setOption(libc, fd, [SOL_UDP, UDP_GRO, 1])) return;
  libc.calls.close(fd);
  throw new MorayError("unsupported", "this kernel has no UDP_GRO");
}

function setOption(
  libc: Libc,
  fd: number,
  [level, option, value]: readonly [level: number, option: number, value: number],
): boolean {
  const bytes = new Uint8Array(Int32Array.of(value).buffer);
  return libc.calls.setsockopt(fd, level, option, bytes, 4) === 0;
}

function boundPort(libc: Libc, fd: number): number {
  const name = new Uint8Array(SOCKADDR_BYTES);
  const length = new Uint8Array(Int32Array.of(SOCKADDR_BYTES).buffer);
  libc.calls.getsockname(fd, name, length);
  return new DataView(name.buffer).getUint16(2);
}
