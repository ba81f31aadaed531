/** A mesh for tests: real `Node`s over a network in memory. @module */
import { seeded } from "../../traversal/testing/fuzz.ts";
import { type Node, nodeOver } from "../embed/node.ts";
import { isLabel } from "../names.ts";
import { type LinkQuality, MemoryLink } from "./memory_link.ts";
import { type MemoryMesh, MemoryNode } from "./memory_node.ts";
import { VirtualTime } from "./virtual_time.ts";

/** Nodes of one mesh. */
export const TEST_NODES_MAX = 1000;

/** What a {@linkcode TestMesh} is started with. */
export interface TestMeshOptions {
  /** Names of the nodes, DNS labels. @default ["colony", "agent"] */
  readonly nodes?: readonly string[];
  /** Mesh id. @default "test" */
  readonly mesh?: string;
  /** What every link does, until {@linkcode TestMesh.link} says otherwise. */
  readonly link?: LinkQuality;
  /** Seed of everything that happens by chance: keys, jitter, loss. @default 1 */
  readonly seed?: number;
  /**
   * `auto`: whenever the program waits, time goes on to what happens next; `manual`: it stands still but for
   * {@linkcode TestMesh.advance}. @default "auto"
   */
  readonly time?: "auto" | "manual";
}

/**
 * Nodes that reach each other in memory, under a time of their own: what a minute takes outside takes nothing here.
 *
 * Its nodes are {@linkcode Node}s, so that what is tested need not know. `connect`, `listen`, `listenDatagram`, `ping`, `status`, `peers`, `whois` and
 * `events` need no permission; `serve` and `fetch`, whose HTTP is Deno's own, need `--allow-net` for 127.0.0.1 and what is fetched.
 * There are no invites, and every node reaches every other.
 *
 * ```ts
 * import { TestMesh } from "../../testing.ts";
 *
 * await using mesh = await TestMesh.start({ nodes: ["colony", "a"], link: { delayMs: 40 } });
 * const listener = mesh.node("colony").listen({ port: 7 });
 * const [far, near] = await Promise.all([
 *   listener.accept(),
 *   mesh.node("a").connect({ hostname: "colony", port: 7 }),
 * ]);
 * await near.write(new TextEncoder().encode("hello"));
 * await far.read(new Uint8Array(5));
 * console.log(mesh.now); // 120: a round trip to connect, and half of one for the bytes
 * ```
 */
export class TestMesh implements AsyncDisposable {
  readonly #id: string;
  readonly #seed: number;
  readonly #time: VirtualTime;
  readonly #quality: LinkQuality;
  readonly #members = new Set<MemoryNode>();
  readonly #nodes = new Map<string, Node>();
  readonly #memory = new Map<string, MemoryNode>();
  readonly #links = new Map<string, MemoryLink>();

  private constructor({ mesh = "test", link = {}, seed = 1, time = "auto" }: TestMeshOptions) {
    if (!isLabel(mesh)) throw new RangeError(`Not a mesh id: ${mesh}`);
    this.#id = mesh;
    this.#seed = seed;
    this.#quality = link;
    this.#time = new VirtualTime({ manual: time === "manual" });
  }

  /** Starts one. Rejects with `RangeError` for names that are none or there twice, or a link that cannot be. */
  static async start(options: TestMeshOptions = {}): Promise<TestMesh> {
    const mesh = new TestMesh(options);
    for (const name of options.nodes ?? ["colony", "agent"]) await mesh.join(name);
    return mesh;
  }

  /** Adds a node. Rejects with `RangeError` for a name that is none, or there already. */
  async join(name: string): Promise<Node> {
    if (!isLabel(name)) throw new RangeError(`Not a node name: ${name}`);
    if (this.#nodes.has(name)) throw new RangeError(`There is a node called ${name} already`);
    if (this.#nodes.size >= TEST_NODES_MAX) {
      throw new RangeError(`More than ${TEST_NODES_MAX} nodes`);
    }
    const number = this.#nodes.size + 1;
    const running = new MemoryNode({
      name,
      meshIpv4: `10.42.${number >> 8}.${number & 0xff}`,
      mesh: this.#view(),
      rng: seeded(this.#seed * 4096 + number),
    });
    this.#members.add(running);
    this.#memory.set(name, running);
    // A link that cannot be is known here, and not when it is used first.
    for (const other of this.#members) if (other !== running) this.#link(running, other);
    const node = await nodeOver(running, { mesh: this.#id });
    this.#nodes.set(name, node);
    return node;
  }

  /** A node by its name. Throws `RangeError` if there is none. */
  node(name: string): Node {
    const node = this.#nodes.get(name);
    if (node === undefined) throw new RangeError(`There is no node called ${name}`);
    return node;
  }

  /** Changes what the link between two nodes does; what is not said stays. Throws `RangeError`. */
  link(a: string, b: string, quality: LinkQuality): void {
    const link = this.#between(a, b);
    link.quality = { ...link.quality, ...quality };
  }

  /** Cuts two nodes off from each other: what connections say waits, new ones time out. */
  cut(a: string, b: string): void {
    this.#between(a, b).cut();
    this.#changed(a, b);
  }

  /** Joins two nodes again. */
  mend(a: string, b: string): void {
    this.#between(a, b).mend();
    this.#changed(a, b);
  }

  /** The present, in milliseconds since the start. */
  get now(): number {
    return this.#time.now;
  }

  /** Resolves after so many milliseconds of the mesh's time. */
  sleep(ms: number): Promise<void> {
    return this.#time.sleep(ms);
  }

  /** Lets so many milliseconds pass, with all that happens in them. */
  advance(ms: number): Promise<void> {
    return this.#time.advance(ms);
  }

  /** Ends every node. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#nodes.values()].map((node) => node.stop()));
    this.#time.stop();
  }

  #view(): MemoryMesh {
    return {
      id: this.#id,
      time: this.#time,
      members: this.#members,
      link: (a, b) => this.#link(a, b),
      left: (node) => {
        this.#members.delete(node);
        for (const other of this.#members) other.pathChanged(node);
      },
    };
  }

  #changed(a: string, b: string): void {
    const [one, other] = [this.#memory.get(a), this.#memory.get(b)];
    if (one === undefined || other === undefined) return;
    one.pathChanged(other);
    other.pathChanged(one);
  }

  #between(a: string, b: string): MemoryLink {
    const [one, other] = [this.#memory.get(a), this.#memory.get(b)];
    if (one === undefined || other === undefined || one === other) {
      throw new RangeError(`There is no link between ${a} and ${b}`);
    }
    return this.#link(one, other);
  }

  #link(a: MemoryNode, b: MemoryNode): MemoryLink {
    const [low = "", high = ""] = [a.name, b.name].sort();
    const key = `${low} ${high}`;
    let link = this.#links.get(key);
    if (link === undefined) {
      link = new MemoryLink(this.#time, seeded(this.#seed * 65_536 + this.#links.size));
      link.quality = { ...link.quality, ...this.#quality };
      this.#links.set(key, link);
    }
    return link;
  }
}
