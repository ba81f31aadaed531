/** A Discovery with a clock that tests move, and nodes that hold their keys: the stage of attacks. @module */
import { PROOF_HEADER } from "../proof/proof.ts";
import {
  DiscoveryClient,
  type DiscoveryOptions,
  type Fetch,
  type Identity,
  type Registration,
  type Role,
  type RunningDiscovery,
  startDiscovery,
} from "../mod.ts";
import { identityOf } from "./identity.ts";

/** Life of a registration. */
export const TTL_MS = 300_000;
/** The mesh of every node that says no other. */
export const MESH = "reef";

/** A Discovery with a clock that the test moves. */
export class World implements AsyncDisposable {
  now = Date.UTC(2026, 0, 2);
  readonly log: string[] = [];
  readonly #options: Partial<DiscoveryOptions>;
  #server: RunningDiscovery | undefined;

  constructor(options: Partial<DiscoveryOptions> = {}) {
    this.#options = options;
  }

  static async start(options: Partial<DiscoveryOptions> = {}): Promise<World> {
    const world = new World(options);
    await world.restart();
    return world;
  }

  async restart(): Promise<void> {
    await this.#server?.stop();
    this.#server = await startDiscovery({
      listen: { hostname: "127.0.0.1", port: 0 },
      stunListen: [],
      store: ":memory:",
      ttlMs: TTL_MS,
      now: () => this.now,
      log: (level, message) => this.log.push(`${level} ${message}`),
      ...this.#options,
    });
  }

  get url(): string {
    return this.#server?.url ?? "";
  }

  counters(): Record<string, number> {
    return this.#server?.counters() ?? {};
  }

  async node(seed: number, role: Role = "agent"): Promise<Node> {
    return new Node(this, await identityOf(seed), role);
  }

  /** Where the mesh's colony says it is; `undefined` without a colony. */
  async colonyAt(asker: Node): Promise<string | undefined> {
    return (await asker.client().lookupColony(MESH))?.endpoints[0]?.hostname;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.stop();
  }
}

/** What a request was made of. */
export interface Sent {
  readonly url: string;
  readonly init: RequestInit;
}

/** A node that holds its key. */
export class Node {
  readonly publicKey: string;
  readonly #world: World;
  readonly #identity: Identity;
  readonly #role: Role;
  /** The requests that carried a proof. */
  readonly sent: Sent[] = [];

  constructor(world: World, identity: Identity & { readonly text: string }, role: Role) {
    this.#world = world;
    this.#identity = identity;
    this.#role = role;
    this.publicKey = identity.text;
  }

  client(
    options: {
      readonly proves?: boolean;
      readonly clock?: () => number;
      /** Sees the answers, and gives them on. */
      readonly answers?: (response: Response) => Promise<Response>;
    } = {},
  ): DiscoveryClient {
    const { proves = true, clock = (): number => this.#world.now } = options;
    const { answers = (response) => Promise.resolve(response) } = options;
    const record: Fetch = async (input, init) => {
      if (new Headers(init?.headers).has(PROOF_HEADER) && init !== undefined) {
        this.sent.push({ url: String(input), init: { method: "POST", ...init } });
      }
      return await answers(await fetch(input, init));
    };
    return new DiscoveryClient({
      urls: [this.#world.url],
      fetch: record,
      now: clock,
      log: () => {},
      ...(proves && { identity: this.#identity }),
    });
  }

  registration(part: Partial<Registration> = {}): Registration {
    return {
      meshId: MESH,
      publicKey: this.publicKey,
      role: this.#role,
      endpoints: [{ hostname: "192.0.2.1", port: 51820 }],
      ...part,
    };
  }

  register(part: Partial<Registration> = {}): Promise<string> {
    return outcome(this.client().register(this.registration(part)));
  }
}

/** `ok`, or how a call was refused. */
export async function outcome(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (error) {
    const { code, cause } = error as { code: string; cause?: { rawMessage?: string } };
    return `${code}: ${cause?.rawMessage ?? String(error)}`;
  }
}

/** Sends a request once more, as it was or changed. Returns status and error. */
export async function replay(
  { url, init }: Sent,
  change: Partial<Sent> = {},
): Promise<[number, string]> {
  const { signal: _, ...rest } = init;
  const response = await fetch(change.url ?? url, { ...rest, ...change.init });
  const { code = "", message = "" } = await response.json();
  return [response.status, `${code}: ${message}`];
}
