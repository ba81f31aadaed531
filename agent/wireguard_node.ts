/** `moray wireguard FILE`: a plain WireGuard peer from a standard configuration file. @module */
import {
  cidrContains,
  equals,
  formatBase64,
  formatCidr,
  formatSocketAddress,
  MorayError,
  parseIp,
  type SocketAddress,
} from "../core/mod.ts";
import { NameTable } from "./names.ts";
import type { NetcheckReport } from "./netcheck/report.ts";
import type { Network } from "./network.ts";
import { NodeCore } from "./node_core.ts";
import type { RunningNode, WireGuardNodeOptions } from "./options.ts";
import { resolveHost } from "./resolve_host.ts";
import { pathOf, peerStatus, reasonOf } from "./peer_status.ts";
import type { DatapathPeerStatus } from "./shared/mod.ts";
import type { NodeStatus, PathChange, PeerStatus, PingReply } from "./status.ts";
import {
  parseWireGuardConfig,
  type WireGuardConfig,
  type WireGuardPeer,
} from "./wireguard_config.ts";

/** As wg-quick assumes: 1500 less the outer headers over IPv6. */
const MTU_DEFAULT = 1420;

/** Starts a peer. Rejects with `config` (naming file and line), `portInUse`, `unreachable` (a name in an endpoint) or `limit`. */
export async function startWireGuard(options: WireGuardNodeOptions): Promise<RunningNode> {
  const config = parseWireGuardConfig(options.text, { file: options.file });
  for (const { key, line } of config.ignored) {
    options.log("warn", `${options.file}:${line}: ${key} has no effect here`);
  }
  const names = new NameTable();
  const wgPort = options.wgPort ?? config.listenPort;
  const core = await NodeCore.start({ ...options, wgPort }, {
    privateKey: config.privateKey,
    mtu: config.mtu ?? MTU_DEFAULT,
    names,
    onEvent: (event) => {
      if (event.kind === "peerConnected") {
        options.log("info", "session with a peer", { peer: event.publicKey, remote: event.remote });
      }
    },
  });
  try {
    const { client } = core;
    const own = config.peers.findIndex(({ publicKey }) =>
      equals(publicKey, core.datapath.publicKey)
    );
    if (own >= 0) {
      throw new MorayError(
        "config",
        `${options.file}: [Peer] ${own + 1} has the key of [Interface]`,
      );
    }
    const addresses = config.addresses.map(({ address, prefix }) => `${address}/${prefix}`);
    await client.send({ kind: "setAddresses", addresses });
    for (const [i, peer] of config.peers.entries()) await addPeer(core, peer, `peer${i + 1}`);
    await core.startServices();
  } catch (error) {
    await core.stop();
    throw error;
  }
  return new WireGuardNode(core, config);
}

async function addPeer(core: NodeCore, peer: WireGuardPeer, name: string): Promise<void> {
  const publicKey = formatBase64(peer.publicKey);
  const endpoint = await endpointOf(peer);
  await core.client.send({
    kind: "addPeer",
    publicKey,
    name,
    mesh: false,
    allowedIps: peer.allowedIps.map(formatCidr),
    keepaliveSeconds: peer.persistentKeepalive,
    ...(peer.presharedKey && { presharedKey: formatBase64(peer.presharedKey) }),
    ...(endpoint && { endpoint: formatSocketAddress(endpoint) }),
  });
  // A keepalive is a wish to be connected without traffic.
  if (peer.persistentKeepalive > 0 && endpoint) {
    await core.client.send({ kind: "connectPeer", publicKey });
  }
}

async function endpointOf({ endpoint }: WireGuardPeer): Promise<SocketAddress | undefined> {
  if (endpoint === undefined) return undefined;
  const [hostname] = await resolveHost(endpoint.host);
  return hostname === undefined ? undefined : { hostname, port: endpoint.port };
}

class WireGuardNode implements RunningNode {
  readonly #core: NodeCore;
  readonly #config: WireGuardConfig;

  constructor(core: NodeCore, config: WireGuardConfig) {
    this.#core = core;
    this.#config = config;
  }

  get listening(): readonly string[] {
    return this.#core.listening;
  }

  get finished(): Promise<void> {
    return this.#core.finished;
  }

  get network(): Network {
    return this.#core.network;
  }

  subscribe(listener: (change: PathChange) => void): void {
    this.#core.subscribe((change) => listener({ name: change.publicKey.slice(0, 8), ...change }));
  }

  // deno-lint-ignore require-await -- what is unsupported rejects
  async netcheck(): Promise<NetcheckReport> {
    throw new MorayError(
      "unsupported",
      "A plain WireGuard peer asks no STUN servers: run moray netcheck without --state",
    );
  }

  async status(): Promise<NodeStatus> {
    const status = await this.#core.client.send({ kind: "status" });
    const own = this.#config.addresses.map(({ address }) => address);
    return {
      node: {
        name: "wireguard",
        publicKey: formatBase64(this.#core.datapath.publicKey),
        meshIpv4: own.find((ip) => !ip.includes(":")) ?? null,
        meshIpv6: own.find((ip) => ip.includes(":")) ?? null,
        nat: status.nat,
        endpoints: status.candidates.map(({ address }) => address),
        candidates: status.candidates,
        datapath: status.driver,
        cipher: status.cipher,
        tun: status.tun,
      },
      discovery: null,
      peers: status.peers.map((peer) => this.#peerStatus(peer)),
      counters: { ...status.counters, ...this.#core.counters() },
    };
  }

  async ping(
    peer: string,
    { sequence, timeoutMs }: { sequence: number; timeoutMs: number },
  ): Promise<PingReply> {
    const address = this.#core.network.resolve(peer);
    if (address === undefined) {
      throw new MorayError("unreachable", `${peer} is no address inside the tunnel`);
    }
    const rttMs = await this.#core.client.send({ kind: "ping", address, sequence, timeoutMs });
    const { peers } = await this.#core.client.send({ kind: "status" });
    const key = this.#keyBehind(address);
    const behind = peers.find(({ publicKey }) => publicKey === key);
    const path = pathOf(behind, this.#config.mtu ?? MTU_DEFAULT);
    return { sequence, rttMs, path, reason: reasonOf(behind, undefined) };
  }

  stop(): Promise<void> {
    return this.#core.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** The key of the peer whose AllowedIPs hold an address, the longest prefix first. */
  #keyBehind(address: string): string | undefined {
    const ip = parseIp(address);
    let best = { prefix: -1, key: undefined as string | undefined };
    for (const { publicKey, allowedIps } of this.#config.peers) {
      for (const block of allowedIps) {
        if (ip === undefined || block.prefix <= best.prefix || !cidrContains(block, ip)) continue;
        best = { prefix: block.prefix, key: formatBase64(publicKey) };
      }
    }
    return best.key;
  }

  #peerStatus(peer: DatapathPeerStatus): PeerStatus {
    const known = this.#config.peers.find(({ publicKey }) =>
      formatBase64(publicKey) === peer.publicKey
    );
    const own = known?.allowedIps.map(formatCidr) ?? [];
    const literal = (suffix: string): string | null =>
      own.find((cidr) => cidr.endsWith(suffix))?.slice(0, -suffix.length) ?? null;
    return peerStatus(peer, {
      name: peer.publicKey.slice(0, 8),
      meshIpv4: literal("/32"),
      meshIpv6: literal("/128"),
      mtu: this.#config.mtu ?? MTU_DEFAULT,
    });
  }
}
