/** Names of nodes and meshes, and what they resolve to. @module */
import { assert, canonicalIp } from "../core/mod.ts";

/** Longest DNS label (RFC 1035 section 2.3.4). */
export const LABEL_CHARACTERS_MAX = 63;
/** What stands behind the mesh id in a full name. `internal` is reserved for private use and never delegated. */
const SUFFIX = "internal";
/** Names that a table holds. One more is refused and counted. */
export const NAMES_MAX = 16_384;

/** Returns whether `text` may be a node's name or a mesh id: a DNS label in lower case. */
export function isLabel(text: string): boolean {
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text);
}

/**
 * Makes a label of any text, as a host name: lower case, the part before the first dot, other characters as hyphens.
 * `undefined` if nothing is left.
 */
export function labelOf(text: string): string | undefined {
  const [first = ""] = text.trim().toLowerCase().split(".");
  const label = first
    .normalize("NFKD")
    .replaceAll(/\p{Mark}/gu, "")
    .replaceAll(/[^a-z0-9]+/g, "-")
    .slice(0, LABEL_CHARACTERS_MAX)
    .replaceAll(/^-+|-+$/g, "");
  return label === "" ? undefined : label;
}

/** Returns the full name of a node. */
export function fullNameOf(node: string, mesh: string): string {
  return `${node}.${mesh}.${SUFFIX}`;
}

/** What a name stands for. */
interface Holder {
  readonly address: string;
  readonly ipv4: string | undefined;
}

/**
 * The names of one mesh.
 *
 * A name belongs to the address that had it first until it is deleted: no later node takes it over.
 */
export class NameTable {
  readonly #domain: string | undefined;
  readonly #holders = new Map<string, Holder>();
  /** Names by address, of either family. */
  readonly #names = new Map<string, string>();
  #refused = 0;

  /** A table for a mesh; without one (a plain WireGuard peer) there are no full names. */
  constructor(mesh?: string) {
    assert(mesh === undefined || isLabel(mesh), "a mesh id is a label");
    this.#domain = mesh === undefined ? undefined : `.${mesh}.${SUFFIX}`;
  }

  /** What full names end in, as `reef.internal`; `undefined` where there are none. */
  get domain(): string | undefined {
    return this.#domain?.slice(1);
  }

  /** Names refused by {@linkcode NameTable.set}. */
  get refused(): number {
    return this.#refused;
  }

  /**
   * Gives `node` to `address`, a literal, which may have an IPv4 address besides. Returns `false`, and changes nothing, if it is no label,
   * an address is no literal, another address holds the name, or the table is full ({@linkcode NAMES_MAX}).
   */
  set(node: string, address: string, other?: string | null): boolean {
    const literal = canonicalIp(address);
    const ipv4 = other === undefined || other === null ? undefined : canonicalIp(other);
    const holder = this.#holders.get(node);
    const full = holder === undefined && this.#holders.size >= NAMES_MAX;
    const known = literal !== undefined && (ipv4 !== undefined || (other ?? null) === null);
    if (!isLabel(node) || !known || full || (holder?.address ?? literal) !== literal) {
      this.#refused++;
      return false;
    }
    this.delete(node);
    this.#holders.set(node, { address: literal, ipv4 });
    this.#names.set(literal, node);
    if (ipv4 !== undefined) this.#names.set(ipv4, node);
    return true;
  }

  /** Frees a name. */
  delete(node: string): void {
    const holder = this.#holders.get(node);
    if (holder === undefined) return;
    this.#holders.delete(node);
    for (const address of [holder.address, holder.ipv4]) {
      // Another name may have the address by now.
      if (address !== undefined && this.#names.get(address) === node) this.#names.delete(address);
    }
  }

  /**
   * Resolves an IP literal (itself, in canonical form), `<node>` or `<node>.<mesh>.internal`, in any case, with or
   * without the final dot; `undefined` for any other text.
   */
  resolve(text: string): string | undefined {
    return canonicalIp(text) ?? this.#holderOf(text)?.address;
  }

  /** Every address of a name, as {@linkcode NameTable.resolve} takes it; none for literals and for names of nobody. */
  addressesOf(text: string): readonly string[] {
    const { address, ipv4 } = this.#holderOf(text) ?? {};
    return [address, ipv4].filter((one) => one !== undefined);
  }

  /** The name of the node with an address: a label. */
  nameOf(address: string): string | undefined {
    return this.#names.get(canonicalIp(address) ?? "");
  }

  #holderOf(text: string): Holder | undefined {
    const name = text.toLowerCase().replace(/\.$/, "");
    const domain = this.#domain;
    const node = domain !== undefined && name.endsWith(domain)
      ? name.slice(0, -domain.length)
      : name;
    return this.#holders.get(node);
  }
}
