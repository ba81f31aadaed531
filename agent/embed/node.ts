/** A node of a mesh inside a program. @module */
import { canonicalIp, messageOf, MorayError } from "../../core/mod.ts";
import { systemRng } from "../../io/mod.ts";
import { dial, DIAL_TIMEOUT_MS } from "../dial.ts";
import { openPort } from "../dynamic_port.ts";
import { INVITE_LIFE_MS_MAX } from "../membership/gatekeeper.ts";
import type { IssuedInvite, MemberList, MembershipHandle } from "../membership/handle.ts";
import { isLabel } from "../names.ts";
import { type JoinedMesh, joinedMesh, readJoined } from "../membership/join_file.ts";
import { startAgent, startColony } from "../node.ts";
import type { Log, MeshNodeOptions, RunningNode } from "../options.ts";
import type { NodeStatus, PathChange, PeerStatus, PingReply } from "../status.ts";
import { denoError } from "./deno_error.ts";
import { EventQueue } from "./event_queue.ts";
import { MeshConn } from "./mesh_conn.ts";
import { MeshHttpClient } from "./mesh_fetch.ts";
import { MeshDatagramConn } from "./mesh_datagram.ts";
import { listenOn, MeshListener } from "./mesh_listener.ts";
import { type MeshServeHandler, type MeshServeOptions, MeshServer } from "./mesh_server.ts";

const PING_MS = 2000;
const INVITE_LIFE_MS = 86_400_000;
/** How long a start waits for the colony to let a new node in, which takes a round trip each by Discovery and by the tunnel. */
const LET_IN_MS = 10_000;

/** What a node is started with. */
export interface NodeOptions extends Partial<Omit<MeshNodeOptions, "mesh" | "discovery">> {
  /** What the node is: the one that a mesh gathers around, or one of the others. @default "agent" */
  readonly role?: "agent" | "colony";
  /** Mesh id: 1 to 63 of `a-z 0-9 -`, a DNS label. Absent: the one of the invite, or the one that `state` has joined. */
  readonly mesh?: string;
  /** Base URL of Discovery, or several that are tried in order. Absent: as with `mesh`. */
  readonly discovery?: string | readonly string[];
  /**
   * State directory: the node's key, by which its peers know it, its peers, and the local API's socket. Made with mode 0700.
   * Absent: a new node each time, in a directory that goes with it.
   */
  readonly state?: string;
  /** Where the log goes. @default nowhere */
  readonly log?: Log;
  /** Stops the node, or the start. */
  readonly signal?: AbortSignal;
}

/** What an invite is for. */
export interface InviteOptions {
  /** Name for the node that joins by it, a DNS label. @default its own choice */
  readonly name?: string;
  /** How long it may be used, in milliseconds, at most 365 days. @default 24 hours */
  readonly lifeMs?: number;
}

/** Where to connect to. */
export interface ConnectTo {
  /** A node's name, `<node>.<mesh>.internal`, or a mesh address. */
  readonly hostname: string;
  /** 1 to 65535. */
  readonly port: number;
  /** Gives up when aborted; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** How long the peer may take to answer, in milliseconds; the way to it is looked for meanwhile. @default 30_000 */
  readonly timeoutMs?: number;
}

/** Which UDP port to open. */
export interface ListenDatagramOn {
  /** 1 to 65535; 0 for any that is free. */
  readonly port: number;
  /** Closes the port when aborted. */
  readonly signal?: AbortSignal;
}

/** Where to listen. */
export interface ListenOn {
  /** 1 to 65535; 0 for any that is free. */
  readonly port: number;
}

/** What a {@linkcode Node} is made of. */
interface NodeParts {
  readonly mesh: string;
  readonly running: RunningNode;
  readonly log: Log;
  readonly address: string;
  readonly leave: () => Promise<void>;
}

/** Makes a node, for this file. */
let construct: (parts: NodeParts) => Node;

/** Makes a node of what runs already. */
export async function nodeOver(
  running: RunningNode,
  { mesh, log = () => {}, leave = () => Promise.resolve() }: {
    readonly mesh: string;
    readonly log?: Log;
    readonly leave?: () => Promise<void>;
  },
): Promise<Node> {
  const { node: { meshIpv6, meshIpv4 } } = await running.status();
  return construct({ mesh, running, log, leave, address: meshIpv6 ?? meshIpv4 ?? "::" });
}

/**
 * A node of a mesh inside a program: it joins at {@linkcode Node.start} and leaves at {@linkcode Node.stop}.
 *
 * ```ts ignore
 * import { Node } from "./mod.ts";
 *
 * await using node = await Node.start({ mesh: "reef", discovery: "https://discovery.example" });
 * console.log(await (await node.fetch("http://colony/")).text());
 * ```
 */
export class Node implements AsyncDisposable {
  /** Mesh id. */
  readonly mesh: string;
  readonly #running: RunningNode;
  readonly #log: Log;
  readonly #address: string;
  readonly #http: MeshHttpClient;
  readonly #servers = new Set<MeshServer>();
  readonly #events = new Set<EventQueue<PathChange>>();
  readonly #leave: () => Promise<void>;
  #stopping: Promise<void> | undefined;

  static {
    construct = (parts) => new Node(parts);
  }

  private constructor({ mesh, running, log, address, leave }: NodeParts) {
    this.mesh = mesh;
    this.#running = running;
    this.#log = log;
    this.#address = address;
    this.#leave = leave;
    const { network } = running;
    const randomBytes = (count: number): Uint8Array => systemRng.bytes(count);
    this.#http = new MeshHttpClient({ network, randomBytes, log });
    running.subscribe((change) => {
      for (const queue of this.#events) queue.push(change);
    });
  }

  /**
   * Starts a node. Resolves when it is registered with Discovery; peers are reached as they are needed. With an invite that it has not
   * joined by yet, it resolves when the colony has let it in and is reached, or after 10 s: it goes on trying then.
   *
   * Rejects with `MorayError`: `usage` (an option), `key` (the key file), `portInUse`, `permission`, `unreachable` (Discovery does
   * not answer), `refused` (another key holds the mesh), `diskFull`; or with the signal's reason.
   */
  static async start(options: NodeOptions): Promise<Node> {
    const { role = "agent", log = () => {}, signal, state: given, ...others } = options;
    signal?.throwIfAborted();
    const state = given ?? await Deno.makeTempDir({ prefix: "moray-" });
    const start = role === "colony" ? startColony : startAgent;
    const leave = async (): Promise<void> => {
      if (given === undefined) await Deno.remove(state, { recursive: true }).catch(() => {});
    };
    let running: RunningNode | undefined;
    try {
      const place = await placeOf(role, options, state);
      running = await start({ ...others, ...place, state, log });
      if (role === "agent") await letIn(running, { state, signal });
      signal?.throwIfAborted();
      const node = await nodeOver(running, { mesh: place.mesh, log, leave });
      signal?.addEventListener("abort", () => void node.stop(), { once: true });
      return node;
    } catch (error) {
      await running?.stop();
      await leave();
      throw error;
    }
  }

  /**
   * Where the node listens outside the mesh, and what it exposes inside, as `key=value`: `wg=0.0.0.0:51820`, `socks5=127.0.0.1:1080`,
   * `forward=127.0.0.1:8080`, `expose=80`. A port that the system chose is told.
   */
  get listening(): readonly string[] {
    return this.#running.listening;
  }

  /** Resolves when the node has stopped; rejects if it died. */
  get finished(): Promise<void> {
    return this.#running.finished;
  }

  /**
   * Opens a TCP connection to a peer's port.
   *
   * Rejects with `Deno.errors`: `ConnectionRefused` (nobody listens there), `TimedOut`, `NetworkUnreachable` (no node is called
   * so, or it cannot be reached), each with a `MorayError` as its cause; with the signal's reason; or with `MorayError` `limit`.
   */
  async connect(to: ConnectTo): Promise<MeshConn> {
    const { hostname: host, port, timeoutMs = DIAL_TIMEOUT_MS, signal } = to;
    if (!Number.isInteger(port) || port < 1 || port > 65535) {
      throw new RangeError(`Cannot connect to port ${port}: not 1 to 65535`);
    }
    signal?.throwIfAborted();
    const { network } = this.#running;
    try {
      const never = signal ?? new AbortController().signal;
      return new MeshConn(await dial(network, { host, port, signal: never, timeoutMs }));
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      throw denoError(error);
    }
  }

  /** Listens on a TCP port of every mesh address of this node. Throws `Deno.errors.AddrInUse`. */
  listen({ port }: ListenOn): MeshListener {
    return new MeshListener(listenOn(this.#running.network, port, Math.random), this.#address);
  }

  /**
   * Opens a UDP port of every mesh address of this node, to receive on and to send from. Throws `Deno.errors.AddrInUse`, or the signal's
   * reason.
   */
  listenDatagram({ port, signal }: ListenDatagramOn): MeshDatagramConn {
    signal?.throwIfAborted();
    const { network } = this.#running;
    const conn = new MeshDatagramConn({
      hostname: this.#address,
      open: (handler) =>
        openPort(port, Math.random, (chosen) => network.openDatagrams(chosen, handler)),
      resolve: (name) => network.resolve(name),
    });
    signal?.addEventListener("abort", () => conn.close(), { once: true });
    return conn;
  }

  /**
   * Serves HTTP inside the mesh, with a handler as `Deno.serve` takes it, which learns the peer's mesh address besides: WebSockets
   * and streamed bodies included. The node's end is the server's. Throws `Deno.errors.AddrInUse`.
   */
  serve(handler: MeshServeHandler): MeshServer;
  /** As above, with options. */
  serve(options: MeshServeOptions, handler: MeshServeHandler): MeshServer;
  serve(first: MeshServeOptions | MeshServeHandler, second?: MeshServeHandler): MeshServer {
    const options = typeof first === "function" ? {} : first;
    const handler = typeof first === "function" ? first : second;
    if (handler === undefined) throw new TypeError("A server needs a handler");
    const { network } = this.#running;
    const parts = { network, hostname: this.#address, random: Math.random, log: this.#log };
    const server = new MeshServer(handler, options, parts);
    this.#servers.add(server);
    void server.finished.then(() => this.#servers.delete(server));
    return server;
  }

  /**
   * As the global `fetch`, into the mesh and nowhere else: the URL's host is a node's name, `<node>.<mesh>.internal` or a mesh
   * address. Rejects with `TypeError` where the peer is not reached, as `fetch` does.
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    return fetch(input, { ...init, client: this.#http.client });
  }

  /** For the `client` option of `fetch` and `WebSocket`, which then lead into the mesh. It ends with the node. */
  get httpClient(): Deno.HttpClient {
    return this.#http.client;
  }

  /** Sends one echo to a peer by name or mesh address. Rejects with `MorayError` `unreachable` if there is no such peer. */
  ping(peer: string, { timeoutMs = PING_MS }: { timeoutMs?: number } = {}): Promise<PingReply> {
    return this.#running.ping(peer, { sequence: 1, timeoutMs });
  }

  /** What the node knows of itself, the network and its peers. */
  status(): Promise<NodeStatus> {
    return this.#running.status();
  }

  /** The peers that it knows. */
  async peers(): Promise<readonly PeerStatus[]> {
    return (await this.status()).peers;
  }

  /**
   * Makes an invite, on a colony: its string lets one node in, once, by the `join` of its options or `moray agent --join`. Whoever has
   * it can join, so it is a secret.
   *
   * Rejects with `MorayError`: `unsupported` on another node, `usage` for a name that is none, `limit` where as many are open as may
   * be; with `RangeError` for a life that is none.
   */
  async invite({ name, lifeMs = INVITE_LIFE_MS }: InviteOptions = {}): Promise<IssuedInvite> {
    if (name !== undefined && !isLabel(name)) {
      throw new MorayError("usage", `Not a node name: ${name}: use 1 to 63 of a-z, 0-9 and "-"`);
    }
    if (!Number.isInteger(lifeMs) || lifeMs < 1 || lifeMs > INVITE_LIFE_MS_MAX) {
      throw new RangeError(`An invite cannot live ${lifeMs} ms: not 1 to ${INVITE_LIFE_MS_MAX}`);
    }
    return await this.#members().invite({ lifeMs, ...(name !== undefined && { name }) });
  }

  /**
   * Throws a node out of the mesh, on a colony, by its name or public key: it is cut off at once, and stays out until it comes with a
   * new invite. Resolves with whether Discovery knows it already, which is told as soon as it answers.
   *
   * Rejects with `MorayError`: `unsupported` on another node, `usage` where no member is called so, or several are.
   */
  async revoke(
    peer: string,
  ): Promise<{ readonly publicKey: string; readonly published: boolean }> {
    return await this.#members().revoke(peer);
  }

  /** Who was let in or thrown out, and which invites are open, on a colony. Rejects with `MorayError` `unsupported` on another node. */
  async members(): Promise<MemberList> {
    return await this.#members().members();
  }

  /** The peer with a mesh address, as a server learns it of its clients; `undefined` if there is none. */
  async whois(address: string): Promise<PeerStatus | undefined> {
    const literal = canonicalIp(address);
    const peers = await this.peers();
    return literal === undefined
      ? undefined
      : peers.find((peer) => peer.meshIpv6 === literal || peer.meshIpv4 === literal);
  }

  /**
   * What happens to the paths to peers from now on: each is reached, over another path, or not any more. Ends with the node, or by
   * the signal. Whoever reads slowly misses the oldest: at most 1,024 wait, and each tells how many were lost before it.
   */
  events({ signal }: { signal?: AbortSignal } = {}): AsyncIterableIterator<
    PathChange & { readonly missed: number }
  > {
    const queue = new EventQueue<PathChange>(() => this.#events.delete(queue));
    if (this.#stopping === undefined) this.#events.add(queue);
    else queue.close();
    if (signal?.aborted === true) queue.close();
    else signal?.addEventListener("abort", () => queue.close(), { once: true });
    return queue.read();
  }

  #members(): MembershipHandle {
    const { membership } = this.#running;
    if (membership !== undefined) return membership;
    throw new MorayError("unsupported", "This node is no colony: invites and members are its");
  }

  /** Leaves the mesh: ends servers, connections and the node. Takes at most 3 s. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** As {@linkcode Node.stop}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    for (const queue of this.#events) queue.close();
    const servers = [...this.#servers].map((server) => server.shutdown());
    await Promise.all([this.#http.stop(), this.#running.stop()]);
    // The connections have ended with the node, and the servers' with them.
    const ends = await Promise.allSettled(servers);
    for (const end of ends) {
      if (end.status === "rejected") this.#log("warn", `serve: ${messageOf(end.reason)}`);
    }
    await this.#leave();
  }
}

/** Where a node belongs: what it is told, and for the rest what its invite or its state directory says. Throws `usage` for nothing. */
async function placeOf(role: string, options: NodeOptions, state: string): Promise<JoinedMesh> {
  const { join } = options;
  const joined = role === "agent" ? await joinedMesh({ state, join }) : undefined;
  const { mesh = joined?.mesh, discovery = joined?.discovery, name = joined?.name } = options;
  if (mesh === undefined || discovery === undefined) {
    const missing = mesh === undefined ? "mesh" : "discovery";
    throw new MorayError("usage", `A node needs ${missing}: give it, or join with an invite`);
  }
  const urls = typeof discovery === "string" ? [discovery] : discovery;
  return { mesh, discovery: urls, ...(name !== undefined && { name }) };
}

/** Resolves when a node that has not joined yet reaches the first peer, which is its colony; after {@linkcode LET_IN_MS}; or by the signal. */
async function letIn(
  running: RunningNode,
  { state, signal }: { readonly state: string; readonly signal: AbortSignal | undefined },
): Promise<void> {
  const reached = Promise.withResolvers<void>();
  running.subscribe(() => reached.resolve());
  const joined = await readJoined(state);
  if (joined === undefined || joined.used !== undefined) return;
  if ((await running.status()).peers.some(({ path }) => path.kind !== "none")) return;
  const timer = setTimeout(reached.resolve, LET_IN_MS);
  signal?.addEventListener("abort", () => reached.resolve(), { once: true });
  if (signal?.aborted === true) reached.resolve();
  await reached.promise;
  clearTimeout(timer);
}
