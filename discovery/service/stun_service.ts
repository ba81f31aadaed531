/**
 * All STUN ports of a server: the ones to listen on, and around each of those with an alternate address the further
 * sockets that RFC 5780 needs.
 *
 * @module
 */
import {
  familyOf,
  formatHex,
  formatSocketAddress,
  MorayError,
  type SocketAddress,
} from "../../core/mod.ts";
import {
  type BehaviourAddresses,
  behaviourSockets,
  type SignedRequest,
  SourceLimiter,
  type Voucher,
} from "../../traversal/mod.ts";
import type { Log } from "../log.ts";
import { listenError } from "./listen_error.ts";
import type { StunCredentialIssuer } from "./stun_credentials.ts";
import { FastStun } from "./fast_stun.ts";
import { PortableStun } from "./portable_stun.ts";
import type { StunPort, StunPortOptions, StunPorts } from "./stun_port.ts";
import { AnsweredRequests, type StunReceipts } from "./stun_receipts.ts";

/** Options of {@linkcode StunService.open}. */
export interface StunServiceOptions {
  /** Where to listen. `::` serves both families; `0.0.0.0` beside it with the same port is the same one. */
  readonly listen: readonly SocketAddress[];
  /** Second addresses, at most one per family, each for the first listener of its family that has an address of its own. */
  readonly alternates: readonly SocketAddress[];
  /** Whose requests may ask for answers from other sockets. */
  readonly issuer: StunCredentialIssuer;
  /** Vouches for where nodes are seen. */
  readonly receipts: StunReceipts;
  /** What its sockets are of. @default fast where the system has that, portable elsewhere, with the reason in the log */
  readonly driver?: StunPorts["name"];
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Where the log goes. */
  readonly log: Log;
}

/** What a service is made of. For {@linkcode StunService.of}. */
export interface StunParts {
  /** What opened its ports, and closes them. */
  readonly ports: StunPorts;
  /** The ports. */
  readonly listeners: readonly StunPort[];
  /** Those that clients are told of. */
  readonly advertised: readonly SocketAddress[];
  /** Which requests were answered to where. */
  readonly answered: AnsweredRequests;
}

/** The STUN side of a server. */
export class StunService {
  /** Every address listened on. */
  readonly addresses: readonly SocketAddress[];
  /** Those that clients are told of: what was asked for, without the crossings of hosts and ports. */
  readonly advertised: readonly SocketAddress[];
  /** Resolves or rejects when the first listener ends; never where there is none. */
  readonly ended: Promise<void>;
  /** What its sockets are of. */
  readonly driver: StunPorts["name"];
  readonly #ports: StunPorts;
  readonly #listeners: readonly StunPort[];
  readonly #answered: AnsweredRequests;

  private constructor({ ports, listeners, advertised, answered }: StunParts) {
    this.#ports = ports;
    this.driver = ports.name;
    this.#listeners = listeners;
    this.#answered = answered;
    this.addresses = listeners.map(({ address }) => address);
    this.advertised = advertised;
    this.ended = Promise.race(listeners.map(({ finished }) => finished));
    // Whoever does not ask must not be ended by the answer.
    this.ended.catch(() => {});
  }

  /** Opens every port. Rejects with `portInUse`, `permission` or `usage`; nothing stays open then. */
  static async open(options: StunServiceOptions): Promise<StunService> {
    const opened: StunPort[] = [];
    const ports = portsOf(options);
    try {
      return new Opening(options, { ports, opened }).run();
    } catch (error) {
      await ports.close();
      throw error;
    }
  }

  /** Makes the service of listeners that are open. For {@linkcode StunService.open}. */
  static of(parts: StunParts): StunService {
    return new StunService(parts);
  }

  /** What all ports have done, by name; only what is not zero. */
  counters(): Record<string, number> {
    const { elsewhere, forgotten } = this.#answered;
    const sums: Record<string, number> = {
      ...(elsewhere > 0 && { stunElsewhere: elsewhere }),
      ...(forgotten > 0 && { stunTransactionsForgotten: forgotten }),
    };
    for (const { counters } of this.#listeners) {
      for (const [name, value] of Object.entries(counters)) {
        if (value > 0) sums[name] = (sums[name] ?? 0) + value;
      }
    }
    return sums;
  }

  /** Closes every port. Safe to call twice. */
  async close(): Promise<void> {
    await this.#ports.close();
  }
}

/** The fast sockets, or the portable ones where there are none. */
function portsOf({ driver, listen, log }: StunServiceOptions): StunPorts {
  if (driver === "portable" || listen.length === 0) return new PortableStun();
  try {
    return FastStun.open();
  } catch (error) {
    const isMissing = error instanceof MorayError && error.code === "unsupported";
    if (!isMissing || driver === "fast") throw error;
    log("info", `STUN goes through portable sockets: ${error.message}`);
    return new PortableStun();
  }
}

function isInUse(error: unknown): boolean {
  return error instanceof Deno.errors.AddrInUse ||
    error instanceof MorayError && error.code === "portInUse";
}

/** The ports of one service while they are being opened. */
class Opening {
  readonly #options: StunServiceOptions;
  readonly #ports: StunPorts;
  readonly #opened: StunPort[];
  readonly #bySocket = new Map<string, StunPort>();
  readonly #listenerOptions: Omit<StunPortOptions, "addresses">;
  readonly #answered = new AnsweredRequests();

  constructor(
    options: StunServiceOptions,
    { ports, opened }: { readonly ports: StunPorts; readonly opened: StunPort[] },
  ) {
    this.#ports = ports;
    const { issuer, now, log } = options;
    this.#options = options;
    this.#opened = opened;
    this.#listenerOptions = {
      limiter: new SourceLimiter(),
      passwordOf: (username) => issuer.passwordOf(username, now()),
      vouch: (request) => this.#vouch(request),
      socketOf: (address) => this.#bySocket.get(formatSocketAddress(address)),
      now,
      log,
    };
  }

  run(): StunService {
    const { listen, alternates } = this.#options;
    const pairs = pairUp(listen, alternates);
    // Dual-stack sockets first: where one covers IPv4, its IPv4 twin finds the port taken by ourselves.
    const isTwin = ({ hostname, port }: SocketAddress): boolean =>
      hostname === "0.0.0.0" && listen.some((a) => a.hostname === "::" && a.port === port);
    const ordered = [...listen.filter((a) => !isTwin(a)), ...listen.filter(isTwin)];
    const advertised: SocketAddress[] = [];
    for (const address of ordered) {
      const alternate = pairs.get(address);
      if (alternate !== undefined) advertised.push(...this.#openPair(address, alternate));
      else {
        const listener = this.#open(address, { isTwin: isTwin(address) });
        if (listener !== undefined) advertised.push(listener.address);
      }
    }
    const [ports, listeners] = [this.#ports, this.#opened];
    return StunService.of({ ports, listeners, advertised, answered: this.#answered });
  }

  #vouch({ username, source, transactionId }: SignedRequest): Voucher {
    const { issuer, receipts, now } = this.#options;
    const holder = issuer.holderOf(username);
    if (holder === undefined) return { kind: "none" };
    const transaction = `${username} ${formatHex(transactionId)}`;
    if (!this.#answered.admit(now(), transaction, source)) return { kind: "silence" };
    const receipt = receipts.make(holder, source, now());
    return receipt === undefined ? { kind: "none" } : { kind: "receipt", receipt };
  }

  /** Opens both addresses, then their combinations. */
  #openPair(listen: SocketAddress, alternate: SocketAddress): SocketAddress[] {
    const known: { pair?: BehaviourAddresses } = {};
    const options = { addresses: (): BehaviourAddresses | undefined => known.pair };
    const first = this.#open(listen, options);
    const second = this.#open(alternate, options);
    if (first === undefined || second === undefined) return [];
    const pair = { primary: first.address, alternate: second.address };
    for (const socket of behaviourSockets(pair)) {
      if (!this.#bySocket.has(formatSocketAddress(socket))) this.#open(socket, options);
    }
    known.pair = pair;
    return [pair.primary, pair.alternate];
  }

  /** Opens one port; `undefined` for a twin that is covered already. */
  #open(
    address: SocketAddress,
    { isTwin = false, addresses = () => undefined }: {
      isTwin?: boolean;
      addresses?: StunPortOptions["addresses"];
    },
  ): StunPort | undefined {
    try {
      const listener = this.#ports.open(address, { ...this.#listenerOptions, addresses });
      this.#opened.push(listener);
      this.#bySocket.set(formatSocketAddress(listener.address), listener);
      return listener;
    } catch (error) {
      if (isInUse(error) && address.port !== 0 && isTwin) return undefined;
      throw listenError(error, `Cannot listen on ${formatSocketAddress(address)} for STUN`);
    }
  }
}

/** Which listener each alternate address belongs to. Throws `usage` for one that has none. */
function pairUp(
  listen: readonly SocketAddress[],
  alternates: readonly SocketAddress[],
): Map<SocketAddress, SocketAddress> {
  const pairs = new Map<SocketAddress, SocketAddress>();
  for (const alternate of alternates) {
    const text = formatSocketAddress(alternate);
    const family = familyOf(alternate.hostname);
    const primary = listen.find((address) =>
      familyOf(address.hostname) === family && !isWildcard(address.hostname) && !pairs.has(address)
    );
    if (primary === undefined || isWildcard(alternate.hostname)) {
      throw new MorayError(
        "usage",
        `Cannot use ${text} as alternate STUN address: it and a STUN listener of its family need IP addresses of their own, for example --stun-listen 203.0.113.7:3478`,
      );
    }
    if (alternate.port === primary.port && alternate.port !== 0) {
      throw new MorayError(
        "usage",
        `Cannot use ${text} as alternate STUN address: it needs another port than ${
          formatSocketAddress(primary)
        }`,
      );
    }
    pairs.set(primary, alternate);
  }
  return pairs;
}

function isWildcard(hostname: string): boolean {
  return hostname === "0.0.0.0" || hostname === "::";
}
