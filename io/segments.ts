/** How long the TCP segments of a listener's connections may be. @module */
import type { SocketAddress } from "../core/mod.ts";
import { DESCRIPTOR_MIN } from "./descriptor_finder.ts";
import { Libc } from "./libc.ts";

const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const IPPROTO_TCP = 6;
const TCP_MAXSEG = 2;
const SOCKADDR_BYTES = 28;
/** Descriptors looked at for a listener, which is among the first of its process. */
const DESCRIPTORS_MAX = 1024;

/**
 * Has the connections that come to a listener of Deno's from now on carry at most so many bytes in a segment, either way: it announces
 * that (TCP_MAXSEG, tcp(7)), and keeps to it. So they pass where a link carries less than the ends do and nothing says so. Returns
 * whether it does: on Linux, with the permission for FFI.
 */
export function limitSegments({ port }: Pick<SocketAddress, "port">, bytes: number): boolean {
  let libc: Libc;
  try {
    libc = Libc.open();
  } catch {
    return false;
  }
  using opened = libc;
  const { getsockname, getsockopt, setsockopt } = opened.calls;
  const name = new Uint8Array(SOCKADDR_BYTES);
  const [value, length] = [new Int32Array(1), new Uint32Array(1)];
  const [valueBytes, lengthBytes] = [new Uint8Array(value.buffer), new Uint8Array(length.buffer)];
  let found = false;
  for (let fd = DESCRIPTOR_MIN; fd < DESCRIPTORS_MAX; fd++) {
    length[0] = SOCKADDR_BYTES;
    if (getsockname(fd, name, lengthBytes) !== 0) continue;
    if (new DataView(name.buffer).getUint16(2) !== port) continue;
    length[0] = value.byteLength;
    const { byteLength } = value;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, valueBytes, lengthBytes) !== 0) continue;
    if (value[0] !== 1) continue;
    value[0] = bytes;
    found = setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, valueBytes, byteLength) === 0 || found;
  }
  return found;
}
