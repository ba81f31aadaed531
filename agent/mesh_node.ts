/**
 * `moray colony` and `moray agent`: a node that finds its peers through Discovery.
 *
 * ```text
 *   datapath --candidates, sessions--> MeshControl --register, look up, punch--> Discovery
 *            <--peers, candidates-----             <--answers, Watch stream-----
 * ```
 *
 * {@linkcode MeshControl} decides; this file does what it says. An agent talks to its mesh's colony; a colony to every
 * agent that is registered in its mesh. Discovery says where a node is; that it is the node with that key, only the
 * WireGuard handshake proves.
 *
 * @module
 */
import {
  assert,
  type ErrorCode,
  formatBase64,
  formatSocketAddress,
  messageOf,
  MorayError,
  parseKey,
  parseSocketAddress,
} from "../core/mod.ts";
import { type DiscoveredPeer, DiscoveryClient, type NatHint } from "../discovery/mod.ts";
import {
  listInterfaces,
  privateCryptoKey,
  systemClock,
  systemRng,
  watchInterfaces,
  watchSleep,
} from "../io/mod.ts";
import { isVirtualInterface } from "../traversal/mod.ts";
import { COLONY_IPV4, meshIpv6Of } from "./addressing.ts";
import type { LoadingDatapath } from "./datapath/loading.ts";
import { loadOrCreateKey } from "./key_file.ts";
import { startLocalApi } from "./local_api.ts";
import { MeshControl } from "./mesh_control.ts";
import type { MeshAnswer, MeshEvent, MeshRequest } from "./mesh_messages.ts";
import type { MeshPeer, Role } from "./mesh_peers.ts";
import { MemberKeys } from "./member_keys.ts";
import { isLabel, labelOf, NameTable } from "./names.ts";
import { Nat64 } from "./nat64.ts";
import { NodeCore } from "./node_core.ts";
import { type NetcheckReport, nodeReport } from "./netcheck/report.ts";
import { NodeStun } from "./node_stun.ts";
import type { MeshNodeOptions, RunningNode } from "./options.ts";
import { readPeerCache, writePeerCache } from "./peer_cache.ts";
import { pathOf, peerStatus, reasonOf } from "./peer_status.ts";
import { PortMapper } from "./port_mapper.ts";
import { RelayOffer } from "./relay_offer.ts";
import { type RelayAsker, releaseRelays, requestRelay } from "./relay_requests.ts";
import { relayStatuses } from "./relay_status.ts";
import {
  CLOCKS_MS,
  CONNECT_PORT,
  INTERFACES_MS,
  INTERFACES_RARELY_MS,
  MESH_MTU,
} from "./mesh_settings.ts";
import type { CommandBody, NodeEvent } from "./shared/mod.ts";
import type { NodeStatus, PingReply } from "./status.ts";

/** Commands that the datapath has not answered; more wait in the control, where a later word makes an earlier one void. */
const COMMANDS_UNANSWERED_MAX = 256;
/** Changes of the peers that come within this time are written together. */
const CACHE_MS = 5000;
/** Time for goodbyes at the end. */
const GOODBYE_MS = 800;
/** How long the start waits for a resolver where there is only IPv6: what it says is wanted for the first STUN server. */
const NAT64_MS = 300;
/** Echoes that measure the round trip to a peer once it has connected, and how long each may take. */
const FIRST_PINGS = 3;
const FIRST_PING_MS = 2000;

/** Starts a colony or an agent, with a datapath that loads already. */
export async function startMeshNode(
  role: Role,
  options: MeshNodeOptions,
  loading: LoadingDatapath,
): Promise<RunningNode> {
  const { mesh, state } = options;
  if (!isLabel(mesh)) {
    throw new MorayError("usage", `Not a mesh id: ${mesh}: use 1 to 63 of a-z, 0-9 and "-"`);
  }
  const name = options.name ?? (role === "colony" ? "colony" : labelOf(Deno.hostname()) ?? "agent");
  if (!isLabel(name)) {
    throw new MorayError("usage", `Not a node name: ${name}: use 1 to 63 of a-z, 0-9 and "-"`);
  }
  if (options.noDirect === true && options.noRelay === true) {
    throw new MorayError("usage", "--no-direct and --no-relay leave no way to a peer: drop one");
  }
  if (options.open === false) {
    throw new MorayError(
      "unsupported",
      "A closed colony needs invites, which this version lacks: leave the colony open",
    );
  }
  const { privateKey, publicKey } = await loadOrCreateKey(state);
  const secret = await privateCryptoKey(privateKey);
  const cached = await readPeerCache({ state, mesh, log: options.log });
  const node = new MeshNode(role, { ...options, name }, { publicKey, secret, cached });
  try {
    await node.start(privateKey, loading);
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
  readonly #control: MeshControl;
  readonly #ended = new AbortController();
  /** Settles with the first registration, or the failure of the attempt. */
  readonly #first = Promise.withResolvers<void>();
  /** Settles once the datapath knows this node's addresses and takes commands about others. */
  readonly #opened = Promise.withResolvers<void>();
  #open = false;
  readonly #cached: boolean;
  #core: NodeCore | undefined;
  #portMapper: PortMapper | undefined;
  readonly #relayOffer: RelayOffer | undefined;
  readonly #nat64: Nat64;
  #stun: NodeStun | undefined;
  #unanswered = 0;
  #registered = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #cacheTimer: ReturnType<typeof setTimeout> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(
    role: Role,
    options: MeshNodeOptions & { readonly name: string },
    { publicKey, secret, cached }: {
      readonly publicKey: Uint8Array;
      readonly secret: CryptoKey;
      readonly cached: readonly DiscoveredPeer[];
    },
  ) {
    const { mesh, discovery, log, name, connectPort = CONNECT_PORT } = options;
    const { noRelay, relayBandwidth } = options;
    this.#role = role;
    this.#options = options;
    this.#publicKey = formatBase64(publicKey);
    this.#meshIpv6 = meshIpv6Of(mesh, publicKey);
    this.#names = new NameTable(mesh);
    this.#names.set(name, this.#meshIpv6);
    const identity = { publicKey, secret };
    this.#discovery = new DiscoveryClient({ urls: discovery, identity, log });
    this.#cached = cached.length > 0;
    this.#relayOffer = RelayOffer.of({ ...options, publicKey: this.#publicKey, keys: identity });
    this.#nat64 = new Nat64({
      log,
      send: (command) => this.#send(command),
      onChange: () => this.#tellAgain(),
    });
    this.#control = new MeshControl({
      now: systemClock.now(),
      rng: systemRng,
      role,
      mesh,
      name,
      connectPort,
      discovery,
      cached,
      publicKey: this.#publicKey,
      meshIpv6: this.#meshIpv6,
      names: this.#names,
      ...(noRelay !== undefined && { noRelay }),
      ...(relayBandwidth !== undefined && { relayBandwidth }),
    });
    // A node that stops before it was registered has nobody who waits for that.
    this.#first.promise.catch(() => {});
  }

  get listening(): readonly string[] {
    return this.#running().listening;
  }

  get finished(): Promise<void> {
    return this.#running().finished;
  }

  async start(privateKey: Uint8Array, loading: LoadingDatapath): Promise<void> {
    const { state, log, mesh, publicEndpoint, stunServers = [] } = this.#options;
    const { noGuess, noDirect } = this.#options;
    const publicKey = parseKey(this.#publicKey);
    assert(publicKey !== undefined, "the node's own key is one");
    this.#stun = new NodeStun({
      configured: stunServers,
      keys: MemberKeys.open({ privateKey, publicKey, mesh }),
      send: (command) => void this.#opened.promise.then(() => this.#send(command)),
      refresh: async () => {
        const info = await this.#discovery.serverInfo({ signal: this.#ended.signal });
        await this.#stun?.setDiscovery(info);
      },
      log,
      signal: this.#ended.signal,
    });
    // Questions to Discovery take round trips, which the datapath's start does not wait for.
    this.#control.start(systemClock.now());
    this.#drain();
    const nat64 = this.#nat64.detectWithin(NAT64_MS);
    const core = await NodeCore.start(this.#options, {
      loading,
      privateKey,
      mtu: MESH_MTU,
      names: this.#names,
      onEvent: (event) => this.#handle(event),
      ...(publicEndpoint && { publicEndpoint }),
      ...(noGuess !== undefined && { noGuess }),
      ...(noDirect !== undefined && { noDirect }),
    });
    this.#core = core;
    const own = [`${this.#meshIpv6}/128`];
    if (this.#role === "colony") own.push(`${COLONY_IPV4}/32`);
    this.#mapPort(core);
    this.#relayOffer?.start(parseSocketAddress(core.datapath.local)?.port ?? 0);
    const told = Promise.all([
      core.client.send({ kind: "setAddresses", addresses: own }),
      core.client.send({ kind: "linkChanged" }),
    ]);
    told.catch(() => {});
    core.own(await startLocalApi({ state, node: this, log }));
    await told;
    core.startServices();
    await nat64;
    this.#open = true;
    this.#opened.resolve();
    // STUN servers come first, which wait for this too: their answers are what the registration waits for.
    await this.#opened.promise;
    this.#drain();
    const { signal } = this.#ended;
    const changed = (sleptMs: number): void =>
      this.#do((now) => this.#control.handleLinkChanged(now, { sleptMs }));
    watchInterfaces({
      intervalMs: core.datapath.watchesLinks ? INTERFACES_RARELY_MS : INTERFACES_MS,
      signal,
      onChange: () => changed(0),
      list: () => listInterfaces().filter(({ name }) => !isVirtualInterface(name)),
    });
    watchSleep({
      everyMs: CLOCKS_MS,
      signal,
      onWake: (awayMs) => {
        this.#options.log("info", `awake again after ${Math.round(awayMs / 1000)} s`);
        changed(awayMs);
      },
    });
    await this.#first.promise;
  }

  async status(): Promise<NodeStatus> {
    const status = await this.#running().client.send({ kind: "status" });
    const { peers } = this.#control;
    const counters = { ...status.counters, ...this.#control.counters() };
    return {
      node: {
        name: this.#options.name,
        publicKey: this.#publicKey,
        meshIpv4: this.#role === "colony" ? COLONY_IPV4 : null,
        meshIpv6: this.#meshIpv6,
        nat: status.nat,
        endpoints: status.candidates.map(({ address }) => address),
        candidates: status.candidates,
        ...(this.#portMapper && { portMapping: this.#portMapper.status }),
        datapath: status.driver,
        tun: status.tun,
      },
      relays: relayStatuses(status.relays),
      relayReason: this.#control.relays.reason ?? null,
      ...(this.#relayOffer && { relayOffer: this.#relayOffer.status }),
      discovery: { url: this.#discovery.url, connected: this.#control.connected },
      peers: status.peers.map((peer) => {
        const { publicKey } = peer;
        const known = peers.find(publicKey);
        const hint = this.#control.hintOf(publicKey);
        return peerStatus(peer, {
          name: peers.nameOf(publicKey),
          meshIpv4: known?.meshIpv4 ?? null,
          meshIpv6: known?.meshIpv6 ?? null,
          mtu: MESH_MTU,
          candidates: known?.candidates ?? [],
          relays: status.relays,
          ...(hint !== undefined && { hint }),
        });
      }),
      counters,
    };
  }

  async netcheck(): Promise<NetcheckReport> {
    const { stunServers, nat, relays } = await this.#running().client.send({ kind: "status" });
    const portMapping = this.#portMapper?.status.map(
      ({ protocol, gateway, external, reason }) => ({
        protocol: protocol ?? "none",
        gateway,
        external,
        reason,
      }),
    );
    return nodeReport({
      families: this.#stun?.families ?? {},
      stunServers,
      hint: nat.hint as NatHint,
      discovery: { url: this.#discovery.url, connected: this.#control.connected },
      portMapping: portMapping ?? null,
      relays: relayStatuses(relays),
      ...(this.#relayOffer && { relayOffer: this.#relayOffer.status }),
    });
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
    const { peers, relays } = await client.send({ kind: "status" });
    const key = this.#control.peers.withAddress(address)?.publicKey;
    const found = peers.find(({ publicKey }) => publicKey === key);
    const hint = key === undefined ? undefined : this.#control.hintOf(key);
    return {
      sequence,
      rttMs,
      path: pathOf(found, MESH_MTU, relays),
      reason: reasonOf(found, hint),
    };
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
    clearTimeout(this.#timer);
    clearTimeout(this.#cacheTimer);
    if (this.#cacheTimer !== undefined) await this.#writeCache();
    await Promise.all([
      this.#releaseRelays(),
      this.#relayOffer?.stop(),
      this.#deregister(),
      this.#portMapper?.stop(GOODBYE_MS),
      this.#core?.stop(),
    ]);
  }

  #running(): NodeCore {
    assert(this.#core !== undefined, "the node has started");
    return this.#core;
  }

  /** Asks the gateways to let peers in. The start does not wait for it. */
  #mapPort({ datapath }: NodeCore): void {
    const { log, portMapping = true } = this.#options;
    const port = parseSocketAddress(datapath.local)?.port;
    if (!portMapping || port === undefined) return;
    this.#portMapper = new PortMapper({
      port,
      log,
      onOffer: (addresses) =>
        this.#send({ kind: "setMapped", addresses: addresses.map(formatSocketAddress) }),
    });
  }

  /** Tells the datapath of every peer again: what reaches them from here has changed. */
  #tellAgain(): void {
    for (const { publicKey, candidates } of this.#control.peers.all) {
      this.#send({ kind: "setCandidates", publicKey, candidates });
    }
  }

  /** Lets the control take something in, then does what it wants. */
  #do(take: (now: ReturnType<typeof systemClock.now>) => void): void {
    take(systemClock.now());
    this.#drain();
  }

  #drain(): void {
    if (this.#ended.signal.aborted) return;
    for (let event; (event = this.#control.pollEvent()) !== undefined;) this.#heed(event);
    for (let request; (request = this.#control.pollRequest()) !== undefined;) this.#ask(request);
    while (this.#open && this.#unanswered < COMMANDS_UNANSWERED_MAX) {
      const command = this.#control.pollCommand();
      if (command === undefined) break;
      this.#send(command);
    }
    clearTimeout(this.#timer);
    const dueAt = this.#control.pollTimeout();
    if (dueAt === undefined) return;
    const waitMs = Math.max(0, Math.ceil(dueAt - systemClock.now()));
    this.#timer = setTimeout(
      () => this.#do((now) => this.#control.handleTimeout(now)),
      waitMs,
    );
    Deno.unrefTimer(this.#timer);
  }

  #heed(event: MeshEvent): void {
    switch (event.kind) {
      case "log":
        return this.#options.log(event.level, event.message, event.fields);
      case "registered":
        this.#registered = true;
        this.#relayOffer?.registered();
        this.#first.resolve();
        return this.#watch();
      case "notRegistered":
        return this.#notRegistered(event);
      case "hurry":
        return this.#discovery.hurry();
      case "reconnect":
        return this.#discovery.reconnect();
      case "connected":
        return void this.#measure(event.peer);
      case "peersChanged":
        return this.#cacheSoon();
    }
  }

  /** Without Discovery a node starts if it knows peers, and only then. */
  #notRegistered({ code, message }: { code: ErrorCode; message: string }): void {
    const away = code === "unreachable" || code === "timedOut";
    if (!away || !this.#cached) return this.#first.reject(new MorayError(code, message));
    this.#options.log("warn", `${message}; starting with the peers of the last run`);
    this.#first.resolve();
  }

  // ---- Discovery

  #ask(request: MeshRequest): void {
    this.#answer(request).catch((error): MeshAnswer => {
      const code = error instanceof MorayError ? error.code : "internal";
      return { kind: "failed", request, code, message: messageOf(error) };
    }).then((answer) => {
      if (this.#ended.signal.aborted) return;
      this.#do((now) => this.#control.handleAnswer(now, answer));
    });
  }

  async #answer(request: MeshRequest): Promise<MeshAnswer> {
    const { mesh: meshId } = this.#options;
    const { signal } = this.#ended;
    const discovery = this.#discovery;
    switch (request.kind) {
      case "serverInfo": {
        const info = await discovery.serverInfo({ signal }).catch((error) => {
          this.#stun?.handleNoDiscovery();
          throw error;
        });
        const stun = await this.#stun?.setDiscovery(info) ?? false;
        // With the answer the control registers: the node's own addresses are to be known by then.
        await this.#opened.promise;
        return { kind: "serverInfo", features: info.features, stun };
      }
      case "register": {
        const { ttlMs } = await discovery.register(request.registration, { signal });
        return { kind: "registered", ttlMs };
      }
      case "lookUpColony":
        return { kind: "colony", peer: await discovery.lookupColony(meshId, { signal }) };
      case "lookUpAgent": {
        const { publicKey } = request;
        // On a plain Coral Discovery the key is found as the agent's id, which is what an agent of ours registers.
        const query = discovery.features.watch
          ? { meshId, publicKey }
          : { meshId, agentId: publicKey };
        const peer = await discovery.lookupAgent(query, { signal });
        return { kind: "agent", publicKey, peer };
      }
      case "punch": {
        const { publicKey } = request;
        const keys = { meshId, from: this.#publicKey, to: publicKey };
        return { kind: "punched", publicKey, ...await discovery.initiatePunch(keys, { signal }) };
      }
      case "requestRelay": {
        const granted = await requestRelay(this.#relayAsker(), request, signal);
        return { kind: "relayGranted", request, granted };
      }
      case "releaseRelay":
        await discovery.releaseRelay({ meshId, sessionId: request.sessionId }, { signal });
        return { kind: "relayReleased" };
    }
  }

  #watch(): void {
    const { mesh: meshId, log } = this.#options;
    if (!this.#discovery.features.watch) {
      log("info", "this Discovery has no Watch streams: looking up instead");
      return;
    }
    this.#discovery.watch({
      meshId,
      publicKey: this.#publicKey,
      signal: this.#ended.signal,
      onEvent: (event) => this.#do((now) => this.#control.handlePeerEvent(now, event)),
      onState: (state) => this.#do((now) => this.#control.handleWatchState(now, state)),
    }).catch((error) => log("error", `watch: ${messageOf(error)}`));
  }

  /** Removes the registration, if there is one. Never rejects: it expires by itself. */
  async #deregister(): Promise<void> {
    if (!this.#registered) return;
    const { mesh: meshId, log } = this.#options;
    const node = { meshId, publicKey: this.#publicKey, role: this.#role };
    try {
      await this.#discovery.deregister(node, { signal: AbortSignal.timeout(GOODBYE_MS) });
    } catch (error) {
      log("debug", `deregister: ${messageOf(error)}`);
    }
  }

  #relayAsker(): RelayAsker {
    const { mesh, log } = this.#options;
    const own = { publicKey: this.#publicKey, role: this.#role };
    return { discovery: this.#discovery, mesh, log, ...own };
  }

  #releaseRelays(): Promise<void> {
    const signal = AbortSignal.timeout(GOODBYE_MS);
    return releaseRelays(this.#relayAsker(), this.#control.relays.sessions, signal);
  }

  // ---- the datapath

  #handle(event: NodeEvent): void {
    if (event.kind === "stunSilent") this.#stun?.handleSilence();
    if (event.kind === "peerConnected") this.#stun?.handleConnected();
    if (event.kind === "candidatesChanged") {
      this.#stun?.handleCandidates(event.candidates, event.nat.mapping);
      this.#portMapper?.setCandidates(event.candidates);
      this.#relayOffer?.setCandidates(event.candidates);
    }
    this.#do((now) => this.#control.handleDatapath(now, event));
  }

  #send(given: CommandBody): void {
    const client = this.#core?.client;
    if (client === undefined) return;
    const command = this.#nat64.translate(given);
    this.#unanswered++;
    if (command.kind === "addPeer") this.#stun?.introduce(command.publicKey);
    if (command.kind === "linkChanged") this.#stun?.handleLinkChanged();
    if (command.kind === "linkChanged") this.#portMapper?.linkChanged();
    if (command.kind === "linkChanged") this.#nat64.detect();
    client.send(command).catch((error) => {
      if (this.#ended.signal.aborted) return;
      this.#options.log("warn", `${command.kind}: ${messageOf(error)}`);
    }).finally(() => {
      this.#unanswered--;
      this.#drain();
    });
  }

  /** Measures the round trip to a peer that has just connected, for `status`. */
  async #measure({ meshIpv6: address }: MeshPeer): Promise<void> {
    for (let sequence = 1; sequence <= FIRST_PINGS; sequence++) {
      await this.#core?.client.send({ kind: "ping", address, sequence, timeoutMs: FIRST_PING_MS })
        .catch((error) => this.#options.log("debug", `ping: ${messageOf(error)}`));
    }
  }

  // ---- the peers on disk

  #cacheSoon(): void {
    if (this.#cacheTimer !== undefined) return;
    this.#cacheTimer = setTimeout(() => {
      this.#cacheTimer = undefined;
      this.#writeCache();
    }, CACHE_MS);
    Deno.unrefTimer(this.#cacheTimer);
  }

  #writeCache(): Promise<void> {
    return writePeerCache(this.#options, this.#control.peers.records());
  }
}
