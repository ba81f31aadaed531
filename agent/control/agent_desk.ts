/** The agent's side of the control service: it follows what its colony tells of the mesh, and keeps it for the next start. @module */
import { isIPv6 } from "node:net";
import { messageOf } from "../../core/mod.ts";
import { readTextFile, writePrivateFile } from "../../io/mod.ts";
import { MeshHttpClient } from "../embed/mesh_fetch.ts";
import type { Fellow } from "../fellows.ts";
import type { MeshPeer } from "../mesh_peers.ts";
import { CONNECT_PORT } from "../mesh_settings.ts";
import type { Network, TunnelConn } from "../network.ts";
import { ControlClient } from "./control_client.ts";
import type { Assigned, ControlOptions, ControlSide, ControlSurroundings } from "./control_side.ts";
import { MeshBook } from "./mesh_book.ts";
import type { MeshMember, MeshView } from "./mesh_view.ts";

/** The file in an agent's state directory. */
export const MESH_FILE = "mesh.json";
const FILE_BYTES_MAX = 16 << 20;
/** Changes that come within this time are written together. */
const WRITE_MS = 1000;

/** What an agent knows by its colony. */
export class AgentDesk implements ControlSide {
  readonly #options: ControlOptions;
  readonly #path: string;
  readonly #book: MeshBook;
  #around: ControlSurroundings | undefined;
  #http: MeshHttpClient | undefined;
  #client: ControlClient | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The write that is under way, or the last one. */
  #written: Promise<void> = Promise.resolve();

  private constructor(options: ControlOptions) {
    this.#options = options;
    this.#path = `${options.state}/${MESH_FILE}`;
    this.#book = new MeshBook(options.publicKey);
  }

  /** Reads what was told before. Never rejects. */
  static async open(options: ControlOptions): Promise<AgentDesk> {
    const desk = new AgentDesk(options);
    const { mesh, names, name, meshIpv6, log } = options;
    const text = await readTextFile(desk.#path, { bytesMax: FILE_BYTES_MAX }).catch((error) => {
      log("debug", `no members of an earlier run: ${messageOf(error)}`);
      return undefined;
    });
    const view = text === undefined ? undefined : MeshBook.parseFile(text, mesh);
    if (view !== undefined) desk.#book.take(view, names);
    else if (text !== undefined) log("warn", `${desk.#path} is damaged: starting without it`);
    if (desk.#book.own === undefined) names.set(name, meshIpv6);
    return desk;
  }

  /** As the colony says; until then, as it was given. */
  get name(): string {
    return this.#book.own?.name ?? this.#options.name;
  }

  /** As the colony says. */
  get ipv4(): string | null {
    return this.#book.own?.ipv4 ?? null;
  }

  /** Everybody that the colony has named. */
  get members(): readonly MeshMember[] {
    return this.#book.members;
  }

  /** As the colony's policy says. */
  get fellows(): readonly Fellow[] {
    return this.#book.fellows;
  }

  /** What the colony says of a member. */
  assignedTo(publicKey: string): Assigned | undefined {
    return this.#book.find(publicKey);
  }

  /** Asks the colony as soon as it is reached. */
  start(network: Network, around: ControlSurroundings): void {
    this.#around = around;
    const { mesh, name, log, randomBytes } = this.#options;
    const opened = new Set<TunnelConn>();
    const http = new MeshHttpClient({
      network: {
        connect: async (address, options) => {
          const conn = await network.connect(address, options);
          opened.add(conn);
          return conn;
        },
        listen: (port) => network.listen(port),
        openDatagrams: (port, handler) => network.openDatagrams(port, handler),
        resolve: (text) => network.resolve(text),
      },
      randomBytes,
      log,
    });
    this.#http = http;
    this.#client = new ControlClient({
      mesh,
      name,
      fetch: (input, init) => fetch(input, { ...init, client: http.client }),
      drop: () => {
        for (const conn of opened) conn.abort();
        opened.clear();
      },
      seen: () => this.#book.seen,
      onView: (view) => this.#take(view),
      random: Math.random,
      log,
    });
    this.#tell();
  }

  /** The colony's service is asked anew. */
  handleConnected({ role, meshIpv6, record }: MeshPeer): void {
    if (role !== "colony") return;
    const host = isIPv6(meshIpv6) ? `[${meshIpv6}]` : meshIpv6;
    this.#client?.reached(`http://${host}:${record.connectPort || CONNECT_PORT}`);
  }

  /** Nothing: the colony says who is a member. */
  handleExpelled(_publicKey: string): void {}

  /** Counters by name; only what is not zero. */
  counters(): Record<string, number> {
    const all = {
      meshViewsUnusable: this.#client?.unusable ?? 0,
      meshMembersIgnored: this.#book.ignored,
    };
    return Object.fromEntries(Object.entries(all).filter(([, count]) => count > 0));
  }

  /** Ends the stream, and writes what was not written. */
  async stop(): Promise<void> {
    await this.#client?.stop();
    await this.#http?.stop();
    if (this.#timer !== undefined) this.#save();
    await this.#written;
  }

  #take(view: MeshView): void {
    const { name, ipv4 } = this;
    const { names, name: asked, meshIpv6, log } = this.#options;
    // Until the colony has said it, the node has the name that it was given.
    if (this.#book.own === undefined && names.resolve(asked) === meshIpv6) names.delete(asked);
    this.#book.take(view, names);
    if (this.#book.own === undefined) names.set(asked, meshIpv6);
    if (this.name !== name && this.name !== asked) {
      log("warn", `another node is called ${asked}: this one is ${this.name} in its mesh`);
    }
    if (this.name !== name || this.ipv4 !== ipv4) this.#around?.onOwn();
    this.#tell();
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => this.#save(), WRITE_MS);
    Deno.unrefTimer(this.#timer);
  }

  #tell(): void {
    const { publicKey } = this.#options;
    const members = this.members.filter((member) => member.publicKey !== publicKey);
    const { rules, fellows } = this.#book;
    this.#around?.onMesh({ members, fellows, ...(rules && { rules }) });
  }

  /** Writes what is known, after what is being written. */
  #save(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#written = this.#written.then(() => this.#write());
  }

  async #write(): Promise<void> {
    const text = this.#book.format();
    if (text === undefined) return;
    try {
      await writePrivateFile(this.#path, text);
    } catch (error) {
      this.#options.log("warn", `the members are not kept: ${messageOf(error)}`);
    }
  }
}
