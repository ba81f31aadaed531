/**
 * The node's interface in the kernel, `--tun NAME`: the device with its addresses and routes.
 *
 * ```text
 *   programs -> kernel's stack -> NAME --read--> engine (split, encrypt) ----> sockets
 *   programs <- kernel's stack <- NAME <-write-- engine (decrypt, join) <----- sockets
 * ```
 *
 * @module
 */
import {
  type Cidr,
  equals,
  type ErrorCode,
  formatCidr,
  MorayError,
  parseCidr,
  parseIp,
} from "../../core/mod.ts";
import {
  encodeAddress,
  encodeLinkUp,
  encodeNoLinkLocal,
  encodeRoute,
  encodeSegmentsMax,
  ERRNO,
  kernelPorts,
  portsBeside,
  Rtnetlink,
  TunDevice,
} from "../../io/mod.ts";
import { packetsOfTrain, type TunOptions } from "../../wg/mod.ts";
import { TunRoutes } from "./tun_routes.ts";

/** An address of the interface with the length of its network. */
interface OwnAddress {
  readonly address: Uint8Array;
  readonly prefix: number;
}

/** An interface of the kernel that leads into the tunnel. */
export class TunPort {
  /** The interface's name. */
  readonly name: string;
  /** What to poll for packets of the kernel. */
  readonly fd: number;
  /** How the engine is to serve it. */
  readonly options: TunOptions;
  readonly #device: TunDevice;
  readonly #netlink: Rtnetlink;
  readonly #routes: TunRoutes;
  readonly #counters = new Map<string, number>();
  #addresses: readonly OwnAddress[] = [];
  #gone = false;

  private constructor(device: TunDevice, netlink: Rtnetlink) {
    this.#device = device;
    this.#netlink = netlink;
    this.name = device.name;
    this.fd = device.fd;
    const { first, count } = portsBeside(kernelPorts());
    this.options = { udp: device.udp, firstPort: first, ports: count };
    this.#routes = new TunRoutes((change, block) => this.#changeRoute(change, block));
  }

  /** Makes the interface and brings it up. Throws `usage`, `permission` or `unsupported`, each in one line. */
  static open({ name, mtu }: { readonly name: string; readonly mtu: number }): TunPort {
    using opened = new DisposableStack();
    const device = opened.adopt(TunDevice.open(name), (device) => device.close());
    const netlink = opened.use(new Rtnetlink());
    const { index } = device;
    // Fails where the kernel has no IPv6, and then it is not needed.
    netlink.request(encodeNoLinkLocal(index));
    // A matter of speed only, which kernels before 4.16 refuse.
    netlink.request(encodeSegmentsMax({ index, segments: packetsOfTrain(mtu) }));
    const errno = netlink.request(encodeLinkUp({ index, mtu }));
    if (errno !== 0) throw failure(`Cannot bring interface ${name} up with MTU ${mtu}`, errno);
    const port = new TunPort(device, netlink);
    opened.move();
    return port;
  }

  /** Whether the interface has been removed by somebody else. */
  get gone(): boolean {
    return this.#gone;
  }

  /** Replaces the interface's addresses, given as CIDRs. */
  setAddresses(texts: readonly string[]): void {
    const wanted = texts.map(parseOwn);
    const { index } = this.#device;
    const missing = (list: readonly OwnAddress[]) => ({ address, prefix }: OwnAddress): boolean =>
      !list.some((other) => other.prefix === prefix && equals(other.address, address));
    for (const own of this.#addresses.filter(missing(wanted))) {
      this.#netlink.request(encodeAddress("remove", { index, ...own }));
    }
    const added = wanted.filter(missing(this.#addresses));
    this.#addresses = wanted;
    this.#routes.setConnected(texts.map(parseCidr).filter((network) => network !== undefined));
    for (const own of added) {
      const errno = this.#netlink.request(encodeAddress("add", { index, ...own }));
      if (errno === 0 || errno === ERRNO.EEXIST) continue;
      const what = `Cannot give ${formatCidr(own)} to interface ${this.name}`;
      // What the kernel answers where net.ipv6.conf.default.disable_ipv6 is set; changing addresses was permitted until here.
      if (own.address.length === 16 && errno === ERRNO.EACCES) {
        throw new MorayError("unsupported", `${what}: IPv6 is disabled on this system`);
      }
      throw failure(what, errno);
    }
  }

  /** Leads a peer's blocks to the interface, no others; returns those for which there is no route. */
  setPeer(publicKey: string, blocks: readonly string[]): readonly string[] {
    const parsed = blocks.map(parseCidr).filter((block) => block !== undefined);
    return this.#routes.set(publicKey, parsed).map(formatCidr);
  }

  /** Reads one packet of the kernel; its length, 0 for none. */
  read(into: Uint8Array<ArrayBuffer>): number {
    const length = this.#device.read(into);
    if (length < 0) this.#gone = true;
    return Math.max(0, length);
  }

  /** Writes one packet to the kernel. What it does not take is dropped and counted. */
  write(parts: readonly Uint8Array<ArrayBuffer>[]): void {
    const errno = this.#device.write(parts);
    if (errno === 0) return;
    const full = errno === ERRNO.EAGAIN || errno === ERRNO.ENOBUFS;
    const name = full ? "tunWriteFull" : `tunWriteFailed:${errno}`;
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + 1);
  }

  /** What was dropped, by name. */
  counters(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counters);
  }

  /** Removes the interface with its addresses and routes. */
  close(): void {
    this.#netlink[Symbol.dispose]();
    this.#device.close();
  }

  #changeRoute(change: "add" | "remove", block: Cidr): void {
    const errno = this.#netlink.request(encodeRoute(change, { index: this.#device.index, block }));
    if (errno === 0) return;
    // Whoever took the interface down or its address away has removed routes with it.
    if (change === "remove" && (errno === ERRNO.ESRCH || errno === ERRNO.ENODEV)) return;
    const what = `Cannot lead ${formatCidr(block)} to interface ${this.name}`;
    if (errno === ERRNO.EEXIST) throw new MorayError("usage", `${what}: it has another route`);
    throw failure(what, errno);
  }
}

function parseOwn(text: string): OwnAddress {
  const address = parseIp(text.split("/")[0] ?? "");
  const network = parseCidr(text);
  if (address === undefined || network === undefined) {
    throw new MorayError("config", `${text} is no address`);
  }
  return { address, prefix: network.prefix };
}

function failure(what: string, errno: number): MorayError {
  const code: ErrorCode = errno === ERRNO.EPERM || errno === ERRNO.EACCES
    ? "permission"
    : "unsupported";
  const words = code === "permission"
    ? "permission denied"
    : errno === ERRNO.EINVAL
    ? "the kernel refuses it"
    : `errno ${errno}`;
  return new MorayError(code, `${what}: ${words}`);
}
