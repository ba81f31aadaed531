/**
 * A node's way to IPv4 from a network that has only IPv6: candidates and STUN servers with an IPv4 address get the addresses that
 * NAT64 makes of it beside their own.
 *
 * ```text
 *   MeshControl --setCandidates, punch, setStunServers--> Nat64.translate --the same with more addresses--> datapath
 *                                                            ^
 *                        resolver: what is ipv4only.arpa? ---+  at the start and after every change of links
 * ```
 *
 * On a machine with a way out over IPv4 nobody is asked, and nothing is added. A prefix that the routers announce (RFC 8781) and the
 * resolver does not know is not heard: reading announcements takes privileges, or waiting for the next one, minutes away.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { formatIp, messageOf } from "../core/mod.ts";
import { isIpv6Only } from "../io/mod.ts";
import {
  findNat64Prefixes,
  NAT64_NAME,
  type Nat64Prefix,
  synthesizeEndpoints,
} from "../traversal/mod.ts";
import type { Log } from "./options.ts";
import type {
  CommandBody,
  RelayInfo,
  RelayTransportInfo,
  SetRelaysCommand,
  SetStunServersCommand,
} from "./shared/mod.ts";

/** Options of {@linkcode Nat64}. */
export interface Nat64Options {
  /** Where the log goes. */
  readonly log: Log;
  /** Called when the prefixes are others than before: what was told the datapath of peers is to be told again. */
  readonly onChange: () => void;
  /** Sends a command to the datapath. */
  readonly send: (command: CommandBody) => void;
  /** Whether the machine has no way out over IPv4. @default isIpv6Only */
  readonly isNeeded?: () => boolean;
  /** The IPv6 addresses of a name. @default the system's resolver */
  readonly resolve?: (name: string) => Promise<readonly string[]>;
}

/** Knows the NAT64 prefixes of the network that this machine is in. */
export class Nat64 {
  readonly #options: Nat64Options;
  #prefixes: readonly Nat64Prefix[] = [];
  /** The last list of STUN servers as it was given. */
  #stun: SetStunServersCommand | undefined;
  #relays: SetRelaysCommand | undefined;
  #asking: Promise<void> | undefined;

  /** Knows no prefix until {@linkcode Nat64.detect}. */
  constructor(options: Nat64Options) {
    this.#options = options;
  }

  /** The prefixes, as `address/length`. */
  get prefixes(): readonly string[] {
    return this.#prefixes.map(({ address, length }) => `${formatIp(address)}/${length}`);
  }

  /** Looks for prefixes. One look at a time; never rejects. */
  detect(): Promise<void> {
    this.#asking ??= this.#detect().finally(() => this.#asking = undefined);
    return this.#asking;
  }

  /** As {@linkcode Nat64.detect}, but resolves after `ms` milliseconds at the latest; the look goes on. */
  async detectWithin(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    await Promise.race([this.detect(), promise]);
    clearTimeout(timer);
  }

  /** Adds to a command what reaches its IPv4 addresses from here. */
  translate(command: CommandBody): CommandBody {
    switch (command.kind) {
      case "setCandidates":
      case "punch":
        return { ...command, candidates: this.#withMore(command.candidates) };
      case "setStunServers":
        this.#stun = command;
        return { ...command, servers: this.#withMore(command.servers) };
      case "setRelays":
        this.#relays = command;
        return { ...command, relays: command.relays.map((relay) => this.#relayWithMore(relay)) };
      default:
        return command;
    }
  }

  async #detect(): Promise<void> {
    const { isNeeded = isIpv6Only, resolve = resolveIpv6, log, onChange, send } = this.#options;
    let addresses: readonly string[] = [];
    try {
      if (isNeeded()) addresses = await resolve(NAT64_NAME);
    } catch (error) {
      log("debug", `no NAT64: ${messageOf(error)}`);
    }
    const before = this.prefixes.join();
    this.#prefixes = findNat64Prefixes(addresses);
    const now = this.prefixes.join();
    if (now === before) return;
    if (now === "") log("info", "IPv4 is no longer reached through NAT64");
    else log("info", "IPv4 is reached through NAT64", { prefix: now });
    if (this.#stun !== undefined) send(this.#stun);
    if (this.#relays !== undefined) send(this.#relays);
    onChange();
  }

  #relayWithMore(relay: RelayInfo): RelayInfo {
    const transports = relay.transports.flatMap((one): readonly RelayTransportInfo[] =>
      one.kind === "websocket" ? [one] : this.#withMore([one])
    );
    return { ...relay, transports };
  }

  #withMore<T extends { readonly address: string }>(list: readonly T[]): readonly T[] {
    if (this.#prefixes.length === 0) return list;
    const known = new Set(list.map(({ address }) => address));
    const more = list.flatMap((one) =>
      synthesizeEndpoints(this.#prefixes, one.address)
        .filter((address) => !known.has(address))
        .map((address) => ({ ...one, address }))
    );
    return [...list, ...more];
  }
}

async function resolveIpv6(name: string): Promise<readonly string[]> {
  const found = await lookup(name, { all: true, family: 6 });
  return found.map(({ address }) => address);
}
