/**
 * `moray colony` and `moray agent`: a node that finds its peers through Discovery.
 *
 * ```text
 *   candidates (datapath) --register--> Discovery --watch--> peers --addPeer, candidates, punch--> datapath
 * ```
 *
 * An agent talks to its mesh's colony; a colony to every agent that is registered in its mesh. Discovery says where a
 * node is; that it is the node with that key, only the WireGuard handshake proves.
 *
 * @module
 */
import {
  assert,
  canonicalIp,
  formatBase64,
  formatSocketAddress,
  isLocalScope,
  messageOf,
  MorayError,
  parseKey,
  parseSocketAddress,
  type SocketAddress,
} from "../core/mod.ts";
import {
  type DiscoveredPeer,
  DiscoveryClient,
  type PeerEvent,
  type Registration,
} from "../discovery/mod.ts";
import { watchInterfaces } from "../io/mod.ts";
import { parseEndpoint } from "../traversal/mod.ts";
import { COLONY_IPV4, meshIpv6Of } from "./addressing.ts";
import { loadOrCreateKey } from "./key_file.ts";
import { startLocalApi } from "./local_api.ts";
import { isLabel, labelOf, NameTable } from "./names.ts";
import { NodeCore } from "./node_core.ts";
import type { MeshNodeOptions, RunningNode } from "./options.ts";
import { pathOf, peerStatus } from "./peer_status.ts";
import { resolveEndpoints } from "./resolve_host.ts";
import type { CandidateInfo, NodeEvent } from "./shared/mod.ts";
import type { NatStatus, NodeStatus, PingReply } from "./status.ts";

/** The two roles in a mesh. */
export type Role = "colony" | "agent";

/** Fits every path (RFC 8200 section 5: 1280), until path MTU discovery raises it. */
const MESH_MTU = 1280;
/** Keeps NAT mappings alive; WireGuard's customary value. */
const KEEPALIVE_SECONDS = 25;
/** How long the start waits for the first STUN answer: two round trips around the world. */
const FIRST_CANDIDATES_MS = 600;
/** Changes of candidates that come together are registered together. */
const REGISTER_SOON_MS = 50;
/** A registration is refreshed after this part of its life, less up to a tenth at random. */
const REFRESH_PART = 1 / 3;
/** Wait after a failed registration, doubled each time. */
const RETRY_MS = 1000;
const RETRY_MS_MAX = 30_000;
/** Without Watch, and while the colony is not connected, it is looked up this often at first. */
const LOOKUP_MS = 2000;
const LOOKUP_MS_MAX = 60_000;
/** How long a peer that Discovery no longer knows stays without a session. */
const GONE_MS = 180_000;
/** Look-ups of strangers at once; further strangers try again by themselves. */
const STRANGERS_MAX = 64;
/** How often the system's interfaces are looked at. */
const INTERFACES_MS = 2000;
/** Time for goodbyes at the end. */
const GOODBYE_MS = 800;
/** Echoes that measure the round trip to a peer once it has connected, and how long each may take. */
const FIRST_PINGS = 3;
const FIRST_PING_MS = 2000;
/** Peers of one node, as many as Discovery keeps for a mesh; later ones are ignored and counted. */
const PEERS_MAX = 10_000;

/** A peer as the mesh knows it. */
interface MeshPeer {
  readonly publicKey: string;
  readonly name: string;
  readonly role: Role;
  readonly meshIpv4: string | null;
  readonly meshIpv6: string;
  generation: number;
  connected: boolean;
  /** When Discovery said that it is gone; `undefined` while it is known. */
  goneAt: number | undefined;
}

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
  readonly #peers = new Map<string, MeshPeer>();
  readonly #strangers = new Set<string>();
  readonly #ended = new AbortController();
  readonly #firstCandidates = Promise.withResolvers<void>();
  readonly #counters = new Map<string, number>();
  #core: NodeCore | undefined;
  #candidates: readonly CandidateInfo[] = [];
  #nat: NatStatus | undefined;
  #registered = false;
  #connected = false;
  #registering: Promise<void> | undefined;
  #registerAgain = false;
  #refreshTimer: ReturnType<typeof setTimeout> | undefined;
  #lookupTimer: ReturnType<typeof setTimeout> | undefined;
  #retryMs = RETRY_MS;
  #lookupMs = LOOKUP_MS;
  #stopping: Promise<void> | undefined;

  constructor(
    role: Role,
    options: MeshNodeOptions & { readonly name: string },
    publicKey: Uint8Array,
  ) {
    this.#role = role;
    this.#options = options;
    this.#publicKey = formatBase64(publicKey);
    this.#meshIpv6 = meshIpv6Of(options.mesh, publicKey);
    this.#names = new NameTable(options.mesh);
    this.#names.set(options.name, this.#meshIpv6);
    this.#discovery = new DiscoveryClient({ urls: options.discovery, log: options.log });
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
    await this.#register();
    watchInterfaces({
      intervalMs: INTERFACES_MS,
      signal: this.#ended.signal,
      onChange: () => this.#send({ kind: "linkChanged" }),
    });
    if (this.#role === "agent") await this.#lookUpColony();
    this.#watch();
  }

  async status(): Promise<NodeStatus> {
    const core = this.#running();
    const status = await core.client.send({ kind: "status" });
    const counters = { ...status.counters, ...Object.fromEntries(this.#counters) };
    return {
      node: {
        name: this.#options.name,
        publicKey: this.#publicKey,
        meshIpv4: this.#role === "colony" ? COLONY_IPV4 : null,
        meshIpv6: this.#meshIpv6,
        nat: status.nat,
        endpoints: status.candidates.map(({ address }) => address),
        datapath: status.driver,
      },
      discovery: { url: this.#discovery.url, connected: this.#connected },
      peers: status.peers.map((peer) => {
        const known = this.#peers.get(peer.publicKey);
        return peerStatus(peer, {
          name: known?.name ?? peer.publicKey.slice(0, 8),
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
    const known = [...this.#peers.values()].find((p) =>
      p.meshIpv6 === address || p.meshIpv4 === address
    );
    const found = peers.find(({ publicKey }) => publicKey === known?.publicKey);
    return { sequence, rttMs, path: pathOf(found, MESH_MTU) };
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
    clearTimeout(this.#refreshTimer);
    clearTimeout(this.#lookupTimer);
    await Promise.all([this.#deregister(), this.#core?.stop()]);
  }

  async #deregister(): Promise<void> {
    if (!this.#registered) return;
    const { mesh: meshId, log } = this.#options;
    try {
      const signal = AbortSignal.timeout(GOODBYE_MS);
      const key = { meshId, publicKey: this.#publicKey, role: this.#role };
      await this.#discovery.deregister(key, { signal });
    } catch (error) {
      log("debug", `deregister: ${messageOf(error)}`);
    }
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

  #handle(event: NodeEvent): void {
    const { log } = this.#options;
    switch (event.kind) {
      case "candidatesChanged": {
        const before = JSON.stringify(this.#candidates);
        this.#candidates = event.candidates;
        this.#nat = event.nat;
        if (event.candidates.some(({ kind }) => kind === "serverReflexive")) {
          this.#firstCandidates.resolve();
        }
        if (this.#registered && JSON.stringify(event.candidates) !== before) {
          this.#refreshIn(REGISTER_SOON_MS);
        }
        return;
      }
      case "unknownPeer":
        if (this.#role === "colony") this.#meet(event.publicKey);
        return;
      case "peerConnected":
      case "peerMoved": {
        const peer = this.#peers.get(event.publicKey);
        const name = peer?.name ?? event.publicKey.slice(0, 8);
        const first = peer?.connected !== true;
        if (peer !== undefined) peer.connected = true;
        if (first && peer !== undefined) this.#measure(peer);
        this.#lookupMs = LOOKUP_MS;
        log(first ? "info" : "debug", `${first ? "connected to" : "session with"} ${name}`, {
          remote: event.remote,
        });
        return;
      }
      case "peerLost": {
        const peer = this.#peers.get(event.publicKey);
        if (peer !== undefined) peer.connected = false;
        log("warn", `lost ${peer?.name ?? event.publicKey.slice(0, 8)}`);
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

  // ---- registration

  /** Registers now. A call while one is under way is followed by one more. */
  #register(): Promise<void> {
    if (this.#registering !== undefined) {
      this.#registerAgain = true;
      return this.#registering;
    }
    this.#registering = this.#registerOnce().finally(() => {
      this.#registering = undefined;
      if (!this.#registerAgain) return;
      this.#registerAgain = false;
      this.#refreshIn(0);
    });
    return this.#registering;
  }

  async #registerOnce(): Promise<void> {
    const registered = await this.#discovery.register(this.#registration(), {
      signal: this.#ended.signal,
    });
    this.#registered = true;
    this.#connected = true;
    this.#retryMs = RETRY_MS;
    this.#refreshIn(registered.ttlMs * REFRESH_PART * (1 - Math.random() / 10));
  }

  #registration(): Registration {
    const { mesh: meshId, name, connectPort } = this.#options;
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
      ...(this.#role === "colony" && { meshIpv4: COLONY_IPV4, connectPort: connectPort ?? 9000 }),
    };
  }

  #refreshIn(ms: number): void {
    clearTimeout(this.#refreshTimer);
    if (this.#ended.signal.aborted) return;
    this.#refreshTimer = setTimeout(() => {
      this.#register().catch((error) => {
        if (this.#ended.signal.aborted) return;
        this.#connected = false;
        this.#options.log("warn", `registration: ${messageOf(error)}`);
        this.#refreshIn(this.#retryMs);
        this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
      });
    }, ms);
    Deno.unrefTimer(this.#refreshTimer);
  }

  // ---- peers

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
        if (state.connected) {
          this.#connected = true;
          return;
        }
        this.#connected = false;
        log("warn", `Discovery: ${state.reason}`);
        if (state.notRegistered) this.#refreshIn(0);
      },
    }).catch((error) => log("error", `watch: ${messageOf(error)}`));
  }

  #learn(event: PeerEvent): void {
    switch (event.kind) {
      case "upserted":
        return this.#upsert(event.peer, undefined);
      case "punch":
        return this.#upsert(event.peer, event.windowMs);
      case "removed": {
        const peer = this.#peers.get(event.publicKey);
        if (peer === undefined) return;
        peer.goneAt = performance.now();
        return this.#sweep();
      }
      case "synchronized":
        return this.#sweep();
    }
  }

  /** Adds a peer or renews what is known of it, and punches towards it if asked to. */
  #upsert(found: DiscoveredPeer, punchMs: number | undefined): void {
    const key = parseKey(found.publicKey);
    // An agent has one peer, its colony; a colony has agents.
    const wanted = this.#role === "agent" ? "colony" : "agent";
    if (key === undefined || found.role !== wanted || found.publicKey === this.#publicKey) return;
    const known = this.#peers.get(found.publicKey);
    if (known === undefined && this.#peers.size >= PEERS_MAX) return this.#count("peersIgnored");
    if (known === undefined && this.#role === "agent") this.#replaceColony(found.publicKey);
    const peer = known ?? this.#meshPeer(found, key);
    peer.goneAt = undefined;
    peer.generation = found.generation;
    const { publicKey } = peer;
    if (known === undefined) {
      this.#peers.set(publicKey, peer);
      if (!this.#names.set(peer.name, peer.meshIpv6)) {
        this.#options.log("warn", `the name ${peer.name} is taken: use the node's address`, {
          address: peer.meshIpv6,
        });
      }
      const allowedIps = [`${peer.meshIpv6}/128`];
      if (peer.meshIpv4 !== null) allowedIps.push(`${peer.meshIpv4}/32`);
      this.#send({
        kind: "addPeer",
        publicKey,
        allowedIps,
        keepaliveSeconds: KEEPALIVE_SECONDS,
        mesh: true,
        name: peer.name,
      });
    }
    const candidates = this.#candidatesOf(found);
    if (punchMs !== undefined) {
      this.#send({ kind: "punch", publicKey, windowMs: punchMs, candidates });
    } else this.#send({ kind: "setCandidates", publicKey, candidates });
    this.#send({ kind: "connectPeer", publicKey });
  }

  #meshPeer(found: DiscoveredPeer, key: Uint8Array): MeshPeer {
    const derived = meshIpv6Of(this.#options.mesh, key);
    // A colony of another make may live at another address; an agent's follows from its key, or two could claim one.
    const claimed = found.role === "colony" && found.meshIpv6 !== undefined
      ? canonicalIp(found.meshIpv6)
      : undefined;
    return {
      publicKey: found.publicKey,
      name: labelOf(found.name) ??
        (found.role === "colony" ? "colony" : found.publicKey.slice(0, 8)),
      role: found.role,
      meshIpv4: found.role === "colony" ? found.meshIpv4 ?? null : null,
      meshIpv6: claimed ?? derived,
      generation: found.generation,
      connected: false,
      goneAt: undefined,
    };
  }

  #candidatesOf(found: DiscoveredPeer): readonly CandidateInfo[] {
    const allowLocal = this.#discoveryIsLocal();
    const of = (kind: string, addresses: readonly SocketAddress[]): CandidateInfo[] =>
      addresses.map((address) => parseEndpoint(address, { allowLocal }))
        .filter((address) => address !== undefined)
        .map((address) => ({ kind, address: formatSocketAddress(address) }));
    return [...of("host", found.endpoints), ...of("serverReflexive", found.observedEndpoints)];
  }

  /** A mesh whose Discovery is on this machine may be on this machine. */
  #discoveryIsLocal(): boolean {
    return this.#options.discovery.some((url) => {
      const host = new URL(url).hostname.replace(/^\[|\]$/g, "");
      return host === "localhost" || (canonicalIp(host) !== undefined && isLocalScope(host));
    });
  }

  /** A mesh has one colony: another key means that it was replaced, since Discovery binds a mesh to one key. */
  #replaceColony(publicKey: string): void {
    for (const old of [...this.#peers.values()]) {
      this.#options.log("warn", `the colony of mesh ${this.#options.mesh} has another key now`, {
        was: old.publicKey,
        is: publicKey,
      });
      this.#forget(old);
    }
  }

  #forget(peer: MeshPeer): void {
    this.#peers.delete(peer.publicKey);
    if (this.#names.resolve(peer.name) === peer.meshIpv6) this.#names.delete(peer.name);
    this.#send({ kind: "removePeer", publicKey: peer.publicKey });
  }

  /** Forgets peers that Discovery no longer knows, unless a session with them lives: Discovery may have lost its memory. */
  #sweep(): void {
    const now = performance.now();
    for (const peer of [...this.#peers.values()]) {
      if (peer.goneAt === undefined || peer.connected) continue;
      if (this.#role === "colony" || now - peer.goneAt >= GONE_MS) this.#forget(peer);
    }
  }

  /** A stranger's handshake: whoever is registered in this mesh is admitted. */
  #meet(publicKey: string): void {
    const { mesh: meshId, log } = this.#options;
    if (this.#peers.has(publicKey) || this.#strangers.has(publicKey)) return;
    if (this.#strangers.size >= STRANGERS_MAX) return this.#count("strangersIgnored");
    this.#strangers.add(publicKey);
    // On a plain Coral Discovery the key is found as the agent's id, which is what an agent of ours registers.
    const query = this.#discovery.features.watch
      ? { meshId, publicKey }
      : { meshId, agentId: publicKey };
    this.#discovery.lookupAgent(query, { signal: this.#ended.signal })
      .then((found) => {
        if (found?.publicKey === publicKey) this.#upsert(found, undefined);
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
        this.#upsert(colony, undefined);
        if (this.#discovery.features.punch) {
          const keys = { meshId, from: this.#publicKey, to: colony.publicKey };
          const punched = await this.#discovery.initiatePunch(keys, { signal });
          this.#upsert(punched.peer, punched.windowMs);
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
      const connected = [...this.#peers.values()].some((peer) => peer.connected);
      if (connected && this.#discovery.features.watch) this.#lookUpIn(LOOKUP_MS_MAX);
      else this.#lookUpColony();
    }, ms);
    Deno.unrefTimer(this.#lookupTimer);
  }

  #send(command: Parameters<NodeCore["client"]["send"]>[0]): void {
    this.#core?.client.send(command).catch((error) => {
      if (this.#ended.signal.aborted) return;
      this.#options.log("warn", `${command.kind}: ${messageOf(error)}`);
    });
  }

  #count(name: string): void {
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + 1);
  }
}
