/** What an allocation asks of its server for its peers: permissions and channels, as its book says. @module */
import { familyOf, type Instant } from "../../core/mod.ts";
import { xorAddressAttribute } from "../stun/codec.ts";
import {
  channelNumberAttribute,
  METHOD_CHANNEL_BIND,
  METHOD_CREATE_PERMISSION,
  XOR_PEER_ADDRESS,
} from "./attributes.ts";
import type { PeerBook, TurnPeer } from "./peer_book.ts";
import { isFatal, type TurnOutcome, type TurnRequest, wordsOf } from "./requests.ts";

/** Addresses in one CreatePermission. */
const PERMISSIONS_PER_REQUEST = 8;

/** What {@linkcode PeerRequests} works with. */
export interface PeerRequestsOptions {
  /** Who needs what, and what became of it. */
  readonly book: PeerBook;
  /** Starts a request that only counts while there is an allocation. */
  readonly ask: (now: Instant, request: TurnRequest) => void;
  /** An answer says that the allocation is not ours, or not there. */
  readonly lose: (reason: string) => void;
}

/** The requests for the peers of one allocation. */
export class PeerRequests {
  readonly #options: PeerRequestsOptions;

  /** Has asked for nothing. */
  constructor(options: PeerRequestsOptions) {
    this.#options = options;
  }

  /** Asks for what is due. */
  askForDue(now: Instant): void {
    const { addresses, peers } = this.#options.book.due(now);
    for (const peer of peers) this.#bind(now, peer);
    for (const family of [4, 6] as const) {
      const own = addresses.filter((hostname) => familyOf(hostname) === family);
      for (let i = 0; i < own.length; i += PERMISSIONS_PER_REQUEST) {
        this.#permit(now, own.slice(i, i + PERMISSIONS_PER_REQUEST));
      }
    }
  }

  #permit(now: Instant, hostnames: readonly string[]): void {
    const { ask, book } = this.#options;
    ask(now, {
      method: METHOD_CREATE_PERMISSION,
      attributes: (id) =>
        hostnames.map((hostname) =>
          xorAddressAttribute(XOR_PEER_ADDRESS, { hostname, port: 0 }, id)
        ),
      onEnd: (now, outcome) => {
        // One address that is refused fails all: each is asked for alone then.
        if (outcome.kind === "error" && hostnames.length > 1 && !isFatal(outcome.code)) {
          for (const hostname of hostnames) this.#permit(now, [hostname]);
          return;
        }
        const answer = this.#judge(outcome);
        for (const hostname of hostnames) book.permitted(now, hostname, answer);
      },
    });
  }

  #bind(now: Instant, peer: TurnPeer): void {
    const { address, channel } = peer;
    if (channel === undefined) return;
    const { ask, book } = this.#options;
    ask(now, {
      method: METHOD_CHANNEL_BIND,
      attributes: (id) => [
        channelNumberAttribute(channel),
        xorAddressAttribute(XOR_PEER_ADDRESS, address, id),
      ],
      onEnd: (now, outcome) => book.bound(now, peer, this.#judge(outcome)),
    });
  }

  /** What an answer about a peer says, and what it says of the allocation. */
  #judge(outcome: TurnOutcome): "granted" | "refused" | "later" {
    if (outcome.kind === "success") return "granted";
    if (outcome.kind === "timedOut") return "later";
    if (!isFatal(outcome.code)) return "refused";
    this.#options.lose(wordsOf(outcome.code, outcome.reason));
    return "later";
  }
}
