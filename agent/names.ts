/** Names of nodes and meshes, and what they resolve to. @module */
import { assert, canonicalIp } from "../core/mod.ts";

/** Longest DNS label (RFC 1035 section 2.3.4). */
const LABEL_CHARACTERS_MAX = 63;
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

/**
 * The names of one mesh.
 *
 * A name belongs to the address that had it first until it is deleted: no later node takes it over.
 */
export class NameTable {
  readonly #domain: string | undefined;
  readonly #addresses = new Map<string, string>();
  #refused = 0;

  /** A table for a mesh; without one (a plain WireGuard peer) there are no full names. */
  constructor(mesh?: string) {
    assert(mesh === undefined || isLabel(mesh), "a mesh id is a label");
    this.#domain = mesh === undefined ? undefined : `.${mesh}.${SUFFIX}`;
  }

  /** Names refused by {@linkcode NameTable.set}. */
  get refused(): number {
    return this.#refused;
  }

  /**
   * Gives `node` to `address`, a literal. Returns `false`, and changes nothing, if it is no label, the address is no
   * literal, another address holds the name, or the table is full ({@linkcode NAMES_MAX}).
   */
  set(node: string, address: string): boolean {
    const literal = canonicalIp(address);
    const holder = this.#addresses.get(node);
    const full = holder === undefined && this.#addresses.size >= NAMES_MAX;
    if (!isLabel(node) || literal === undefined || full || (holder ?? literal) !== literal) {
      this.#refused++;
      return false;
    }
    this.#addresses.set(node, literal);
    return true;
  }

  /** Frees a name. */
  delete(node: string): void {
    this.#addresses.delete(node);
  }

  /**
   * Resolves an IP literal (itself, in canonical form), `<node>` or `<node>.<mesh>.internal`, in any case, with or
   * without the final dot; `undefined` for any other text.
   */
  resolve(text: string): string | undefined {
    const literal = canonicalIp(text);
    if (literal !== undefined) return literal;
    const name = text.toLowerCase().replace(/\.$/, "");
    const domain = this.#domain;
    const node = domain !== undefined && name.endsWith(domain)
      ? name.slice(0, -domain.length)
      : name;
    return this.#addresses.get(node);
  }
}
