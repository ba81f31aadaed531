/** What STUN servers vouch for of a node's addresses, until the node is registered with it. Pure. @module */
import { formatSocketAddress, parseBase64, parseSocketAddress } from "../core/mod.ts";
import type { SocketAddress } from "../core/mod.ts";
import type { Observed } from "../discovery/mod.ts";
import type { VouchedEvent } from "./shared/mod.ts";

/** Receipts that are kept, each the last for its address; the oldest goes. Twice as many as servers are asked. */
export const VOUCHERS_MAX = 32;

/** The last receipt for each address. */
export class Vouchers {
  /** By address, in the order in which they came. */
  readonly #receipts = new Map<string, Observed>();

  /** Takes a receipt. */
  handle({ address: text, receipt: base64 }: Pick<VouchedEvent, "address" | "receipt">): void {
    const [address, receipt] = [parseSocketAddress(text), parseBase64(base64)];
    if (address === undefined || receipt === undefined) return;
    this.#receipts.delete(text);
    this.#receipts.set(text, { address, receipt });
    const [oldest] = this.#receipts.keys();
    if (this.#receipts.size > VOUCHERS_MAX && oldest !== undefined) this.#receipts.delete(oldest);
  }

  /** What there is for these addresses. Discovery judges whether it is still good. */
  of(addresses: readonly SocketAddress[]): readonly Observed[] {
    return addresses.map((address) => this.#receipts.get(formatSocketAddress(address)))
      .filter((receipt) => receipt !== undefined);
  }
}
