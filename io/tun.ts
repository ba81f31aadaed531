/**
 * A TUN device: an interface of the kernel whose other end is a file descriptor, on Linux.
 *
 * The device is not persistent: the kernel removes it, with its addresses and routes, when the descriptor is closed, however
 * the process ends. Each packet has a virtio header in front, so that one of up to 64 KiB stands for many of a flow.
 *
 * ```text
 *   struct ifreq    40 bytes: name 0 (16 bytes, zero at the end), flags 16
 *   struct iovec    16 bytes: address 0, length 8
 * ```
 *
 * @module
 */
import { MorayError } from "../core/mod.ts";
import { ERRNO, Libc } from "./libc.ts";

const PATH = new TextEncoder().encode("/dev/net/tun\0");
/** O_RDWR | O_NONBLOCK | O_CLOEXEC. */
const OPEN_FLAGS = 2 | 0x800 | 0x80000;
const TUNSETIFF = 0x400454can;
const TUNSETOFFLOAD = 0x400454d0n;
/** IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL: never somebody else's device. */
const DEVICE_FLAGS = 1 | 0x1000 | 0x4000 | 0x8000;
const IFREQ_BYTES = 40;
const IOVEC_BYTES = 16;

/** What the kernel may leave to us (linux/if_tun.h), most first: older ones refuse what they do not know. */
const OFFLOADS = [
  // CSUM, TSO4, TSO6, TSO_ECN, USO4, USO6.
  { bits: 0x01n | 0x02n | 0x04n | 0x08n | 0x20n | 0x40n, udp: true },
  { bits: 0x01n | 0x02n | 0x04n | 0x08n, udp: false },
  { bits: 0x01n, udp: false },
  { bits: 0n, udp: false },
] as const;

/** Longest name of an interface (IFNAMSIZ without the zero). */
export const INTERFACE_NAME_MAX = 15;

/** Whether an interface may have this name: what `dev_valid_name` of the kernel takes, and no pattern (`%d`). */
export function isInterfaceName(name: string): boolean {
  return /^[!-$&-.0-9;-~]{1,15}$/.test(name) && name !== "." && name !== "..";
}

/** An open TUN device. Reading and writing return at once. */
export class TunDevice {
  /** The file descriptor, to be polled. */
  readonly fd: number;
  /** The interface's name. */
  readonly name: string;
  /** The interface's number. */
  readonly index: number;
  /** Whether the kernel joins and takes joined UDP datagrams. */
  readonly udp: boolean;
  readonly #libc: Libc;

  private constructor(
    libc: Libc,
    { fd, name, index, udp }: { fd: number; name: string; index: number; udp: boolean },
  ) {
    this.#libc = libc;
    this.fd = fd;
    this.name = name;
    this.index = index;
    this.udp = udp;
  }

  /**
   * Makes the interface. Throws `usage` (a bad name, or one that is taken), `permission` (neither root nor CAP_NET_ADMIN), or
   * `unsupported` (no FFI, no `/dev/net/tun`).
   */
  static open(name: string): TunDevice {
    const cannot = `Cannot make interface ${name}`;
    if (!isInterfaceName(name)) {
      throw new MorayError(
        "usage",
        `Not a name for an interface: ${name}: use 1 to ${INTERFACE_NAME_MAX} characters`,
      );
    }
    const libc = Libc.open();
    const { open, ioctl, ioctl_value: ioctlValue, if_nametoindex: indexOf, close } = libc.calls;
    const fd = open(PATH, OPEN_FLAGS);
    let errno = fd < 0 ? libc.errno() : 0;
    const request = new Uint8Array(IFREQ_BYTES);
    const { written } = new TextEncoder().encodeInto(name, request);
    new DataView(request.buffer).setUint16(16, DEVICE_FLAGS, true);
    const opened = errno === 0;
    if (opened && ioctl(fd, TUNSETIFF, request) < 0) errno = libc.errno();
    const offload = OFFLOADS.find(({ bits }) =>
      errno === 0 && ioctlValue(fd, TUNSETOFFLOAD, bits) === 0
    );
    const index = errno === 0 ? indexOf(request.slice(0, written + 1)) : 0;
    if (offload !== undefined && index > 0) {
      return new TunDevice(libc, { fd, name, index, udp: offload.udp });
    }
    if (opened) close(fd);
    libc[Symbol.dispose]();
    switch (errno) {
      case ERRNO.EPERM:
      case ERRNO.EACCES:
        throw new MorayError("permission", `${cannot}: it needs root or CAP_NET_ADMIN`);
      case ERRNO.ENOENT:
      case ERRNO.ENODEV:
      case ERRNO.ENXIO:
        throw new MorayError("unsupported", `${cannot}: this system has no /dev/net/tun`);
      case ERRNO.EBUSY:
      case ERRNO.EEXIST:
      case ERRNO.EINVAL:
        throw new MorayError("usage", `${cannot}: the name is taken; choose another with --tun`);
      default:
        throw new MorayError("unsupported", `${cannot}: errno ${errno}`);
    }
  }

  /** Reads one packet; its length, 0 when there is none, or -1 when the interface is gone. */
  read(into: Uint8Array<ArrayBuffer>): number {
    const length = Number(this.#libc.calls.read(this.fd, into, BigInt(into.length)));
    if (length >= 0) return length;
    const errno = this.#libc.errno();
    return errno === ERRNO.EBADFD || errno === ERRNO.ENODEV ? -1 : 0;
  }

  /** Writes one packet, whose parts lie apart; the errno, 0 for success. */
  write(parts: readonly Uint8Array<ArrayBuffer>[]): number {
    const [first] = parts;
    if (first === undefined) return 0;
    const written = parts.length === 1
      ? this.#libc.calls.write(this.fd, first, BigInt(first.length))
      : this.#libc.calls.writev(this.fd, this.#vectors(parts), parts.length);
    return written < 0n ? this.#libc.errno() : 0;
  }

  /** Removes the interface. */
  close(): void {
    this.#libc.calls.close(this.fd);
    this.#libc[Symbol.dispose]();
  }

  #vectors(parts: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(IOVEC_BYTES * parts.length);
    const view = new DataView(bytes.buffer);
    for (const [i, part] of parts.entries()) {
      view.setBigUint64(IOVEC_BYTES * i, this.#libc.addressOf(part), true);
      view.setBigUint64(IOVEC_BYTES * i + 8, BigInt(part.length), true);
    }
    return bytes;
  }
}

/** Fewer ports than this are no choice. */
const PORTS_LEAST = 1024;
/** Ports enough for userspace connections. */
const PORTS_ENOUGH = 16_384;

/**
 * Ports for connections that are not the kernel's, given its ephemeral ones, `low` to `high`: those above, else those below.
 * Where it has taken all of them, the last ones.
 */
export function portsBeside(
  { low, high }: { readonly low: number; readonly high: number },
): { readonly first: number; readonly count: number } {
  const above = 65_535 - high;
  if (above >= PORTS_LEAST) return { first: high + 1, count: above };
  const below = Math.min(low - 1024, PORTS_ENOUGH);
  if (below >= PORTS_LEAST) return { first: low - below, count: below };
  return { first: 65_536 - PORTS_LEAST, count: PORTS_LEAST };
}

/** The ports that the kernel lets connections leave from; what it does by default where it does not say. */
export function kernelPorts(): { readonly low: number; readonly high: number } {
  try {
    const text = Deno.readTextFileSync("/proc/sys/net/ipv4/ip_local_port_range");
    const [low = NaN, high = NaN] = text.trim().split(/\s+/).map(Number);
    if (low > 0 && high >= low && high <= 65_535) return { low, high };
  } catch {
    // No permission to read, or no /proc.
  }
  return { low: 32_768, high: 60_999 };
}
