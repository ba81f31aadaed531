/**
 * STUN for members: what a node answers on its WireGuard socket, so that its peers learn the mapping that it sees.
 *
 * ```text
 *   peer  -- USERNAME of the pair, MESSAGE-INTEGRITY -->  node
 *   peer  <-- XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY ----  node
 * ```
 *
 * Anybody else gets silence, which is counted: the node is no reflector, and does not show that it is there. An answer is
 * never longer than its request; each peer has a limit.
 *
 * @module
 */
import { type Datagram, type Instant, type Transmit } from "../../core/mod.ts";
import { SourceLimiter } from "./binding_server.ts";
import {
  decodeStun,
  encodeXorAddress,
  findAttribute,
  METHOD_BINDING,
  unknownRequired,
  USERNAME,
  XOR_MAPPED_ADDRESS,
} from "./codec.ts";
import { signStun, type StunCredentials, verifyStun } from "./integrity.ts";

/** Members that are known at most; one more is refused. As many as an engine has peers. */
export const MEMBERS_MAX = 16_384;
/** What each member may ask: a node asks twice a minute, and a few times more when its link changes. */
const LIMIT = { ratePerSecond: 2, burst: 10, sourcesMax: MEMBERS_MAX } as const;
/** Longest username that is looked up. */
const USERNAME_BYTES_MAX = 64;

/** What was done with the requests so far. */
export interface MemberStunCounters {
  /** Requests answered. */
  readonly memberStunAnswers: number;
  /** Requests that nobody of ours has signed. */
  readonly memberStunRefused: number;
  /** Requests of members over their limit. */
  readonly memberStunLimited: number;
}

/** Answers the members of a mesh. */
export class MemberStun {
  readonly #byName = new Map<string, StunCredentials>();
  readonly #nameOf = new Map<string, string>();
  readonly #limiter = new SourceLimiter(LIMIT);
  readonly #counters = { memberStunAnswers: 0, memberStunRefused: 0, memberStunLimited: 0 };

  /** What it has done so far. */
  get counters(): MemberStunCounters {
    return this.#counters;
  }

  /** Answers whoever signs with these credentials, in place of those that `member` had. Returns false if there are too many members. */
  set(member: string, credentials: StunCredentials): boolean {
    this.delete(member);
    if (this.#byName.size >= MEMBERS_MAX) return false;
    this.#byName.set(credentials.username, credentials);
    this.#nameOf.set(member, credentials.username);
    return true;
  }

  /** Answers a member no more. */
  delete(member: string): void {
    const name = this.#nameOf.get(member);
    if (name === undefined) return;
    this.#nameOf.delete(member);
    this.#byName.delete(name);
  }

  /** The answer to a member's Binding request; `undefined` for anything else, which gets silence. */
  answer(now: Instant, { source, payload }: Datagram): Transmit | undefined {
    const request = decodeStun(payload);
    if (request?.class !== "request" || request.method !== METHOD_BINDING) return this.#refuse();
    const username = findAttribute(request, USERNAME);
    if (username === undefined || username.length > USERNAME_BYTES_MAX) return this.#refuse();
    const credentials = this.#byName.get(new TextDecoder().decode(username));
    if (credentials === undefined) return this.#refuse();
    const signed = verifyStun(payload, request, credentials.password);
    if (signed === undefined || unknownRequired(signed).length > 0) return this.#refuse();
    // Counted by name and not by address: whoever repeats a member's request from elsewhere uses up its share, nobody else's.
    if (!this.#limiter.admit(now, credentials.username)) {
      this.#counters.memberStunLimited++;
      return undefined;
    }
    const value = encodeXorAddress(source, request.transactionId);
    if (value === undefined || source.port === 0) return this.#refuse();
    const answer = signStun(
      {
        class: "success",
        method: METHOD_BINDING,
        transactionId: request.transactionId,
        attributes: [{ type: XOR_MAPPED_ADDRESS, value }],
      },
      credentials.password,
      { fingerprint: true },
    );
    if (answer.length > payload.length) return this.#refuse();
    this.#counters.memberStunAnswers++;
    return { destination: source, payload: answer };
  }

  #refuse(): undefined {
    this.#counters.memberStunRefused++;
  }
}
