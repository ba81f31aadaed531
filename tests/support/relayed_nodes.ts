/** Datapaths that reach each other by relays only, in this process. For tests. @module */
import { ok as assert } from "node:assert/strict";
import { type RunningDatapath, startDatapath } from "../../agent/datapath/start.ts";
import { RelayStreams } from "../../agent/relay_streams.ts";
import type {
  CandidateInfo,
  NodeEvent,
  RelayInfo,
  RelayStatus,
  RelayTransportInfo,
} from "../../agent/shared/mod.ts";
import { TunnelNetwork } from "../../agent/tunnel_network.ts";
import { concat, equals, formatBase64, formatSocketAddress } from "../../core/mod.ts";
import { type RelayOptions, type RunningRelay, startRelay } from "../../relay/mod.ts";
import { restCredentials } from "../../traversal/mod.ts";
import { testBytes } from "./bytes.ts";
import { eventually, type Scope } from "./scope.ts";

/** Options of {@linkcode RelayedNode.start}. */
export interface RelayedNodeOptions {
  /** Its mesh address is 10.42.0.N. */
  readonly number: number;
  /** Which driver. @default "auto" */
  readonly driver?: "auto" | "fast" | "portable";
  /** Reaches peers by relays only. @default true */
  readonly noDirect?: boolean;
}

/** One datapath with its network. */
export class RelayedNode {
  /** The datapath. */
  readonly datapath: RunningDatapath;
  /** Streams inside the mesh. */
  readonly network: TunnelNetwork;
  /** Its address inside the mesh. */
  readonly hostname: string;
  /** What it told, oldest first. */
  readonly events: NodeEvent[];

  private constructor(datapath: RunningDatapath, number: number, events: NodeEvent[]) {
    this.datapath = datapath;
    this.events = events;
    this.hostname = `10.42.0.${number}`;
    this.network = new TunnelNetwork({ client: datapath.client, resolve: (name) => name });
  }

  /** Starts one; it ends with the scope. */
  static async start(scope: Scope, options: RelayedNodeOptions): Promise<RelayedNode> {
    const { number, driver = "auto", noDirect = true } = options;
    const events: NodeEvent[] = [];
    // The datapath may tell before there is what listens: nothing that counts before the first command.
    const carrying: RelayStreams[] = [];
    const datapath = await startDatapath({
      privateKey: new Uint8Array(32).fill(100 + number),
      port: 0,
      mtu: 1420,
      driver,
      noDirect,
      noGuess: true,
      onEvent: (event) => {
        if (event.kind === "relayConnect") carrying[0]?.connect(event);
        else events.push(event);
      },
    });
    scope.defer(async () => {
      await datapath.stop(2_000);
      await carrying[0]?.stop();
    });
    const node = new RelayedNode(datapath, number, events);
    carrying.push(
      new RelayStreams({
        client: datapath.client,
        adopt: (slot) => node.network.adopt(slot),
        log: () => {},
      }),
    );
    const addresses = [`${node.hostname}/32`];
    await datapath.client.send({ kind: "setAddresses", addresses });
    return node;
  }

  /** Its WireGuard key. */
  get publicKey(): string {
    return formatBase64(this.datapath.publicKey);
  }

  /** Replaces its relays. */
  async setRelays(...relays: readonly RelayInfo[]): Promise<void> {
    await this.datapath.client.send({ kind: "setRelays", relays });
  }

  /** How its relays do. */
  async relays(): Promise<readonly RelayStatus[]> {
    return (await this.datapath.client.send({ kind: "status" })).relays;
  }

  /** Resolves once a relay carries. */
  ready(id: string, timeoutMs = 10_000): Promise<RelayStatus> {
    return eventually(`relay ${id} to carry`, async () => {
      return (await this.relays()).find((relay) => relay.id === id && relay.state === "ready");
    }, { timeoutMs, everyMs: 20 });
  }

  /** Its relayed addresses, as candidates. */
  async relayed(): Promise<readonly CandidateInfo[]> {
    const { candidates } = await this.datapath.client.send({ kind: "status" });
    return candidates.filter(({ kind }) => kind === "relayed");
  }

  /** Makes another node its peer, with the candidates that it has now. */
  async meet(other: RelayedNode): Promise<void> {
    const { client } = this.datapath;
    const { publicKey } = other;
    await client.send({
      kind: "addPeer",
      publicKey,
      allowedIps: [`${other.hostname}/32`],
      keepaliveSeconds: 0,
      mesh: true,
    });
    await this.learn(other);
    await client.send({ kind: "connectPeer", publicKey });
  }

  /** Takes the candidates that a peer has now. */
  async learn(other: RelayedNode): Promise<void> {
    const candidates = await other.relayed();
    const { publicKey } = other;
    await this.datapath.client.send({ kind: "setCandidates", publicKey, candidates });
  }

  /** Resolves with the round trip to a peer in milliseconds. */
  ping(other: RelayedNode, timeoutMs = 10_000): Promise<number> {
    let sequence = 0;
    return eventually(`an answer of ${other.hostname}`, async () => {
      sequence++;
      const address = other.hostname;
      const { client } = this.datapath;
      return await client.send({ kind: "ping", address, sequence, timeoutMs: 500 }) ?? undefined;
    }, { timeoutMs, everyMs: 10 });
  }

  /** Sends bytes to a peer and back by one TCP connection, and checks them. Returns the seconds that it took. */
  async echo(other: RelayedNode, bytes: number): Promise<number> {
    const port = 1000 + Math.floor(Math.random() * 60_000);
    const listener = other.network.listen(port);
    // Commands are executed in order: once this one is answered, the port is listened on.
    await other.datapath.client.send({ kind: "status" });
    const echoing = (async (): Promise<void> => {
      const conn = await listener.accept();
      const buffer = new Uint8Array(65_536);
      for (let n; (n = await conn.read(buffer)) !== null;) {
        for (let at = 0; at < n;) at += await conn.write(buffer.subarray(at, n));
      }
      await conn.closeWrite();
      conn.close();
    })();
    // Awaited at the end; whatever fails before says more.
    echoing.catch(() => {});
    const conn = await this.network.connect({ hostname: other.hostname, port });
    const data = concat(...testBytes(bytes));
    const got = new Uint8Array(bytes);
    const startedAt = performance.now();
    await Promise.all([
      (async (): Promise<void> => {
        for (let at = 0; at < bytes;) at += await conn.write(data.subarray(at, at + 65_536));
        await conn.closeWrite();
      })(),
      (async (): Promise<void> => {
        for (let at = 0; at < bytes;) {
          const n = await conn.read(got.subarray(at));
          if (n === null) throw new Error(`the stream ended after ${at} of ${bytes} bytes`);
          at += n;
        }
      })(),
    ]);
    const seconds = (performance.now() - startedAt) / 1000;
    conn.close();
    await echoing;
    listener.close();
    assert(equals(got, data), "what comes back is what was sent");
    return seconds;
  }
}

/** A relay for tests and its secret. */
export interface TestRelay {
  /** The server. */
  readonly relay: RunningRelay;
  /** What passwords are made of. */
  readonly secret: string;
}

/** Starts our relay on loopback, listening for everything but TLS; it ends with the scope. */
export async function startTestRelay(
  scope: Scope,
  options: Partial<RelayOptions> = {},
): Promise<TestRelay> {
  const secret = crypto.randomUUID();
  const anyPort = [{ hostname: "127.0.0.1", port: 0 }];
  const relay = scope.use(
    await startRelay({
      listenUdp: anyPort,
      listenTcp: anyPort,
      listenWebsocket: anyPort,
      externalIps: ["127.0.0.1"],
      allowPrivatePeers: true,
      secret,
      log: () => {},
      ...options,
    }),
  );
  return { relay, secret };
}

/** What a node is told of a relay: every way to it, or those of some kinds. */
export function relayInfo(
  { relay, secret }: TestRelay,
  id: string,
  kinds: readonly string[] = ["udp", "tcp", "tls", "websocket"],
): RelayInfo {
  const transports = relay.transports
    .filter(({ kind }) => kinds.includes(kind))
    .map(({ kind, endpoint }): RelayTransportInfo =>
      kind === "websocket" ? { kind, url: endpoint } : { kind, address: endpoint }
    );
  return infoOf({ secret, id, transports });
}

/** What a node is told of any TURN server with the REST scheme. */
export function infoOf({ secret, id, transports }: {
  readonly secret: string;
  readonly id: string;
  readonly transports: readonly RelayTransportInfo[];
}): RelayInfo {
  const expiresAtSeconds = Date.now() / 1000 + 3600;
  const session = `mesh.key.${crypto.randomUUID().slice(0, 8)}`;
  const credentials = restCredentials(secret, { session, expiresAtSeconds });
  return {
    id,
    sessionId: session,
    transports,
    ...credentials,
    expiresAtMs: expiresAtSeconds * 1000,
  };
}

/** A way over UDP to an address. */
export function udpWay(address: { hostname: string; port: number }): RelayTransportInfo {
  return { kind: "udp", address: formatSocketAddress(address) };
}
