/** The routes of a kernel interface: every peer's blocks, as peers come and go. @module */
import { type Cidr, formatCidr } from "../../core/mod.ts";

/** Changes the kernel's routes. Throws what {@linkcode TunRoutes.set} then throws. */
export type RouteChanger = (change: "add" | "remove", block: Cidr) => void;

interface Route {
  readonly block: Cidr;
  /** Keys of the peers that have it: more than one where a later peer has taken a block over. */
  readonly owners: Set<string>;
}

/** Which blocks lead to an interface, and because of whom. */
export class TunRoutes {
  readonly #change: RouteChanger;
  readonly #routes = new Map<string, Route>();
  #connected: ReadonlySet<string> = new Set();

  /** No routes. */
  constructor(change: RouteChanger) {
    this.#change = change;
  }

  /** Replaces the networks of the interface's own addresses, which the kernel routes by itself. */
  setConnected(networks: readonly Cidr[]): void {
    this.#connected = new Set(networks.map(formatCidr));
  }

  /**
   * Replaces a peer's blocks; none for a peer that has gone. Returns the blocks that are left to the user: a default route through
   * the tunnel would also take the tunnel's own datagrams. What was changed before a failure stays changed.
   */
  set(peer: string, blocks: readonly Cidr[]): readonly Cidr[] {
    const wanted = new Map(blocks.map((block) => [formatCidr(block), block]));
    for (const [text, { block, owners }] of this.#routes) {
      if (wanted.has(text) || !owners.delete(peer) || owners.size > 0) continue;
      this.#routes.delete(text);
      this.#change("remove", block);
    }
    for (const [text, block] of wanted) {
      if (block.prefix === 0 || this.#connected.has(text)) continue;
      const known = this.#routes.get(text);
      if (known === undefined) this.#change("add", block);
      this.#routes.set(text, known ?? { block, owners: new Set() });
      this.#routes.get(text)?.owners.add(peer);
    }
    return blocks.filter(({ prefix }) => prefix === 0);
  }
}
