/**
 * What a colony calls its nodes and the IPv4 addresses that it gives them: the same for a key for as long as it belongs to the mesh,
 * and never the same for two. Pure: time is an argument.
 *
 * An address is looked for from a place that the key says, so that a colony that has lost its book gives most nodes what they had. A
 * name belongs to the node that asked for it first; the next is called `<name>-2`.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { type Cidr, cidrContains, formatIp, parseIp, parseKey } from "../../core/mod.ts";
import { isLabel, LABEL_CHARACTERS_MAX } from "../names.ts";

/** Nodes of one mesh, as many as it may have agents. A further one gets the address of the one that has been away longest, or none. */
export const ASSIGNMENTS_MAX = 10_000;
/** How long a node that is away keeps its address and name. */
export const ABSENCE_MS_MAX = 90 * 86_400_000;

/** What one node has. */
export interface Assignment {
  /** Its key, base64. */
  readonly publicKey: string;
  /** The name that it asked for. */
  readonly asked: string;
  /** The name that it has. */
  readonly name: string;
  /** Its IPv4 address. */
  readonly ipv4: string;
  /** When it was last there, unix milliseconds. */
  readonly seenAt: number;
}

/** What {@linkcode AddressBook.assign} needs to know. */
export interface AssignOptions {
  /** The name that the node asks for: a label. */
  readonly asked: string;
  /** Now, unix milliseconds. */
  readonly now: number;
  /** Whether a name belongs to a node that is not in the book. @default none does */
  readonly isTaken?: (name: string) => boolean;
  /** Whether a node is there, so that nobody gets its address. @default nobody is */
  readonly isPresent?: (publicKey: string) => boolean;
  /** Called with what another node loses by this. */
  readonly onReleased?: (assignment: Assignment) => void;
}

/** The addresses and names of one mesh. */
export class AddressBook {
  /** The block that addresses are from; its first one is the colony's. */
  readonly subnet: Cidr;
  readonly #byKey = new Map<string, Assignment>();
  readonly #byIpv4 = new Map<string, string>();
  readonly #byName = new Map<string, string>();
  #refused = 0;

  /** An empty book. `subnet` is an IPv4 block with a prefix of 8 to 30. */
  constructor(subnet: Cidr) {
    this.subnet = subnet;
  }

  /** The colony's own address: the first of the subnet. */
  get colonyIpv4(): string {
    return this.#at(1);
  }

  /** Nodes that got nothing since there was nothing left. */
  get refused(): number {
    return this.#refused;
  }

  /** Everybody's, in no order that means anything. */
  get all(): readonly Assignment[] {
    return [...this.#byKey.values()];
  }

  /** What a node has. */
  find(publicKey: string): Assignment | undefined {
    return this.#byKey.get(publicKey);
  }

  /**
   * What a node has from now on: what it had, and another name only where it asks for another or its own was taken. `undefined` where every address belongs to a
   * node that is there.
   */
  assign(publicKey: string, options: AssignOptions): Assignment | undefined {
    const { asked, now, isTaken = () => false } = options;
    const known = this.#byKey.get(publicKey);
    if (known?.asked === asked && !isTaken(known.name)) return this.#put({ ...known, seenAt: now });
    const ipv4 = known?.ipv4 ?? this.#free(publicKey, options);
    if (ipv4 === undefined) {
      this.#refused++;
      return undefined;
    }
    this.release(publicKey);
    const name = this.#nameFor(asked, isTaken);
    return this.#put({ publicKey, asked, name, ipv4, seenAt: now });
  }

  /** A node was there until now. */
  seen(publicKey: string, now: number): void {
    const known = this.#byKey.get(publicKey);
    if (known !== undefined) this.#put({ ...known, seenAt: now });
  }

  /** A node goes on with another key, and with what it has. Returns whether it had anything, and the other key nothing. */
  move(from: string, to: string): boolean {
    const known = this.#byKey.get(from);
    if (known === undefined || this.#byKey.has(to)) return false;
    this.release(from);
    this.#put({ ...known, publicKey: to });
    return true;
  }

  /** A node belongs to the mesh no more: what it had is free. Returns that. */
  release(publicKey: string): Assignment | undefined {
    const known = this.#byKey.get(publicKey);
    if (known === undefined) return undefined;
    this.#byKey.delete(publicKey);
    this.#byIpv4.delete(known.ipv4);
    this.#byName.delete(known.name);
    return known;
  }

  /** Frees what belongs to nodes that have been away for {@linkcode ABSENCE_MS_MAX}. Returns that. */
  sweep(now: number, isPresent: (publicKey: string) => boolean): readonly Assignment[] {
    return this.all
      .filter(({ publicKey, seenAt }) => now - seenAt > ABSENCE_MS_MAX && !isPresent(publicKey))
      .map(({ publicKey }) => this.release(publicKey))
      .filter((released) => released !== undefined);
  }

  /** The book as a file's text. */
  format(mesh: string): string {
    return `${JSON.stringify({ version: 1, mesh, nodes: this.all }, null, 1)}\n`;
  }

  /**
   * Takes a file's text, for an empty book: what makes no sense, stands twice or lies outside the subnet is left out. Returns how many were
   * left out; `undefined` if it is no such file.
   */
  load(text: string, mesh: string): number | undefined {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      return undefined;
    }
    if (!isObject(value) || value["version"] !== 1 || value["mesh"] !== mesh) return undefined;
    const { nodes } = value as Partial<Record<"nodes", unknown>>;
    if (!Array.isArray(nodes)) return undefined;
    let left = Math.max(0, nodes.length - ASSIGNMENTS_MAX);
    for (const node of nodes.slice(0, ASSIGNMENTS_MAX)) {
      const parsed = parseAssignment(node);
      if (parsed === undefined || !this.#fits(parsed)) left++;
      else this.#put(parsed);
    }
    return left;
  }

  #put(assignment: Assignment): Assignment {
    this.#byKey.set(assignment.publicKey, assignment);
    this.#byIpv4.set(assignment.ipv4, assignment.publicKey);
    this.#byName.set(assignment.name, assignment.publicKey);
    return assignment;
  }

  #fits({ publicKey, name, ipv4 }: Assignment): boolean {
    const address = parseIp(ipv4);
    const inside = address !== undefined && cidrContains(this.subnet, address);
    return inside && ipv4 !== this.colonyIpv4 && !this.#byKey.has(publicKey) &&
      !this.#byIpv4.has(ipv4) && !this.#byName.has(name);
  }

  #nameFor(asked: string, isTaken: (name: string) => boolean): string {
    for (let count = 1;; count++) {
      const suffix = count === 1 ? "" : `-${count}`;
      const name = asked.slice(0, LABEL_CHARACTERS_MAX - suffix.length).replace(/-+$/, "") + suffix;
      if (!this.#byName.has(name) && !isTaken(name)) return name;
    }
  }

  /** Addresses between the colony's own and the broadcast address. */
  get #room(): number {
    return 2 ** (32 - this.subnet.prefix) - 3;
  }

  #free(
    publicKey: string,
    { isPresent = () => false, onReleased }: AssignOptions,
  ): string | undefined {
    const room = this.#room;
    if (this.#byKey.size >= Math.min(room, ASSIGNMENTS_MAX)) {
      const oldest = this.all.filter((one) => !isPresent(one.publicKey))
        .reduce<Assignment | undefined>(
          (least, one) => least === undefined || one.seenAt < least.seenAt ? one : least,
          undefined,
        );
      if (oldest === undefined) return undefined;
      this.release(oldest.publicKey);
      onReleased?.(oldest);
      return oldest.ipv4;
    }
    const first = createHash("sha256").update(publicKey).digest().readUInt32BE(0) % room;
    for (let i = 0;; i++) {
      const ipv4 = this.#at(2 + (first + i) % room);
      if (!this.#byIpv4.has(ipv4)) return ipv4;
    }
  }

  /** An address of the subnet by its number. */
  #at(number: number): string {
    const bytes = Uint8Array.from(this.subnet.address);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, (view.getUint32(0) + number) >>> 0);
    return formatIp(bytes);
  }
}

function parseAssignment(value: unknown): Assignment | undefined {
  if (!isObject(value)) return undefined;
  const { publicKey, asked, name, ipv4, seenAt } = value as Readonly<
    Record<"publicKey" | "asked" | "name" | "ipv4" | "seenAt", unknown>
  >;
  if (typeof publicKey !== "string" || parseKey(publicKey) === undefined) return undefined;
  if (typeof asked !== "string" || !isLabel(asked)) return undefined;
  if (typeof name !== "string" || !isLabel(name)) return undefined;
  if (typeof ipv4 !== "string" || parseIp(ipv4)?.length !== 4) return undefined;
  if (typeof seenAt !== "number" || !Number.isSafeInteger(seenAt) || seenAt < 0) return undefined;
  return { publicKey, asked, name, ipv4, seenAt };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
