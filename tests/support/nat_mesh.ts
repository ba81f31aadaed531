/**
 * One Discovery in a lab, and nodes as processes of their own wherever they are wanted.
 *
 * ```ts ignore
 * const lab = scope.use(await Lab.up("pair", { sites: ["c=fullcone", "a=symmetric"] }));
 * const world = await startNatWorld(scope, { lab });
 * const colony = await world.start("colony", { mesh: "reef", host: "c1" });
 * const agent = await world.start("agent", { mesh: "reef", host: "a1", name: "walker" });
 * const { kind } = (await agent.path("colony")) ?? {};
 * ```
 *
 * Nodes are asked over their local API from this process: no command is started for a question.
 *
 * @module
 */
import { MorayError } from "../../core/mod.ts";
import type { NodeHandle, NodeStatus, PathStatus, PeerStatus } from "../../agent/status.ts";
import { connectLocalApi } from "../../agent/local_api.ts";
import { Moray, type Program, SOURCE } from "./moray.ts";
import type { Lab } from "./natlab.ts";
import type { Scope } from "./scope.ts";

/** Where Discovery runs. */
export interface NatWorldOptions {
  /** The lab; its server `disco` carries Discovery, with STUN on both of its IPv4 addresses and the first IPv6 one. */
  readonly lab: Lab;
  /** Which program. @default SOURCE */
  readonly program?: Program;
  /** TCP port of Discovery. @default 8080 */
  readonly httpPort?: number;
  /** Further flags of Discovery. @default [] */
  readonly discoveryFlags?: readonly string[];
}

/** What a node is started with. */
export interface LabNodeOptions {
  /** Mesh id; a mesh has one colony. */
  readonly mesh: string;
  /** Host in the lab. */
  readonly host: string;
  /** Its name in the mesh. Absent: `colony`, or the machine's name. */
  readonly name?: string;
  /** The family that Discovery is reached by. @default 4 */
  readonly family?: 4 | 6;
  /** Further flags. @default [] */
  readonly flags?: readonly string[];
  /** State directory of an earlier start. Absent: a new one. */
  readonly state?: string;
  /** Additional environment. @default {} */
  readonly env?: Record<string, string>;
}

/** Programs start side by side on few processors: far longer than one alone needs. */
const START_MS_MAX = 60_000;
const HTTP_PORT = 8080;
const STUN_PORT = 3478;

/** A running colony or agent. */
export class LabNode implements AsyncDisposable {
  /** The process. */
  readonly process: Moray;
  /** State directory. */
  readonly state: string;
  /** When the process was started, on this process's monotonic clock. */
  readonly startedAt: number;
  /** The connection to its local API, or the attempt: questions that are asked at once share one. */
  #api: Promise<NodeHandle & Disposable> | undefined;
  #ended = false;

  /** Takes over a started process. */
  constructor(
    { process, state, startedAt }: {
      readonly process: Moray;
      readonly state: string;
      readonly startedAt: number;
    },
  ) {
    this.process = process;
    this.state = state;
    this.startedAt = startedAt;
  }

  /** What it says of itself and its peers. Rejects while it does not answer. */
  status(): Promise<NodeStatus> {
    return this.#ask((api) => api.status());
  }

  /** What it says of a peer; `undefined` if it does not know one of that name. */
  async peer(name: string): Promise<PeerStatus | undefined> {
    return (await this.status()).peers.find((peer) => peer.name === name);
  }

  /** The path to a peer; `undefined` if there is no such peer. */
  async path(name: string): Promise<PathStatus | undefined> {
    return (await this.peer(name))?.path;
  }

  /** The round trip of one echo through the tunnel in milliseconds; `undefined` for none. */
  async echo(name: string, timeoutMs = 2_000): Promise<number | undefined> {
    try {
      const { rttMs } = await this.#ask((api) => api.ping(name, { sequence: 1, timeoutMs }));
      return rttMs ?? undefined;
    } catch {
      // A node that does not know the peer yet says so as an error, and one that is stopped says nothing.
      return undefined;
    }
  }

  /** Another connection to its local API, for questions that must not wait for others. */
  connect(): Promise<NodeHandle & Disposable> {
    return connectLocalApi(this.state);
  }

  /** Ends it, by force if need be. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    const api = this.#api;
    this.#api = undefined;
    await api?.then((api) => api[Symbol.dispose](), () => {});
    // One that a test has stopped would not hear of its end.
    this.process.child.signal("SIGCONT");
    await this.process[Symbol.asyncDispose]();
  }

  async #ask<T>(question: (api: NodeHandle) => Promise<T>): Promise<T> {
    if (this.#ended) throw new MorayError("closed", "The node has been ended");
    const opening = this.#api ??= this.connect();
    let api: (NodeHandle & Disposable) | undefined;
    try {
      api = await opening;
      return await question(api);
    } catch (error) {
      // What an answer that is late belongs to cannot be told: the next question has a connection of its own.
      api?.[Symbol.dispose]();
      if (this.#api === opening) this.#api = undefined;
      throw error;
    }
  }
}

/** Discovery in a lab, and a way to start nodes. */
export interface NatWorld {
  /** The service's process; another one after {@linkcode NatWorld.restartDiscovery}. */
  readonly discovery: Moray;
  /** Starts Discovery again at the same addresses, with an empty memory. The former one must have ended. */
  restartDiscovery(): Promise<void>;
  /** Starts a colony or an agent; it ends with the scope. */
  start(role: "colony" | "agent", options: LabNodeOptions): Promise<LabNode>;
}

function discoveryArguments(
  { lab, httpPort = HTTP_PORT, discoveryFlags = [] }: NatWorldOptions,
): readonly string[] {
  const stun = [...lab.addresses("disco"), `[${lab.address("disco", 6)}]`];
  return [
    ...["discovery", "--listen", `[::]:${httpPort}`, "--store", ":memory:"],
    ...stun.flatMap((address) => ["--stun-listen", `${address}:${STUN_PORT}`]),
    ...discoveryFlags,
  ];
}

/** Starts Discovery. Everything ends with the scope. */
export async function startNatWorld(
  scope: Scope,
  options: NatWorldOptions,
): Promise<NatWorld> {
  const { lab, program = SOURCE, httpPort = HTTP_PORT } = options;
  const startDiscovery = async (): Promise<Moray> =>
    scope.use(
      await Moray.start(discoveryArguments(options), {
        program,
        namespace: lab.namespace("disco"),
        timeoutMs: START_MS_MAX,
      }),
    );
  let discovery = await startDiscovery();
  return {
    get discovery(): Moray {
      return discovery;
    },
    restartDiscovery: async (): Promise<void> => {
      discovery = await startDiscovery();
    },
    start: async (role, node): Promise<LabNode> => {
      const started = await startNode(
        { role, lab, program, httpPort, directory: () => scope.directory() },
        node,
      );
      return scope.use(started);
    },
  };
}

/** Runs `work` on every item, at most `limit` at once, and returns the results in the order of the items. */
export async function inParallel<T, R>(
  limit: number,
  items: readonly T[],
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index] as T, index);
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}

/** The command line of a node, for whoever starts the program in a way of his own. */
export function nodeArguments(
  lab: Lab,
  { role, mesh, name, family = 4, flags = [], state, httpPort = HTTP_PORT }:
    & { readonly role: "colony" | "agent"; readonly state: string; readonly httpPort?: number }
    & Omit<LabNodeOptions, "host" | "state" | "env">,
): readonly string[] {
  const server = lab.address("disco", family);
  return [
    ...[role, "--mesh", mesh, "--state", state],
    ...(role === "colony" ? ["--open"] : []),
    ...["--discovery", `http://${family === 4 ? server : `[${server}]`}:${httpPort}`],
    ...(name === undefined ? [] : ["--name", name]),
    ...flags,
  ];
}

async function startNode(
  { role, lab, program, httpPort, directory }: {
    readonly role: "colony" | "agent";
    readonly httpPort: number;
    readonly lab: Lab;
    readonly program: Program;
    readonly directory: () => string;
  },
  { host, state = directory(), env = {}, ...options }: LabNodeOptions,
): Promise<LabNode> {
  const startedAt = performance.now();
  const more = { ...program.options, env: { ...program.options.env, ...env } };
  const process = await Moray.start(nodeArguments(lab, { role, state, httpPort, ...options }), {
    program: { ...program, options: more },
    namespace: lab.namespace(host),
    timeoutMs: START_MS_MAX,
  });
  return new LabNode({ process, state, startedAt });
}
