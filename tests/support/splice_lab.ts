/**
 * Two nodes in this process whose forward and expose lead to a local server, for tests of what they carry: the same with
 * every driver, so with bytes that cross the main thread and with bytes that do not.
 *
 * @module
 */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { type RunningDatapath, startDatapath } from "../../agent/datapath/start.ts";
import { startExpose } from "../../agent/expose.ts";
import { startForward } from "../../agent/forward.ts";
import type { StreamServer } from "../../agent/stream_server.ts";
import { TunnelNetwork } from "../../agent/tunnel_network.ts";
import { formatBase64, type SocketAddress } from "../../core/mod.ts";
import { eventually } from "./scope.ts";

/** Which driver carries the tunnel. */
export type Way = "portable" | "fast";

const FAR = "10.42.0.2";
const MESH_PORT = 7;
const LISTEN = { hostname: "127.0.0.1", port: 0 };
const RULE = { listen: LISTEN, peer: FAR, port: MESH_PORT };

/** One of the two nodes. */
export interface LabNode {
  /** Its Worker. */
  readonly datapath: RunningDatapath;
  /** Its streams. */
  readonly network: TunnelNetwork;
}

/** The laboratory of one test. */
export class SpliceLab implements AsyncDisposable {
  /** The near node, with the forward. */
  readonly near: LabNode;
  /** The far node, with the expose. */
  readonly far: LabNode;
  /** Where clients connect to reach the server. */
  entry: SocketAddress;
  /** The local server behind the far node. */
  readonly listener: Deno.TcpListener;
  /** The two listeners of the nodes. */
  servers: readonly [forward: StreamServer, expose: StreamServer];
  readonly #way: Way;
  #accepted: Promise<unknown> = Promise.resolve();
  #ended = false;

  private constructor(way: Way, [near, far]: readonly [LabNode, LabNode]) {
    this.#way = way;
    this.near = near;
    this.far = far;
    this.listener = Deno.listen(LISTEN);
    const log = (): void => {};
    const { port } = this.listener.addr;
    const exposed = { meshPort: MESH_PORT, hostname: "127.0.0.1", port };
    const expose = startExpose(exposed, { network: far.network, log });
    const forward = startForward(RULE, { network: near.network, log });
    this.entry = forward.address;
    this.servers = [forward, expose];
  }

  /** Starts both nodes and lets them know each other. */
  static async start(way: Way): Promise<SpliceLab> {
    const nodes = await Promise.all([node(way, 1), node(way, 2)]);
    const [near, far] = nodes;
    for (const [i, { datapath: { client } }] of nodes.entries()) {
      const other = i === 0 ? far : near;
      await client.send({
        kind: "addPeer",
        publicKey: formatBase64(other.datapath.publicKey),
        allowedIps: [`10.42.0.${2 - i}/32`],
        keepaliveSeconds: 0,
        endpoint: `127.0.0.1:${/\d+$/.exec(other.datapath.local)?.[0]}`,
        mesh: false,
      });
    }
    return new SpliceLab(way, nodes);
  }

  /** A client's connection, and the server's end of it. One at a time, or the ends are mixed up. */
  async connect(): Promise<readonly [client: Deno.TcpConn, server: Deno.TcpConn]> {
    return await Promise.all([Deno.connect(this.entry), this.accept()]);
  }

  /** A client's connections, and the server's ends of them. */
  async connectMany(count: number): Promise<(readonly [Deno.TcpConn, Deno.TcpConn])[]> {
    const pairs = [];
    for (let i = 0; i < count; i++) pairs.push(await this.connect());
    return pairs;
  }

  /** The server's next connection; many may wait. */
  accept(): Promise<Deno.TcpConn> {
    const accepted = this.#accepted.then(() => this.listener.accept());
    this.#accepted = accepted;
    return accepted;
  }

  /** Starts another forward in place of the one that the test has stopped. */
  forwardAgain(): void {
    const forward = startForward(RULE, { network: this.near.network, log: () => {} });
    this.entry = forward.address;
    this.servers = [forward, this.servers[1]];
  }

  /** Resolves when the nodes carry nothing any more. */
  async idle(): Promise<void> {
    await eventually("every connection to end", () => {
      const active = this.servers.map(({ counters }) => counters.active);
      const streams = [this.near, this.far].map(({ network }) => network.streamCount);
      return Promise.resolve([...active, ...streams].every((n) => n === 0) ? true : undefined);
    }, { timeoutMs: 10_000, everyMs: 5 });
  }

  /** Checks that the Workers carried as many connections as the driver lets them. */
  async assertCarried(connections: number): Promise<void> {
    for (const { datapath: { client } } of [this.near, this.far]) {
      const { counters, driver } = await client.send({ kind: "status" });
      assertEquals(driver, this.#way);
      assertEquals(counters["socketsSpliced"], this.#way === "fast" ? connections : undefined);
      assertEquals(counters["socketsRefused"], undefined);
    }
  }

  /** Stops both Workers, whatever they carry. */
  async stopNodes(): Promise<void> {
    await Promise.all([this.near, this.far].map(({ datapath }) => datapath.stop(2000)));
  }

  /** Ends everything. Safe to call twice. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.listener.close();
    await this.stopNodes();
    await Promise.all(this.servers.map((server) => server.stop()));
  }
}

/** Descriptors of this process, by number, with what they lead to; `undefined` where the system does not say. */
export function openDescriptors(): ReadonlyMap<string, string> | undefined {
  const folder = "/proc/self/fd";
  try {
    const found = new Map<string, string>();
    for (const { name } of Deno.readDirSync(folder)) {
      try {
        found.set(name, Deno.readLinkSync(`${folder}/${name}`));
      } catch {
        // The one of this look itself.
      }
    }
    return found;
  } catch {
    return undefined;
  }
}

async function node(way: Way, i: number): Promise<LabNode> {
  const datapath = await startDatapath({
    privateKey: new Uint8Array(32).fill(i + 70),
    port: 0,
    mtu: 1420,
    driver: way,
    onEvent: ({ kind }) => assert(kind !== "fatal", "the Worker lives"),
  });
  await datapath.client.send({ kind: "setAddresses", addresses: [`10.42.0.${i}/32`] });
  const network = new TunnelNetwork({ client: datapath.client, resolve: (name) => name });
  return { datapath, network };
}
