/**
 * Whose request it is, where proxies stand in front of Discovery. For limits and logs only: no endpoint is ever taken from here.
 *
 * ```text
 *   socket: 10.0.0.2 (trusted) <- X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.0.0.3 (trusted)
 *                                                           '-- the client: the rightmost address that is not trusted
 * ```
 *
 * What stands left of that address is the client's own word. A proxy that adds to one header hands the other through as it came, so
 * two headers that disagree are believed in neither.
 *
 * @module
 */
import { canonicalIp, type Cidr, cidrContains, parseIp } from "../../core/mod.ts";

/** Addresses of one header that are looked at, from the right. A chain of proxies is shorter. */
export const HOPS_MAX = 16;
/** Length of a header that is looked at. */
const HEADER_CHARS_MAX = 4096;

/** Finds out whose requests are. */
export class ClientAddresses {
  readonly #trusted: readonly Cidr[];
  #disagreed = 0;

  /** `trusted`: where proxies stand whose headers are believed. */
  constructor(trusted: readonly Cidr[]) {
    this.#trusted = trusted;
  }

  /** Requests of trusted proxies whose headers contradicted each other. */
  get disagreed(): number {
    return this.#disagreed;
  }

  /** The client's address; `socket` is the canonical one that the connection came from. */
  of(headers: Headers, socket: string): string {
    if (!this.#trusts(socket)) return socket;
    const list = headers.get("x-forwarded-for");
    const forwarded = headers.get("forwarded");
    if (list === null && forwarded === null) return socket;
    const byList = list === null ? undefined : this.#walk(split(list, ","), socket);
    const byForwarded = forwarded === null
      ? undefined
      : this.#walk(split(forwarded, ",").map(forOf), socket);
    if (byList !== undefined && byForwarded !== undefined && byList !== byForwarded) {
      this.#disagreed++;
      return socket;
    }
    return byList ?? byForwarded ?? socket;
  }

  /** Goes from proxy to proxy as long as each is trusted, and stays at the last one where the next is no address. */
  #walk(hops: readonly string[], socket: string): string {
    let client = socket;
    for (const hop of hops.slice(-HOPS_MAX).reverse()) {
      if (!this.#trusts(client)) break;
      const next = addressOf(hop.trim());
      if (next === undefined) break;
      client = next;
    }
    return client;
  }

  #trusts(address: string): boolean {
    if (this.#trusted.length === 0) return false;
    const ip = parseIp(address);
    return ip !== undefined && this.#trusted.some((block) => cidrContains(block, ip));
  }
}

/** The value of `for` in an element of Forwarded (RFC 7239 section 4); empty without one. */
function forOf(element: string): string {
  for (const pair of split(element, ";")) {
    const value = /^\s*for\s*=\s*(.*)$/i.exec(pair)?.[1]?.trim();
    if (value === undefined) continue;
    if (!value.startsWith('"')) return value;
    return /^"((?:[^"\\]|\\.)*)"$/.exec(value)?.[1]?.replaceAll(/\\(.)/g, "$1") ?? "";
  }
  return "";
}

/** An address of either header, with or without a port; `undefined` for names, `unknown`, and what is none. */
function addressOf(hop: string): string | undefined {
  const bracketed = /^\[([^\]]*)\](?::[\w.-]+)?$/.exec(hop)?.[1];
  const ipv4 = /^(\d+\.\d+\.\d+\.\d+)(?::[\w.-]+)?$/.exec(hop)?.[1];
  return canonicalIp(bracketed ?? ipv4 ?? hop);
}

/** The parts of a text between separators that stand outside of quotes; nothing of a text that is too long. */
function split(text: string, separator: string): string[] {
  if (text.length > HEADER_CHARS_MAX) return [];
  const parts: string[] = [];
  let quoted = false;
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    if (quoted && text[i] === "\\") i++;
    else if (text[i] === '"') quoted = !quoted;
    else if (text[i] === separator && !quoted) {
      parts.push(text.slice(from, i));
      from = i + 1;
    }
  }
  return [...parts, text.slice(from)];
}
