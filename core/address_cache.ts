/** Socket addresses by their bytes, so that a packet's address costs no text. @module */
import { formatIp } from "./address.ts";
import type { SocketAddress } from "./address.ts";

/** Addresses remembered, a power of two. One more takes the place of another. */
const SLOTS = 1024;
/** Words of a key: the port with the number of address words above it, then the address. */
const KEY_WORDS = 5;

/**
 * Remembers the {@linkcode SocketAddress} of addresses that come again and again: the same object as long as it is
 * remembered, so that who keeps things by address may compare identities first.
 */
export class AddressCache {
  readonly #keys = new Uint32Array(SLOTS * KEY_WORDS);
  readonly #values: (SocketAddress | undefined)[] = new Array(SLOTS).fill(undefined);

  /** The address whose `words` 32-bit words (1 for IPv4, 4 for IPv6) lie at `at`. An IPv4-mapped one is an IPv4 address. */
  find(view: DataView, at: number, { words, port }: AddressShape): SocketAddress {
    const head = words << 16 | port;
    let hash = Math.imul(head, 0x9e3779b1);
    for (let i = 0; i < words; i++) {
      hash = Math.imul(hash ^ view.getUint32(at + 4 * i), 0x85ebca6b);
      hash ^= hash >>> 15;
    }
    const slot = hash & (SLOTS - 1);
    const known = this.#values[slot];
    if (known !== undefined && this.#matches(slot * KEY_WORDS, view, at, head)) return known;
    const key = slot * KEY_WORDS;
    this.#keys[key] = head;
    for (let i = 0; i < words; i++) this.#keys[key + 1 + i] = view.getUint32(at + 4 * i);
    const ip = new Uint8Array(view.buffer, view.byteOffset + at, 4 * words);
    const value = { hostname: formatIp(ip), port };
    this.#values[slot] = value;
    return value;
  }

  #matches(key: number, view: DataView, at: number, head: number): boolean {
    if (this.#keys[key] !== head) return false;
    for (let i = 0; i < head >>> 16; i++) {
      if (this.#keys[key + 1 + i] !== view.getUint32(at + 4 * i)) return false;
    }
    return true;
  }
}

/** What {@linkcode AddressCache.find} must know besides the address's bytes. */
export interface AddressShape {
  /** 32-bit words of the address: 1 or 4. */
  readonly words: 1 | 4;
  /** The port. */
  readonly port: number;
}
