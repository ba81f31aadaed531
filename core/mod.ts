/**
 * The words that every module shares: instants, addresses, machines, bytes, errors.
 *
 * ```ts
 * import { formatSocketAddress, parseSocketAddress } from "./mod.ts";
 *
 * const address = parseSocketAddress("[2001:DB8::1]:51820");
 * console.log(address && formatSocketAddress(address)); // [2001:db8::1]:51820
 * ```
 *
 * @module
 */
export * from "./address.ts";
export * from "./address_cache.ts";
export * from "./bytes.ts";
export * from "./error.ts";
export * from "./machine.ts";
