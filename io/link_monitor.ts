/**
 * What the kernel tells of its links as it happens (rtnetlink(7), multicast groups), on Linux: addresses that come and go,
 * carriers, default routes.
 *
 * ```text
 *   kernel --notices--> LinkMonitor.read() --which of them matter--> LinkJudge --true--> gather candidates again
 * ```
 *
 * Much of what is told changes nothing: a renewed lease, a refreshed lifetime, a container's interface. So what is known is
 * remembered, and asked for at the start.
 *
 * @module
 */
import { formatIp, MorayError } from "../core/mod.ts";
import { ERRNO, Libc } from "./libc.ts";
import {
  ADDRESS_BYTES,
  attributesIn,
  encodeMessage,
  IFA_ADDRESS,
  IFA_LOCAL,
  LINK_BYTES,
  messagesIn,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  openNetlink,
  receiveNetlink,
  ROUTE_BYTES,
  RT_SCOPE_LINK,
  RT_TABLE_MAIN,
  RTA_OIF,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELROUTE,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWROUTE,
} from "./netlink.ts";

/** RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE. */
const GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

const IFF_UP_RUNNING = 0x1 | 0x40;
const IFLA_IFNAME = 3;
const IFA_FLAGS = 8;
const IFA_F_TENTATIVE = 0x40;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;

const READ_BYTES = 65_536;
/** Reads of one turn, so that a router's changing table does not hold up packets; the rest waits in the kernel. */
const READS_MAX = 16;
/** Reads of the answers at the start. */
const DUMP_READS_MAX = 4096;
/** Links, addresses and routes remembered of each kind; when full, all are forgotten, so that known ones count as new once. */
const KNOWN_MAX = 4096;

/** One message of the kernel that may matter. */
export type LinkNotice =
  /** An interface's state. */
  | {
    readonly kind: "link";
    readonly index: number;
    readonly name: string;
    /** Whether it is up and has a carrier. */
    readonly running: boolean;
    readonly removed: boolean;
  }
  /** An address that more than one link can reach. */
  | {
    readonly kind: "address";
    readonly index: number;
    readonly address: string;
    readonly removed: boolean;
    /** Not usable yet: others are being asked whether they have it. */
    readonly tentative: boolean;
  }
  /** A default route of the main table. */
  | {
    readonly kind: "defaultRoute";
    readonly index: number;
    /** Names the route among others. */
    readonly route: string;
    readonly removed: boolean;
  };

/** Decodes what one read gave: the messages that may matter, and whether an answer ends here. Never throws. */
export function decodeLinkNotices(
  bytes: Uint8Array,
): { readonly notices: readonly LinkNotice[]; readonly done: boolean } {
  const notices: LinkNotice[] = [];
  let done = false;
  for (const { type, body } of messagesIn(bytes)) {
    if (type === NLMSG_DONE) done = true;
    const notice = decodeNotice(type, body);
    if (notice !== undefined) notices.push(notice);
  }
  return { notices, done };
}

function decodeNotice(type: number, body: Uint8Array): LinkNotice | undefined {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      if (body.length < LINK_BYTES) return undefined;
      const name = attributesIn(body.subarray(LINK_BYTES)).get(IFLA_IFNAME) ?? new Uint8Array();
      const flags = view.getUint32(8, true);
      return {
        kind: "link",
        index: view.getInt32(4, true),
        name: new TextDecoder().decode(name).replace(/\0.*$/s, ""),
        running: (flags & IFF_UP_RUNNING) === IFF_UP_RUNNING,
        removed: type === RTM_DELLINK,
      };
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      if (body.length < ADDRESS_BYTES || view.getUint8(3) >= RT_SCOPE_LINK) return undefined;
      const found = attributesIn(body.subarray(ADDRESS_BYTES));
      const address = found.get(IFA_LOCAL) ?? found.get(IFA_ADDRESS);
      if (address === undefined || address.length !== 4 && address.length !== 16) return undefined;
      const flags = u32(found.get(IFA_FLAGS)) ?? view.getUint8(2);
      return {
        kind: "address",
        index: view.getUint32(4, true),
        address: formatIp(address),
        removed: type === RTM_DELADDR,
        tentative: (flags & IFA_F_TENTATIVE) !== 0,
      };
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      if (body.length < ROUTE_BYTES || view.getUint8(1) !== 0) return undefined;
      if (view.getUint8(4) !== RT_TABLE_MAIN) return undefined;
      const found = attributesIn(body.subarray(ROUTE_BYTES));
      const index = u32(found.get(RTA_OIF)) ?? 0;
      const gateway = found.get(RTA_GATEWAY)?.join(".") ?? "";
      const route = [view.getUint8(0), index, gateway, u32(found.get(RTA_PRIORITY)) ?? 0].join(" ");
      return { kind: "defaultRoute", index, route, removed: type === RTM_DELROUTE };
    }
    default:
      return undefined;
  }
}

function u32(bytes: Uint8Array | undefined): number | undefined {
  if (bytes?.length !== 4) return undefined;
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
}

/** Tells which notices mean that packets may go another way now. */
export class LinkJudge {
  readonly #ignores: (name: string) => boolean;
  readonly #links = new Map<number, { readonly name: string; readonly running: boolean }>();
  /** Addresses by interface, and whether each is still tentative. */
  readonly #addresses = new Map<string, boolean>();
  readonly #routes = new Set<string>();

  /** Knows nothing yet. `ignores` tells of an interface's name that it never leads to a peer. */
  constructor(ignores: (name: string) => boolean) {
    this.#ignores = ignores;
  }

  /** Takes a notice. Returns whether it matters. */
  matters(notice: LinkNotice): boolean {
    switch (notice.kind) {
      case "link":
        return this.#link(notice);
      case "address":
        return this.#address(notice);
      case "defaultRoute":
        return this.#route(notice);
    }
  }

  /**
   * A carrier that returns: the addresses may have stayed, but the network behind it may be another. An interface without
   * addresses is a container's end or a bridge's port.
   */
  #link({ index, name, running, removed }: LinkNotice & { readonly kind: "link" }): boolean {
    const known = this.#links.get(index);
    if (removed) {
      this.#links.delete(index);
      return false;
    }
    if (this.#links.size >= KNOWN_MAX) this.#links.clear();
    this.#links.set(index, { name, running });
    if (known?.running !== false || !running || this.#ignores(name)) return false;
    return [...this.#addresses.keys()].some((key) => key.startsWith(`${index} `));
  }

  #address(
    { index, address, removed, tentative }: LinkNotice & { readonly kind: "address" },
  ): boolean {
    const key = `${index} ${address}`;
    const known = this.#addresses.get(key);
    if (removed) this.#addresses.delete(key);
    else {
      if (this.#addresses.size >= KNOWN_MAX) this.#addresses.clear();
      this.#addresses.set(key, tentative);
    }
    if (this.#ignored(index)) return false;
    if (removed) return known === false;
    return !tentative && known !== false;
  }

  #route({ index, route, removed }: LinkNotice & { readonly kind: "defaultRoute" }): boolean {
    const known = this.#routes.has(route);
    if (removed) this.#routes.delete(route);
    else {
      if (this.#routes.size >= KNOWN_MAX) this.#routes.clear();
      this.#routes.add(route);
    }
    return !this.#ignored(index) && (removed || !known);
  }

  #ignored(index: number): boolean {
    const name = this.#links.get(index)?.name;
    return name !== undefined && this.#ignores(name);
  }
}

/** Options of {@linkcode LinkMonitor.open}. */
export interface LinkMonitorOptions {
  /** Tells of an interface's name that it never leads to a peer. */
  readonly ignores: (name: string) => boolean;
}

/** A socket that becomes readable when the kernel has something to tell. */
export class LinkMonitor implements Disposable {
  /** What to poll. */
  readonly fd: number;
  readonly #libc: Libc;
  readonly #judge: LinkJudge;
  readonly #bytes = new Uint8Array(READ_BYTES);

  private constructor(libc: Libc, fd: number, { ignores }: LinkMonitorOptions) {
    this.#libc = libc;
    this.fd = fd;
    this.#judge = new LinkJudge(ignores);
  }

  /** Opens one. Throws `unsupported` where libc cannot be called or the kernel does not tell. */
  static open(options: LinkMonitorOptions): LinkMonitor {
    const libc = Libc.open();
    const fd = openNetlink(libc, GROUPS);
    if (fd < 0) {
      libc[Symbol.dispose]();
      throw new MorayError("unsupported", `the kernel does not tell of its links: errno ${-fd}`);
    }
    const monitor = new LinkMonitor(libc, fd, options);
    monitor.#ask(RTM_GETLINK, LINK_BYTES);
    monitor.#ask(RTM_GETADDR, ADDRESS_BYTES);
    return monitor;
  }

  /** Takes in what was told since the last time. Returns whether packets may go another way now. */
  read(): boolean {
    let matters = false;
    for (let i = 0; i < READS_MAX; i++) {
      const length = this.#receive();
      if (length === 0) break;
      // What was told is lost where it did not fit: it may have mattered.
      if (length < 0) {
        matters = true;
        continue;
      }
      const { notices } = decodeLinkNotices(this.#bytes.subarray(0, length));
      for (const notice of notices) matters = this.#judge.matters(notice) || matters;
    }
    return matters;
  }

  /** Closes the socket. */
  [Symbol.dispose](): void {
    this.#libc.calls.close(this.fd);
    this.#libc[Symbol.dispose]();
  }

  /** Asks for everything of a kind, and remembers the answer. */
  #ask(type: number, bodyBytes: number): void {
    const request = encodeMessage(type, NLM_F_REQUEST | NLM_F_DUMP, new Uint8Array(bodyBytes));
    if (this.#libc.calls.send(this.fd, request, BigInt(request.length), 0) < 0) return;
    for (let i = 0; i < DUMP_READS_MAX; i++) {
      const length = this.#receive();
      if (length <= 0) return;
      const { notices, done } = decodeLinkNotices(this.#bytes.subarray(0, length));
      for (const notice of notices) this.#judge.matters(notice);
      if (done) return;
    }
  }

  /** Bytes read; 0 when there is nothing, -1 when the kernel could not keep what it had to tell. */
  #receive(): number {
    const length = receiveNetlink(this.#libc, this.fd, this.#bytes);
    return length >= 0 ? length : length === -ERRNO.ENOBUFS ? -1 : 0;
  }
}
