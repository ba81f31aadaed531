/**
 * Asks the routers in front of this node to let its peers in: PCP, NAT-PMP and UPnP-IGD.
 *
 * ```text
 *   default gateway, IPv4 --GatewayMapper (PCP, NAT-PMP, UPnP)--+
 *                                                               +--> candidates `portMapped` --> datapath --> Discovery
 *   default gateway, IPv6 --GatewayMapper (PCP: a pinhole) -----+
 * ```
 *
 * Nothing waits for any of it: most networks have nobody who answers. A mapping leads to a peer only if its external address
 * is reachable from outside, so that one with a private address (another NAT in front, RFC 6887 section 18.1) is offered only
 * if a STUN server saw that very address.
 *
 * @module
 */
import {
  type Clock,
  familyOf,
  formatSocketAddress,
  messageOf,
  parseSocketAddress,
  type Rng,
  sameAddress,
  type SocketAddress,
} from "../core/mod.ts";
import { defaultGateways, type Gateway, systemClock, systemRng } from "../io/mod.ts";
import { ANNOUNCE_PORT, isPublicAddress, type PortMapping } from "../traversal/mod.ts";
import { GatewayMapper } from "./gateway_mapper.ts";
import { receiveAll } from "./machine_socket.ts";
import type { Log } from "./options.ts";
import type { CandidateInfo } from "./shared/mod.ts";
import type { PortMappingStatus } from "./status.ts";

/** Options of {@linkcode PortMapper}. */
export interface PortMapperOptions {
  /** Our UDP port of WireGuard. */
  readonly port: number;
  /** Takes the external addresses worth offering to peers, whenever they change; at most every {@linkcode OFFER_MS_MIN}. */
  readonly onOffer: (addresses: readonly SocketAddress[]) => void;
  /** Where the log goes. */
  readonly log: Log;
  /** Where the gateways come from. @default defaultGateways */
  readonly gateways?: () => readonly Gateway[];
  /** Monotonic time. @default systemClock */
  readonly clock?: Clock;
  /** Entropy. @default systemRng */
  readonly rng?: Rng;
}

/** Least time between two offers: a gateway that changes its mind without end must not make us tell everybody. */
export const OFFER_MS_MIN = 2_000;
/** How long a first change waits for a second. */
const GATHER_MS = 20;

/** Keeps the node's port mapped on every gateway. */
export class PortMapper {
  readonly #options: PortMapperOptions;
  readonly #clock: Clock;
  #gateways: GatewayMapper[] = [];
  #listeners: Deno.DatagramConn[] = [];
  #unlisten = new AbortController();
  #reflexive: readonly string[] = [];
  #offered: readonly SocketAddress[] = [];
  #offeredAt = -Infinity;
  #offerTimer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  /** Starts asking, and returns at once. */
  constructor(options: PortMapperOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.linkChanged();
  }

  /** What each gateway does for us. */
  get status(): readonly PortMappingStatus[] {
    return this.#gateways.map((mapper) => mapper.status(this.#isReachable));
  }

  /** The system's interfaces have changed: asks gateways that are new, and forgets those that are gone. */
  linkChanged(): void {
    if (this.#stopped) return;
    const { gateways = defaultGateways } = this.#options;
    const found = gateways();
    const kept: GatewayMapper[] = [];
    for (const mapper of this.#gateways) {
      if (found.some((gateway) => sameGateway(gateway, mapper.gateway))) kept.push(mapper);
      else mapper[Symbol.dispose]();
    }
    kept.forEach((mapper) => mapper.check());
    const known = kept.map(({ gateway }) => gateway);
    const fresh = found.filter((gateway) => !known.some((other) => sameGateway(other, gateway)));
    this.#gateways = [...kept, ...fresh.map((gateway) => this.#ask(gateway))];
    if (fresh.length > 0) this.#listen();
    this.#offer();
  }

  /** These are the node's candidates now; where STUN servers see us tells what a gateway's address is worth. */
  setCandidates(candidates: readonly CandidateInfo[]): void {
    const seen = candidates.filter(({ kind }) => kind === "serverReflexive")
      .map(({ address }) => parseSocketAddress(address)?.hostname)
      .filter((hostname) => hostname !== undefined);
    const hostnames = [...new Set(seen)].sort();
    const gone = this.#reflexive.filter((hostname) => !hostnames.includes(hostname));
    this.#reflexive = hostnames;
    // We are seen elsewhere now: the gateway may have another address.
    const families = new Set(gone.map(familyOf));
    for (const mapper of this.#gateways) {
      if (families.has(mapper.gateway.family)) mapper.check();
    }
    this.#offer();
  }

  /** Deletes every mapping, waits at most `timeoutMs` for the gateways' answers, and closes the sockets. Never rejects. */
  async stop(timeoutMs: number): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#offerTimer);
    this.#closeListeners();
    const mappers = this.#gateways;
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    await Promise.race([Promise.all(mappers.map((mapper) => mapper.release())), late]);
    clearTimeout(timer);
    for (const mapper of mappers) mapper[Symbol.dispose]();
  }

  #ask(gateway: Gateway): GatewayMapper {
    const { port, log, rng = systemRng } = this.#options;
    return new GatewayMapper({
      gateway,
      port,
      log,
      rng,
      clock: this.#clock,
      onChange: () => this.#offer(),
    });
  }

  /** Hears what gateways announce to everybody. Another program may hold the port: then the minutely look has to do. */
  #listen(): void {
    this.#closeListeners();
    const { signal } = this.#unlisten;
    for (const family of new Set(this.#gateways.map(({ gateway }) => gateway.family))) {
      try {
        const socket = Deno.listenDatagram({
          transport: "udp",
          hostname: family === 4 ? "0.0.0.0" : "::",
          port: ANNOUNCE_PORT,
          reuseAddress: true,
        });
        this.#listeners.push(socket);
        receiveAll(socket, signal, (datagram) => {
          for (const mapper of this.#gateways) mapper.handleAnnouncement(datagram);
        }).catch((error) => this.#options.log("debug", `port mapping: ${messageOf(error)}`));
      } catch (error) {
        const message = `port mapping: no announcements of gateways: ${messageOf(error)}`;
        this.#options.log("debug", message);
      }
    }
  }

  #closeListeners(): void {
    this.#unlisten.abort();
    this.#unlisten = new AbortController();
    for (const socket of this.#listeners.splice(0)) socket.close();
  }

  readonly #isReachable = ({ external: { hostname } }: PortMapping): boolean =>
    isPublicAddress(hostname) || this.#reflexive.includes(hostname);

  #addresses(): readonly SocketAddress[] {
    return this.#gateways.map(({ mapping }) => mapping)
      .filter((mapping) => mapping !== undefined && this.#isReachable(mapping))
      .map((mapping) => mapping?.external).filter((address) => address !== undefined);
  }

  #offer(): void {
    if (this.#stopped || this.#offerTimer !== undefined) return;
    const addresses = this.#addresses();
    const same = addresses.length === this.#offered.length &&
      addresses.every((address, i) => sameAddress(address, this.#offered[i] ?? address));
    if (same) return;
    // Two gateways of one router answer within milliseconds of each other.
    const wait = Math.max(GATHER_MS, this.#offeredAt + OFFER_MS_MIN - this.#clock.now());
    this.#offerTimer = setTimeout(() => {
      this.#offerTimer = undefined;
      this.#offerNow();
    }, wait);
    Deno.unrefTimer(this.#offerTimer);
  }

  #offerNow(): void {
    const addresses = this.#addresses();
    const external = addresses.map(formatSocketAddress).join(", ");
    const { log } = this.#options;
    if (external !== "") log("info", "the gateway lets peers in", { external });
    else log("info", "the gateway lets peers in no more");
    this.#offered = addresses;
    this.#offeredAt = this.#clock.now();
    this.#options.onOffer(addresses);
  }
}

function sameGateway(a: Gateway, b: Gateway): boolean {
  return a.address === b.address && a.local === b.local && a.interfaceName === b.interfaceName;
}
