/** The addresses of this machine's network interfaces, and when they change. @module */
import { canonicalIp, type Family, familyOf } from "../core/mod.ts";
import { defaultRouteInterfaces } from "./gateways.ts";

/** One address of one interface. */
export interface InterfaceAddress {
  /** The interface, as `eth0`. */
  readonly name: string;
  /** Family of `address`. */
  readonly family: Family;
  /** Canonical literal, without a zone. */
  readonly address: string;
  /** A default route leads over the interface. Absent: none does, or the system does not tell. */
  readonly routed?: true;
}

/** Most addresses listed; the rest is left out. A container host has hundreds, and none beyond matters. */
export const INTERFACE_ADDRESSES_MAX = 1024;

/** Returns the addresses of every interface that is up, sorted by name and address. */
export function listInterfaces(): InterfaceAddress[] {
  const found: InterfaceAddress[] = [];
  const routed = defaultRouteInterfaces();
  for (const { name, address } of Deno.networkInterfaces()) {
    const literal = canonicalIp(address.replace(/%.*$/, ""));
    if (literal === undefined) continue;
    const one = { name, family: familyOf(literal), address: literal };
    found.push(routed.has(name) ? { ...one, routed: true } : one);
  }
  return found.sort(byNameAndAddress).slice(0, INTERFACE_ADDRESSES_MAX);
}

/** Options of {@linkcode watchInterfaces}. */
export interface WatchOptions {
  /** Time between two looks, in milliseconds. A look costs about 0.1 ms. */
  readonly intervalMs: number;
  /** Ends the watch. */
  readonly signal: AbortSignal;
  /** Called with the new addresses after a change. */
  readonly onChange: (addresses: readonly InterfaceAddress[]) => void;
  /** Where the addresses come from. @default listInterfaces */
  readonly list?: () => InterfaceAddress[];
}

/**
 * Calls `onChange` whenever an address comes or goes. Returns the addresses at the start.
 *
 * The watch does not keep the process alive. A look that fails (no permission left, no memory) is a look without change.
 */
export function watchInterfaces(
  { intervalMs, signal, onChange, list = listInterfaces }: WatchOptions,
): readonly InterfaceAddress[] {
  const first = list();
  if (signal.aborted) return first;
  let known = JSON.stringify(first);
  const timer = setInterval(() => {
    let addresses: InterfaceAddress[];
    try {
      addresses = list();
    } catch {
      return;
    }
    const now = JSON.stringify(addresses);
    if (now === known) return;
    known = now;
    onChange(addresses);
  }, intervalMs);
  Deno.unrefTimer(timer);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  return first;
}

function byNameAndAddress(a: InterfaceAddress, b: InterfaceAddress): number {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return a.address < b.address ? -1 : a.address > b.address ? 1 : 0;
}
