/**
 * What the mesh has under a name of the DNS: addresses of its nodes, and their names by address. Pure.
 *
 * @module
 */
import { cidrContains, formatIp, parseIp } from "../../core/mod.ts";
import { meshIpv6Subnet } from "../addressing.ts";
import { fullNameOf, type NameTable } from "../names.ts";

/** How long others may keep a record, in seconds: a node that goes on with another key has another address. */
export const TTL_SECONDS = 30;
/** How long others may keep that there is none, in seconds (RFC 2308 section 5): nodes join. */
export const NEGATIVE_TTL_SECONDS = 5;

const IPV6_NIBBLES = 32;
const SUBNET_NIBBLES = 16;

/** A record of a name. */
export type ZoneRecord =
  | { readonly type: "A" | "AAAA" | "PTR"; readonly data: string }
  | { readonly type: "SOA" };

/** What is known of a name. */
export interface ZoneAnswer {
  /** `refused`: it is of nobody's mesh. `none`: the mesh has no such name. */
  readonly kind: "found" | "none" | "refused";
  /** The zone that the name is in; empty where it is refused. */
  readonly zone: string;
  /** All records of the name, of every type. */
  readonly records: readonly ZoneRecord[];
}

const REFUSED: ZoneAnswer = { kind: "refused", zone: "", records: [] };

/** The names of one mesh as zones of the DNS: `<mesh>.internal`, and the reverse of its IPv6 subnet. */
export class MeshZone {
  readonly #mesh: string;
  readonly #names: NameTable;
  readonly #domain: string;
  readonly #reverse: string;

  /** `names` are asked at each look-up. */
  constructor(mesh: string, names: NameTable) {
    this.#mesh = mesh;
    this.#names = names;
    this.#domain = `${mesh}.internal`;
    this.#reverse = `${
      nibblesOf(meshIpv6Subnet(mesh).address).slice(-SUBNET_NIBBLES).join(".")
    }.ip6.arpa`;
  }

  /** Looks a name up, in any case, without its final dot. */
  lookUp(text: string): ZoneAnswer {
    const name = text.toLowerCase();
    if (name === this.#domain || name === this.#reverse) {
      return { kind: "found", zone: name, records: [{ type: "SOA" }] };
    }
    if (name.endsWith(`.${this.#domain}`)) return this.#node(name);
    if (name.endsWith(".in-addr.arpa")) return this.#ipv4(name);
    if (name.endsWith(`.${this.#reverse}`)) return this.#ipv6(name);
    return REFUSED;
  }

  #node(name: string): ZoneAnswer {
    const zone = this.#domain;
    const records = this.#names.addressesOf(name).map((data): ZoneRecord => ({
      type: data.includes(":") ? "AAAA" : "A",
      data,
    }));
    return { kind: records.length > 0 ? "found" : "none", zone, records };
  }

  /** Only addresses of nodes: who has the others of the block is not this mesh's to say. */
  #ipv4(name: string): ZoneAnswer {
    const bytes = parseIp(name.slice(0, -".in-addr.arpa".length).split(".").reverse().join("."));
    const host = bytes?.length === 4 ? this.#names.nameOf(formatIp(bytes)) : undefined;
    return host === undefined ? REFUSED : this.#pointer(name, host);
  }

  #ipv6(name: string): ZoneAnswer {
    const zone = this.#reverse;
    const nibbles = name.slice(0, -".ip6.arpa".length).split(".");
    if (nibbles.length > IPV6_NIBBLES || !nibbles.every((one) => /^[0-9a-f]$/.test(one))) {
      return { kind: "none", zone, records: [] };
    }
    // There may be names below it (RFC 8020).
    if (nibbles.length < IPV6_NIBBLES) return { kind: "found", zone, records: [] };
    const digits = nibbles.reverse().join("");
    const bytes = Uint8Array.from(
      { length: 16 },
      (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16),
    );
    const host = cidrContains(meshIpv6Subnet(this.#mesh), bytes)
      ? this.#names.nameOf(formatIp(bytes))
      : undefined;
    return host === undefined ? { kind: "none", zone, records: [] } : this.#pointer(zone, host);
  }

  #pointer(zone: string, host: string): ZoneAnswer {
    const data = fullNameOf(host, this.#mesh);
    return { kind: "found", zone, records: [{ type: "PTR", data }] };
  }
}

/** The nibbles of an IPv6 address, last first (RFC 3596 section 2.5). */
function nibblesOf(address: Uint8Array): string[] {
  return [...address].flatMap((byte) => [(byte >> 4).toString(16), (byte & 15).toString(16)])
    .reverse();
}
