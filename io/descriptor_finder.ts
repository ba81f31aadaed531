/** Finds the descriptor beneath a connection of Deno's, which does not tell. @module */
import { canonicalIp, formatIp } from "../core/mod.ts";
import type { Libc } from "./libc.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SOCK_STREAM = 1;
const SOCKADDR_BYTES = 28;
/** Descriptors looked at for a connection. The system gives the lowest free one, so few processes get beyond. */
const DESCRIPTORS_MAX = 16_384;
/** Standard input, output and error are no connection and no epoll of ours. */
export const DESCRIPTOR_MIN = 3;

/** Looks for descriptors by the names of their sockets. */
export class DescriptorFinder {
  readonly #libc: Libc;
  readonly #name = new Uint8Array(SOCKADDR_BYTES);
  readonly #nameView = new DataView(this.#name.buffer);
  readonly #length = new Uint32Array(1);
  readonly #lengthBytes = new Uint8Array(this.#length.buffer);
  readonly #value = new Int32Array(1);
  readonly #valueBytes = new Uint8Array(this.#value.buffer);
  /** Where the last connection was found: the next one is often there again. */
  #lastFound = DESCRIPTOR_MIN;

  /** The library stays the caller's. */
  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** The descriptor of an open TCP connection, maybe with TLS upon it, which stays Deno's; `undefined` if it is not found. */
  find({ localAddr, remoteAddr }: Deno.Conn): number | undefined {
    if (!("hostname" in localAddr) || !("hostname" in remoteAddr)) return undefined;
    const { getsockname, getpeername } = this.#libc.calls;
    for (const fd of outwards(this.#lastFound)) {
      this.#length[0] = SOCKADDR_BYTES;
      if (getsockname(fd, this.#name, this.#lengthBytes) !== 0 || !this.#isNamed(localAddr)) {
        continue;
      }
      this.#length[0] = SOCKADDR_BYTES;
      if (getpeername(fd, this.#name, this.#lengthBytes) !== 0 || !this.#isNamed(remoteAddr)) {
        continue;
      }
      if (!this.#isStream(fd)) continue;
      this.#lastFound = fd;
      return fd;
    }
    return undefined;
  }

  /** Whether the name that libc has just told is this address. */
  #isNamed({ hostname, port }: Deno.NetAddr): boolean {
    if (this.#nameView.getUint16(2) !== port) return false;
    const family = this.#nameView.getUint16(0, true);
    if (family !== AF_INET && family !== AF_INET6) return false;
    const ip = family === AF_INET ? this.#name.subarray(4, 8) : this.#name.subarray(8, 24);
    return formatIp(ip) === canonicalIp(hostname);
  }

  #isStream(fd: number): boolean {
    this.#length[0] = 4;
    const { getsockopt } = this.#libc.calls;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, this.#valueBytes, this.#lengthBytes) === 0 &&
      this.#value[0] === SOCK_STREAM;
  }
}

/** Every descriptor that is looked at, those near `start` first. */
export function* outwards(start: number): Generator<number, void> {
  for (let distance = 0; distance < DESCRIPTORS_MAX; distance++) {
    if (start + distance < DESCRIPTORS_MAX) yield start + distance;
    if (distance > 0 && start - distance >= DESCRIPTOR_MIN) yield start - distance;
  }
}
