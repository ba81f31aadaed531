/**
 * Receipts for the addresses where Discovery's STUN listeners see nodes: what makes an endpoint an observed one.
 *
 * ```text
 *   node --STUN request, signed with credentials for its key and mesh--> listener
 *   node <--------- its address, signed, with a receipt ---------------- listener      at that address, and nowhere else
 *   node --registration with the receipt, its key proven--> Discovery: holder, address, age and MAC fit? observed
 *
 *   receipt   unix seconds, 4 bytes | HMAC-SHA256(secret, holder, unix seconds, address, port), its first 16 bytes
 * ```
 *
 * Nothing is kept per node: the secret is in the store, so that one replica's receipts are good at the others. A request is answered
 * to one address only, so that whoever repeats it from elsewhere gets nothing that the node would take for its own address.
 *
 * @module
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { formatSocketAddress, parseIp, type SocketAddress } from "../../core/mod.ts";
import type { NodeKey } from "../store/store.ts";
import { stunHolder } from "./stun_credentials.ts";

/** Bytes of a receipt. */
export const RECEIPT_BYTES = 20;
/** Age from which on a receipt counts no more: a node that is there gets a new one several times within it. */
export const RECEIPT_AGE_MAX_MS = 300_000;
/** How far a receipt's time may be ahead: a machine's clock may be set back. */
const AHEAD_MAX_MS = 5_000;
const TIME_BYTES = 4;
/** Transactions that are remembered; the oldest goes. Longer than the signed requests of a second or two on a busy server. */
export const TRANSACTIONS_MAX = 65_536;
/** How long: a STUN client repeats a request for less (RFC 8489 section 6.2.1). */
const TRANSACTION_MS = 40_000;

/** An address and what vouches for it. */
export interface Observation {
  /** Where the node was seen. */
  readonly address: SocketAddress;
  /** The receipt. */
  readonly receipt: Uint8Array;
}

/** Makes and checks receipts. */
export class StunReceipts {
  readonly #secret: Uint8Array;

  /** `secret`: at least 32 random bytes. */
  constructor(secret: Uint8Array) {
    if (secret.length < 32) throw new RangeError(`Secret of ${secret.length} bytes`);
    this.#secret = createHmac("sha256", secret).update("moray stun receipt 1").digest();
  }

  /** A receipt for a holder who was seen at an address; `undefined` for an address that is none. `now` is unix milliseconds. */
  make(holder: Uint8Array, seen: SocketAddress, now: number): Uint8Array | undefined {
    const time = new Uint8Array(TIME_BYTES);
    new DataView(time.buffer).setUint32(0, Math.floor(now / 1000));
    const mac = this.#mac(holder, seen, time);
    return mac && Uint8Array.of(...time, ...mac);
  }

  /** Whether Discovery saw a node at an address lately. */
  vouchesFor({ address, receipt }: Observation, node: NodeKey, now: number): boolean {
    if (receipt.length !== RECEIPT_BYTES) return false;
    const time = receipt.subarray(0, TIME_BYTES);
    const madeAt = new DataView(receipt.buffer, receipt.byteOffset).getUint32(0) * 1000;
    if (now - madeAt >= RECEIPT_AGE_MAX_MS || madeAt - now > AHEAD_MAX_MS) return false;
    const mac = this.#mac(stunHolder(node), address, time);
    return mac !== undefined && timingSafeEqual(mac, receipt.subarray(TIME_BYTES));
  }

  #mac(
    holder: Uint8Array,
    { hostname, port }: SocketAddress,
    time: Uint8Array,
  ): Uint8Array | undefined {
    const ip = parseIp(hostname);
    if (ip === undefined) return undefined;
    const hmac = createHmac("sha256", this.#secret).update(holder).update(time).update(ip);
    return hmac.update(Uint8Array.of(port >> 8, port & 0xff)).digest().subarray(0, 16);
  }
}

/** Remembers to which address each signed request was answered. */
export class AnsweredRequests {
  /** By user and transaction, in the order in which they came. */
  readonly #sources = new Map<string, { readonly source: string; readonly at: number }>();
  #elsewhere = 0;
  #forgotten = 0;

  /** Requests that came again from another address, and got nothing. */
  get elsewhere(): number {
    return this.#elsewhere;
  }

  /** Requests that were forgotten before their time to make room. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** Whether a request may be answered to where it came from. `now` is unix milliseconds. */
  admit(now: number, transaction: string, from: SocketAddress): boolean {
    const source = formatSocketAddress(from);
    const known = this.#sources.get(transaction);
    if (known !== undefined && now - known.at < TRANSACTION_MS) {
      if (known.source !== source) this.#elsewhere++;
      return known.source === source;
    }
    this.#sources.delete(transaction);
    this.#prune(now);
    this.#sources.set(transaction, { source, at: now });
    return true;
  }

  #prune(now: number): void {
    for (const [transaction, { at }] of this.#sources) {
      const ended = now - at >= TRANSACTION_MS;
      if (!ended && this.#sources.size < TRANSACTIONS_MAX) return;
      if (!ended) this.#forgotten++;
      this.#sources.delete(transaction);
    }
  }
}
