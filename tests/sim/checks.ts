/** Safety: what must hold at every step of every world. @module */
import { formatSocketAddress, type SocketAddress } from "../../core/mod.ts";
import { classify } from "../../traversal/mod.ts";
import { ATTACKER } from "./attacker.ts";
import type { Packet } from "./net/packet.ts";

/** Takes what is wrong. */
export type Report = (what: string) => void;

/** Addresses that are remembered for one node and direction, the oldest first to go. */
const ADDRESSES_MAX = 8192;
/** Datagrams that one node may send in one second: guessing is the only reason for more than a few. */
const SENT_PER_SECOND_MAX = 1500;

/** The relays of a world, and whether a node may use them. */
export interface RelayRules {
  /** Their addresses. */
  readonly addresses: ReadonlySet<string>;
  /** The port for their clients. */
  readonly port: number;
  /** Whether the node's administrator wants none. */
  readonly noRelay: boolean;
}

const NO_RELAYS: RelayRules = { addresses: new Set(), port: 0, noRelay: true };

/** What one node has sent and received. */
export class NodeChecks {
  readonly #report: Report;
  readonly #relays: RelayRules;
  readonly #secrets: readonly Uint8Array[];
  /** Who has sent from which address, as this node saw it. */
  readonly #sources = new Map<string, Set<string>>();
  /** Whom its datagrams to an address have reached. */
  readonly #ways = new Map<string, Set<string>>();
  #second = { at: 0, sent: 0 };

  /** Checks of a node. `inner`: addresses inside the tunnel, which no datagram outside may show. */
  constructor(report: Report, inner: readonly Uint8Array[], relays: RelayRules = NO_RELAYS) {
    this.#report = report;
    this.#relays = relays;
    this.#secrets = inner;
  }

  /** A datagram leaves. */
  sent(nowMs: number, bytes: Uint8Array, to: SocketAddress): void {
    const kind = classify(bytes);
    const { addresses, port, noRelay } = this.#relays;
    const toRelay = addresses.has(to.hostname);
    if (kind !== "wireguard" && kind !== "stun") {
      const mayBe = kind === "channelData" && toRelay && to.port === port;
      if (!mayBe) {
        this.#report(`sends what is neither WireGuard nor STUN to ${formatSocketAddress(to)}`);
      }
    }
    if (toRelay && noRelay) this.#report(`sends to a relay, and wants none`);
    if (to.port === 0) this.#report(`sends to port 0 of ${to.hostname}`);
    if (this.#secrets.length > 0 && shows(bytes, this.#secrets)) {
      this.#report("sends an inner address in the clear");
    }
    const second = Math.floor(nowMs / 1000);
    if (second !== this.#second.at) this.#second = { at: second, sent: 0 };
    if (++this.#second.sent === SENT_PER_SECOND_MAX) {
      this.#report(`sends ${SENT_PER_SECOND_MAX} datagrams in a second`);
    }
  }

  /** A datagram arrives. */
  received({ source, sender, relayedFrom }: Packet): void {
    remember(this.#sources, formatSocketAddress(source), sender.name);
    if (relayedFrom !== undefined) {
      remember(this.#sources, formatSocketAddress(relayedFrom), sender.name);
    }
    const { addresses, noRelay } = this.#relays;
    if (noRelay && addresses.has(source.hostname) && sender.name !== ATTACKER) {
      this.#report(`is sent something over a relay by ${sender.name}, and wants none`);
    }
  }

  /** A datagram that was sent to `aim` has reached `receiver`. */
  delivered(aim: SocketAddress, receiver: string): void {
    remember(this.#ways, formatSocketAddress(aim), receiver);
  }

  /** A path to `peer` leads to `remote` from now on, which may name the local end behind the address. */
  moved(peer: string, remote: string): void {
    const [address = ""] = remote.split(" ");
    const senders = this.#sources.get(address);
    if (senders?.has(peer) === true || this.#ways.get(address)?.has(peer) === true) return;
    const who = senders === undefined ? "nobody" : [...senders].join(" and ");
    this.#report(`goes to ${remote} for ${peer}, from where ${who} has sent`);
  }
}

function remember(names: Map<string, Set<string>>, address: string, name: string): void {
  const known = names.get(address);
  if (known !== undefined) {
    known.add(name);
    return;
  }
  if (names.size >= ADDRESSES_MAX) {
    const [oldest] = names.keys();
    if (oldest !== undefined) names.delete(oldest);
  }
  names.set(address, new Set([name]));
}

/** Whether `bytes` has one of `secrets` somewhere. All begin with the same byte: they are addresses of one mesh. */
function shows(bytes: Uint8Array, secrets: readonly Uint8Array[]): boolean {
  const first = secrets[0]?.[0] ?? 0;
  for (let at = bytes.indexOf(first); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (secrets.some((secret) => isAt(bytes, at, secret))) return true;
  }
  return false;
}

function isAt(bytes: Uint8Array, at: number, part: Uint8Array): boolean {
  for (let i = 0; i < part.length; i++) if (bytes[at + i] !== part[i]) return false;
  return true;
}
