/**
 * `moray colony` and `moray agent`: a node that finds its peers through Discovery.
 *
 * ```text
 *   candidates (datapath) --Registrar--> Discovery --watch--> MeshPeers --addPeer, candidates, punch--> datapath
 * ```
 *
 * An agent talks to its mesh's colony; a colony to every agent that is registered in its mesh. Discovery says where a
 * node is; that it is the node with that key, only the WireGuard handshake proves.
 *
 * @module
 */
import {
  assert,
  formatBase64,
  formatSocketAddress,
  messageOf,
  MorayError,
  parseSocketAddress,
  type SocketAddress,
} from "../core/mod.ts";
import { DiscoveryClient, type PeerEvent, type Registration } from "../discovery/mod.ts";
import { watchInterfaces } from "../io/mod.ts";
import { COLONY_IPV4, meshIpv6Of } from "./addressing.ts";
import { loadOrCreateKey } from "./key_file.ts";
import { startLocalApi } from "./local_api.ts";
import { type MeshPeer, MeshPeers, type Role } from "./mesh_peers.ts";
import { isLabel, labelOf, NameTable } from "./names.ts";
import { NodeCore } from "./node_core.ts";
import type { MeshNodeOptions, RunningNode } from "./options.ts";
import { pathOf, peerStatus } from "./peer_status.ts";
import { Registrar } from "./registrar.ts";
import { resolveEndpoints } from "./resolve_host.ts";
import type { CandidateInfo, CommandBody, NodeEvent } from "./shared/mod.ts";
import type { NatStatus, NodeStatus, PingReply } from "./status.ts";

/** Fits every path (RFC 8200 section 5: 1280), until path MTU discovery raises it. */
const MESH_MTU = 1280;
/** How long the start waits for the first STUN answer: two round trips around the world. */
const FIRST_CANDIDATES_MS = 600;
/** Without Watch, and while the colony is not connected, it is looked up this often at first. */
const LOOKUP_MS = 2000;
const LOOKUP_MS_MAX = 60_000;
/** Look-ups of strangers at once; further strangers try again by themselves. */
const STRANGERS_MAX = 64;
/** How often the system's interfaces are looked at. */
const INTERFACES_MS = 2000;
/** Time for goodbyes at the end. */
const GOODBYE_MS = 800;
/** Echoes that measure the round trip to a peer once it has connected, and how long each may take. */
const FIRST_PINGS = 3;
const FIRST_PING_MS = 2000;
/** Where Coral's colonies listen inside the mesh. */
const CONNECT_PORT = 9000;

/** Starts a colony or an agent. */
export async function startMeshNode(role: Role, options: MeshNodeOptions): Promise<RunningNode> {
  const { mesh, state } = options;
  if (!isLabel(mesh)) {
    throw new MorayError("usage", `Not a mesh id: ${mesh}: use 1 to 63 of a-z, 0-9 and "-"`);
  }
  const name = options.name ?? (role === "colony" ? "colony" : labelOf(Deno.hostname()) ?? "agent");
  if (!isLabel(name)) {
    throw new MorayError("usage", `Not a node name: ${name}: use 1 to 63 of a-z, 0-9 and "-"`);
  }
  if (options.open === false) {
    throw new MorayError(
      "unsupported",
      "A closed colony needs invites, which this version lacks: leave the colony open",
    );
  }
  const { privateKey, publicKey } = await loadOrCreateKey(state);
  const node = new MeshNode(role, { ...options, name }, publicKey);
  try {
    await node.start(privateKey);
  } catch (error) {
    await node.stop();
    throw error;
  }
  return node;
}

class MeshNode implements RunningNode {
  readonly #role: Role;
  readonly #options: MeshNodeOptions & { readonly name: string };
  readonly #publicKey: string;
  readonly #meshIpv6: string;
  readonly #names: NameTable;
  readonly #discovery: DiscoveryClient;
  readonly #registrar: Registrar;
  readonly #peers: MeshPeers;
  readonly #strangers = new Set<string>();
  readonly #ended = new AbortController();
  readonly #firstCandidates = Promise.withResolvers<void>();
  #strangersIgnored = 0;
  #core: NodeCore | undefined;
  #candidates: readonly CandidateInfo[] = [];
  #nat: NatStatus | undefined;
  /** Whether Discovery answered last time. */
  #connected = false;
  #lookupTimer: ReturnType<typeof setTimeout> | undefined;
  #lookupMs = LOOKUP_MS;
  #stopping: Promise<void> | undefined;

  constructor(
    role: Role,
    options: MeshNodeOptions & { readonly name: string },
    publicKey: Uint8Array,
  ) {
    const { mesh, discovery, log } = options;
    this.#role = role;
    this.#options = options;
    this.#publicKey = formatBase64(publicKey);
    this.#meshIpv6 = meshIpv6Of(mesh, publicKey);
    this.#names = new NameTable(mesh);
    this.#names.set(options.name, this.#meshIpv6);
    this.#discovery = new DiscoveryClient({ urls: discovery, log });
    this.#registrar = new Registrar({
      discovery: this.#discovery,
      registration: () => this.#registration(),
      onResult: (succeeded) => this.#connected = succeeded,
      log,
      signal: this.#ended.signal,
    });
    this.#peers = new MeshPeers({
      role,
      mesh,
      discovery,
      publicKey: this.#publicKey,
      names: this.#names,
      send: (command) => this.#send(command),
      log,
    });
  }

  get listening(): readonly string[] {
    return this.#running().listening;
  }

  get finished(): Promise<void> {
    return this.#running().finished;
  }

  async start(privateKey: Uint8Array): Promise<void> {
    const { state, log, publicEndpoint } = this.#options;
    const core = await NodeCore.start(this.#options, {
      privateKey,
      mtu: MESH_MTU,
      names: this.#names,
      onEvent: (event) => this.#handle(event),
      ...(publicEndpoint && { publicEndpoint }),
    });
    this.#core = core;
    core.own(await startLocalApi({ state, node: this, log }));
    const own = [`${this.#meshIpv6}/128`];
    if (this.#role === "colony") own.push(`${COLONY_IPV4}/32`);
    await core.client.send({ kind: "setAddresses", addresses: own });
    core.startServices();
    await this.#gather(core);
    await this.#registrar.register();
    watchInterfaces({
      intervalMs: INTERFACES_MS,
      signal: this.#ended.signal,
      onChange: () => this.#send({ kind: "linkChanged" }),
    });
    if (this.#role === "agent") await this.#lookUpColony();
    this.#watch();
  }

  async status(): Promise<NodeStatus> {
    const status = await this.#running().client.send({ kind: "status" });
    const counters: Record<string, number> = { ...status.counters };
    if (this.#peers.ignored > 0) counters["peersIgnored"] = this.#peers.ignored;
    if (this.#strangersIgnored > 0) counters["strangersIgnored"] = this.#strangersIgnored;
    return {
      node: {
        name: this.#options.name,
        publicKey: this.#publicKey,
        meshIpv4: this.#role === "colony" ? COLONY_IPV4 : null,
        meshIpv6: this.#meshIpv6,
        nat: status.nat,
        endpoints: status.candidates.map(({ address }) => address),
        datapath: status.driver,
        tun: status.tun,
      },
      discovery: { url: this.#discovery.url, connected: this.#connected },
      peers: status.peers.map((peer) => {
        const known = this.#peers.find(peer.publicKey);
        return peerStatus(peer, {
          name: this.#peers.nameOf(peer.publicKey),
          meshIpv4: known?.meshIpv4 ?? null,
          meshIpv6: known?.meshIpv6 ?? null,
          mtu: MESH_MTU,
        });
      }),
      counters,
    };
  }

  async ping(
    peer: string,
    { sequence, timeoutMs }: { sequence: number; timeoutMs: number },
  ): Promise<PingReply> {
    const { client, network } = this.#running();
    const address = network.resolve(peer);
    if (address === undefined) {
      throw new MorayError(
        "unreachable",
        `No node is called ${peer} in mesh ${this.#options.mesh}`,
      );
    }
    const rttMs = await client.send({ kind: "ping", address, sequence, timeoutMs });
    const { peers } = await client.send({ kind: "status" });
    const key = this.#peers.withAddress(address)?.publicKey;
    const path = pathOf(peers.find(({ publicKey }) => publicKey === key), MESH_MTU);
    return { sequence, rttMs, path };
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    this.#ended.abort();
    clearTimeout(this.#lookupTimer);
    await Promise.all([this.#registrar.deregister(GOODBYE_MS), this.#core?.stop()]);
  }

  #running(): NodeCore {
    assert(this.#core !== undefined, "the node has started");
    return this.#core;
  }

  /** Finds the first candidates: asks Discovery for STUN servers and waits a little for their answers. */
  async #gather(core: NodeCore): Promise<void> {
    const { stunServers = [], log } = this.#options;
    const { signal } = this.#ended;
    const info = await this.#discovery.serverInfo({ signal });
    this.#connected = true;
    const texts = stunServers.length > 0 ? stunServers : info.stunServers;
    const servers = await resolveEndpoints(texts, (error) => log("warn", `STUN: ${error.message}`));
    await core.client.send({ kind: "setStunServers", servers: servers.map(formatSocketAddress) });
    await core.client.send({ kind: "linkChanged" });
    if (servers.length === 0) return;
    const late = AbortSignal.any([signal, AbortSignal.timeout(FIRST_CANDIDATES_MS)]);
    const waited = new Promise<void>((resolve) => late.addEventListener("abort", () => resolve()));
    await Promise.race([this.#firstCandidates.promise, waited]);
  }

  #registration(): Registration {
    const { mesh: meshId, name, connectPort = CONNECT_PORT } = this.#options;
    const of = (...kinds: string[]): SocketAddress[] =>
      this.#candidates.filter(({ kind }) => kinds.includes(kind))
        .map(({ address }) => parseSocketAddress(address)).filter((a) => a !== undefined);
    const hint = this.#nat?.hint as Registration["nat"];
    return {
      meshId,
      publicKey: this.#publicKey,
      role: this.#role,
      name,
      endpoints: of("host", "configured"),
      observedEndpoints: of("serverReflexive", "portMapped"),
      meshIpv6: this.#meshIpv6,
      ...(hint && { nat: hint }),
      ...(this.#role === "colony" && { meshIpv4: COLONY_IPV4, connectPort }),
    };
  }

  #handle(event: NodeEvent): void {
    const { log } = this.#options;
    switch (event.kind) {
      case "candidatesChanged": {
        const changed = JSON.stringify(event.candidates) !== JSON.stringify(this.#candidates);
        this.#candidates = event.candidates;
        this.#nat = event.nat;
        if (event.candidates.some(({ kind }) => kind === "serverReflexive")) {
          this.#firstCandidates.resolve();
        }
        if (changed) this.#registrar.changed();
        return;
      }
      case "unknownPeer":
        if (this.#role === "colony") this.#meet(event.publicKey);
        return;
      case "peerConnected":
      case "peerMoved": {
        const peer = this.#peers.find(event.publicKey);
        const first = peer?.connected === false;
        if (first) {
          peer.connected = true;
          this.#measure(peer);
        }
        this.#lookupMs = LOOKUP_MS;
        const name = this.#peers.nameOf(event.publicKey);
        const { remote } = event;
        log(first ? "info" : "debug", `${first ? "connected to" : "session with"} ${name}`, {
          remote,
        });
        return;
      }
      case "peerLost": {
        const peer = this.#peers.find(event.publicKey);
        if (peer !== undefined) peer.connected = false;
        log("warn", `lost ${this.#peers.nameOf(event.publicKey)}`);
        this.#peers.sweep(performance.now());
        if (this.#role === "agent") this.#lookUpIn(0);
        return;
      }
    }
  }

  /** Measures the round trip to a peer that has just connected, for `status`. */
  async #measure({ meshIpv6: address }: MeshPeer): Promise<void> {
    for (let sequence = 1; sequence <= FIRST_PINGS; sequence++) {
      await this.#core?.client.send({ kind: "ping", address, sequence, timeoutMs: FIRST_PING_MS })
        .catch((error) => this.#options.log("debug", `ping: ${messageOf(error)}`));
    }
  }

  // ---- what Discovery tells

  #watch(): void {
    const { mesh: meshId, log } = this.#options;
    const { signal } = this.#ended;
    if (!this.#discovery.features.watch) {
      log("info", "this Discovery has no Watch streams: looking up instead");
      return;
    }
    this.#discovery.watch({
      meshId,
      publicKey: this.#publicKey,
      signal,
      onEvent: (event) => this.#learn(event),
      onState: (state) => {
        this.#connected = state.connected;
        if (state.connected) return;
        log("warn", `Discovery: ${state.reason}`);
        if (state.notRegistered) this.#registrar.lost();
      },
    }).catch((error) => log("error", `watch: ${messageOf(error)}`));
  }

  #learn(event: PeerEvent): void {
    switch (event.kind) {
      case "upserted":
        return this.#peers.learn(event.peer);
      case "punch":
        return this.#peers.learn(event.peer, event.windowMs);
      case "removed":
        return this.#peers.gone(event.publicKey, performance.now());
      case "synchronized":
        return this.#peers.sweep(performance.now());
    }
  }

  /** A stranger's handshake: whoever is registered in this mesh is admitted. */
  #meet(publicKey: string): void {
    const { mesh: meshId, log } = this.#options;
    if (this.#peers.find(publicKey) !== undefined || this.#strangers.has(publicKey)) return;
    if (this.#strangers.size >= STRANGERS_MAX) return void this.#strangersIgnored++;
    this.#strangers.add(publicKey);
    // On a plain Coral Discovery the key is found as the agent's id, which is what an agent of ours registers.
    const query = this.#discovery.features.watch
      ? { meshId, publicKey }
      : { meshId, agentId: publicKey };
    this.#discovery.lookupAgent(query, { signal: this.#ended.signal })
      .then((found) => {
        if (found?.publicKey === publicKey) this.#peers.learn(found);
        else log("info", "a handshake from a key that is not registered", { publicKey });
      })
      .catch((error) => log("debug", `look-up of a stranger: ${messageOf(error)}`))
      .finally(() => this.#strangers.delete(publicKey));
  }

  // ---- an agent's way to its colony

  /** Looks the colony up, asks for a punch, and comes back until it is connected. */
  async #lookUpColony(): Promise<void> {
    const { mesh: meshId, log } = this.#options;
    const { signal } = this.#ended;
    try {
      const colony = await this.#discovery.lookupColony(meshId, { signal });
      if (colony === undefined) log("info", `mesh ${meshId} has no colony yet: waiting for it`);
      else {
        this.#peers.learn(colony);
        if (this.#discovery.features.punch) {
          const keys = { meshId, from: this.#publicKey, to: colony.publicKey };
          const punched = await this.#discovery.initiatePunch(keys, { signal });
          this.#peers.learn(punched.peer, punched.windowMs);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      log("debug", `looking up the colony: ${messageOf(error)}`);
    }
    this.#lookUpIn(this.#lookupMs);
    this.#lookupMs = Math.min(this.#lookupMs * 2, LOOKUP_MS_MAX);
  }

  #lookUpIn(ms: number): void {
    clearTimeout(this.#lookupTimer);
    if (this.#ended.signal.aborted) return;
    this.#lookupTimer = setTimeout(() => {
      const watched = this.#discovery.features.watch;
      if (this.#peers.anyConnected && watched) this.#lookUpIn(LOOKUP_MS_MAX);
      else this.#lookUpColony();
    }, ms);
    Deno.unrefTimer(this.#lookupTimer);
  }

  #send(command: CommandBody): void {
    this.#core?.client.send(command).catch((error) => {
      if (this.#ended.signal.aborted) return;
      this.#options.log("warn", `${command.kind}: ${messageOf(error)}`);
    });
  }
}
