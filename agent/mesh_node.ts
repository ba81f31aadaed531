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
import {
  type DiscoveredPeer,
  DiscoveryClient,
  type Identity,
  type RememberedRecords,
  type SequenceStore,
  type Signed,
  volunteerId,
} from "../discovery/mod.ts";
import { systemClock, systemRng } from "../io/mod.ts";
import { meshIpv6Of } from "./addressing.ts";
import type { ControlSide } from "./control/control_side.ts";
import { openDesk } from "./control/open_desk.ts";
import { watchLinks } from "./link_watch.ts";
import type { LoadingDatapath } from "./datapath/loading.ts";
import { identityOf } from "./identity.ts";
import { checkedName, checkedSubnet } from "./mesh_options.ts";
import { loadKeys } from "./key_rotation.ts";
import { startLocalApi } from "./local_api.ts";
import { MeshAccess } from "./membership/access.ts";
import type { MembershipHandle } from "./membership/handle.ts";
import { MeshControl } from "./mesh_control.ts";
import { MeshDiscovery } from "./mesh_discovery.ts";
import type { MeshAnswer, MeshEvent, MeshRequest } from "./mesh_messages.ts";
import type { MeshPeer, Role } from "./mesh_peers.ts";
import { MemberKeys } from "./member_keys.ts";
import { NameTable } from "./names.ts";
import { Nat64 } from "./nat64.ts";
import type { Network } from "./network.ts";
import { NodeCore } from "./node_core.ts";
import { meshNetcheck, meshStatus, type MeshStatusParts } from "./mesh_status.ts";
import type { NetcheckReport } from "./netcheck/report.ts";
import { NodeStun } from "./node_stun.ts";
import type { MeshNodeOptions, RunningNode } from "./options.ts";
import { readPeerCache } from "./peer_cache.ts";
import { PathReporter } from "./path_reporter.ts";
import { PeerKeeper } from "./peer_keeper.ts";
import { NodePolicy } from "./policy/node_policy.ts";
import { pathOf, reasonOf } from "./peer_status.ts";
import { PortMapper } from "./port_mapper.ts";
import { RelayOffer } from "./relay_offer.ts";
import { openSequences } from "./sequence_file.ts";
import { Vouchers } from "./vouchers.ts";
import { CONNECT_PORT, MESH_MTU } from "./mesh_settings.ts";
import type { CommandBody, NodeEvent } from "./shared/mod.ts";
import type { NodeStatus, PathChange, PingReply } from "./status.ts";

/** Commands that the datapath has not answered; more wait in the control, where a later word makes an earlier one void. */
const COMMANDS_UNANSWERED_MAX = 256;
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
  const name = checkedName(role, options);
  const subnet = checkedSubnet(options);
  const { log, discovery } = options;
  const now = Date.now;
  const keys = await loadKeys({ state, mesh, discovery, identityOf, now, log });
  const { privateKey, rotations } = keys;
  const identity = await identityOf(keys);
  const access = await MeshAccess.open({ ...options, role, identity, now });
  const remembered = access.pin(await readPeerCache({ state, mesh, log }));
  const sequences = await openSequences({ state, log });
  const names = new NameTable(mesh);
  const desk = await openDesk({
    state,
    mesh,
    role,
    publicKey: formatBase64(identity.publicKey),
    name,
    meshIpv6: meshIpv6Of(mesh, identity.publicKey),
    names,
    subnet,
    ...(options.policyFile !== undefined && { policyFile: options.policyFile }),
    port: options.connectPort ?? CONNECT_PORT,
    now,
    randomBytes: (count) => systemRng.bytes(count),
    log,
  });
  const parts = { identity, rotations, remembered, sequences, access, names, desk };
  const node = new MeshNode(role, { ...options, name }, parts);
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
  readonly #desk: ControlSide;
  readonly #discovery: DiscoveryClient;
  readonly #asking: MeshDiscovery;
  readonly #control: MeshControl;
  readonly #access: MeshAccess;
  readonly #policy = new NodePolicy((rules) => this.#send({ kind: "setPolicy", rules }));
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
  readonly #reporter: PathReporter;
  readonly #keeper: PeerKeeper;
  #stun: NodeStun | undefined;
  readonly #vouchers = new Vouchers();
  #unanswered = 0;
  #registered = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(
    role: Role,
    options: MeshNodeOptions & { readonly name: string },
    { identity, rotations, remembered, sequences, access, names, desk }: {
      readonly identity: Identity;
      readonly rotations: readonly Signed[];
      readonly remembered: RememberedRecords;
      readonly sequences: SequenceStore;
      readonly access: MeshAccess;
      readonly names: NameTable;
      readonly desk: ControlSide;
    },
  ) {
    const { publicKey } = identity;
    const { mesh, discovery, log, name, connectPort = CONNECT_PORT } = options;
    const { noRelay, relayBandwidth } = options;
    this.#role = role;
    this.#options = options;
    this.#publicKey = formatBase64(publicKey);
    this.#meshIpv6 = meshIpv6Of(mesh, publicKey);
    this.#names = names;
    this.#desk = desk;
    const { peers: cached } = remembered;
    const urls = discovery;
    this.#discovery = new DiscoveryClient({ urls, identity, sequences, remembered, log });
    this.#access = access;
    access.attach({
      client: this.#discovery,
      onExpelled: (key, next) => {
        desk.handleExpelled(key, next);
        this.#do((now) => {
          this.#control.handleExpelled(now, key);
          this.#control.relays.drop(now, volunteerId({ meshId: mesh, publicKey: key }));
        });
      },
      onEnded: () => void this.#relayOffer?.handleExpelled(),
    });
    this.#asking = new MeshDiscovery({
      access,
      vouchers: this.#vouchers,
      client: this.#discovery,
      meshId: mesh,
      publicKey: this.#publicKey,
      role,
      log,
      signal: this.#ended.signal,
      onServerInfo: async (info) => {
        const asked = await this.#stun?.setDiscovery(info) ?? false;
        // With the answer the control registers: the node's own addresses are to be known by then.
        await this.#opened.promise;
        return asked;
      },
      onNoServerInfo: () => this.#stun?.handleNoDiscovery(),
      onPeerEvent: (event) => {
        this.#reporter.handlePeerEvent(event);
        this.#do((now) => this.#control.handlePeerEvent(now, event));
        if (event.kind === "upserted") this.#examine(event.peer);
      },
      onWatchState: (state) => this.#do((now) => this.#control.handleWatchState(now, state)),
    });
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
      rotations,
      names: this.#names,
      admits: (key) => access.admits(key),
      assignedTo: (key) => desk.assignedTo(key),
      fellows: desk.fellows,
      ownIpv4: () => desk.ipv4,
      ...(noRelay !== undefined && { noRelay }),
      ...(relayBandwidth !== undefined && { relayBandwidth }),
    });
    this.#reporter = new PathReporter({
      ...options,
      client: this.#discovery,
      publicKey: this.#publicKey,
      status: () => this.status(),
      natOf: (key) => this.#control.peers.find(key)?.record.nat ?? "NAT_UNKNOWN",
      signal: this.#ended.signal,
    });
    this.#keeper = new PeerKeeper({
      ...options,
      remembered: () => this.#discovery.remembered(mesh, this.#control.peers.records()),
    });
    // A node that stops before it was registered has nobody who waits for that.
    this.#first.promise.catch(() => {});
  }

  get listening(): readonly string[] {
    return this.#running().listening;
  }

  get membership(): MembershipHandle | undefined {
    return this.#access.membership;
  }

  get finished(): Promise<void> {
    return this.#running().finished;
  }

  get network(): Network {
    return this.#running().network;
  }

  subscribe(listener: (change: PathChange) => void): void {
    this.#running().subscribe((change) => {
      listener({ name: this.#control.peers.nameOf(change.publicKey), ...change });
    });
  }

  async start(privateKey: Uint8Array, loading: LoadingDatapath): Promise<void> {
    const { state, log, mesh, publicEndpoint, dns, stunServers = [] } = this.#options;
    const { noGuess, noDirect } = this.#options;
    const publicKey = parseKey(this.#publicKey);
    assert(publicKey !== undefined, "the node's own key is one");
    this.#stun = new NodeStun({
      configured: stunServers,
      keys: MemberKeys.open({ privateKey, publicKey, mesh }),
      send: (command) => void this.#opened.promise.then(() => this.#send(command)),
      refresh: async () => {
        const info = await this.#discovery.serverInfo({ signal: this.#ended.signal, meshId: mesh });
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
      ...(dns && { dns: { listen: dns, mesh } }),
      ...(noGuess !== undefined && { noGuess }),
      ...(noDirect !== undefined && { noDirect }),
    });
    this.#core = core;
    this.#mapPort(core);
    this.#relayOffer?.start(parseSocketAddress(core.datapath.local)?.port ?? 0);
    const told = Promise.all([
      core.client.send({ kind: "setAddresses", addresses: this.#addresses }),
      core.client.send({ kind: "linkChanged" }),
    ]);
    told.catch(() => {});
    core.own(await startLocalApi({ state, node: this, changes: core, log }));
    await told;
    this.#startDesk(core);
    await core.startServices();
    await nat64;
    this.#open = true;
    this.#opened.resolve();
    // STUN servers come first, which wait for this too: their answers are what the registration waits for.
    await this.#opened.promise;
    this.#drain();
    watchLinks({
      tells: core.datapath.watchesLinks,
      signal: this.#ended.signal,
      log,
      onChange: (sleptMs) => this.#do((now) => this.#control.handleLinkChanged(now, { sleptMs })),
    });
    await this.#first.promise;
  }

  async status(): Promise<NodeStatus> {
    const parts = await this.#parts();
    return meshStatus({
      ...parts,
      own: {
        name: this.#desk.name,
        ...(this.#desk.name !== this.#options.name && { askedName: this.#options.name }),
        publicKey: this.#publicKey,
        meshIpv4: this.#desk.ipv4,
        meshIpv6: this.#meshIpv6,
      },
      members: this.#desk.members,
      ...this.#policy.statusOf(this.#role),
      counters: {
        ...this.#discovery.counters(),
        ...this.#access.counters(),
        ...this.#desk.counters(),
        ...this.#running().counters(),
      },
    });
  }

  async netcheck(): Promise<NetcheckReport> {
    return meshNetcheck(await this.#parts(), this.#stun?.families ?? {});
  }

  async #parts(): Promise<Omit<MeshStatusParts, "own" | "members" | "counters">> {
    return {
      datapath: await this.#running().client.send({ kind: "status" }),
      control: this.#control,
      url: this.#discovery.url,
      ...(this.#portMapper && { portMapping: this.#portMapper.status }),
      ...(this.#relayOffer && { relayOffer: this.#relayOffer.status }),
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
    await this.#keeper.stop();
    const goodbye = AbortSignal.timeout(GOODBYE_MS);
    // Its stream goes through the tunnel.
    await this.#desk.stop();
    await Promise.all([
      this.#asking.releaseRelays(this.#control.relays.sessions, goodbye),
      this.#relayOffer?.stop(),
      this.#registered ? this.#asking.deregister(goodbye) : undefined,
      this.#portMapper?.stop(GOODBYE_MS),
      this.#access.stop(),
      this.#core?.stop(),
    ]);
    this.#discovery.close();
  }

  #running(): NodeCore {
    assert(this.#core !== undefined, "the node has started");
    return this.#core;
  }

  /** Every mesh address of this node. */
  get #addresses(): readonly string[] {
    const { ipv4 } = this.#desk;
    return [`${this.#meshIpv6}/128`, ...(ipv4 === null ? [] : [`${ipv4}/32`])];
  }

  /** From now on addresses and names come from the colony, or are given by it. */
  #startDesk({ network }: NodeCore): void {
    this.#desk.start(network, {
      peerAt: (address) => this.#control.peers.withAddress(address),
      onAssigned: (key, assigned) => this.#do(() => this.#control.handleAssigned(key, assigned)),
      onOwn: () => this.#send({ kind: "setAddresses", addresses: this.#addresses }),
      onMesh: ({ members, fellows, rules }) => {
        this.#policy.take(rules);
        this.#do((now) => {
          for (const one of members) this.#control.handleAssigned(one.publicKey, one);
          this.#control.handleFellows(now, fellows);
        });
      },
    });
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
        return this.#asking.watch();
      case "notRegistered":
        return this.#notRegistered(event);
      case "hurry":
        return this.#discovery.hurry();
      case "reconnect":
        return this.#discovery.reconnect();
      case "connected":
        if (event.peer.role === "colony") this.#access.handleConnected();
        this.#desk.handleConnected(event.peer);
        return void this.#measure(event.peer);
      case "peersChanged":
        return this.#keeper.changed();
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
    this.#asking.answer(request).catch((error): MeshAnswer => {
      const code = error instanceof MorayError ? error.code : "internal";
      return { kind: "failed", request, code, message: messageOf(error) };
    }).then((answer) => {
      if (this.#ended.signal.aborted) return;
      this.#reporter.handleAnswer(answer);
      this.#do((now) => this.#control.handleAnswer(now, answer));
      if (answer.kind === "agent" && answer.peer !== undefined) this.#examine(answer.peer);
    });
  }

  /** A colony lets in who comes with an invite; then the record counts. */
  async #examine(peer: DiscoveredPeer): Promise<void> {
    if (!await this.#access.examine(peer) || this.#ended.signal.aborted) return;
    this.#do((now) => this.#control.handlePeerEvent(now, { kind: "upserted", peer }));
  }

  // ---- the datapath

  #handle(event: NodeEvent): void {
    if (event.kind === "vouched") this.#vouchers.handle(event);
    if (event.kind === "stunRefused") this.#stun?.handleRefused();
    if (event.kind === "stunSilent") this.#stun?.handleSilence();
    if (event.kind === "peerConnected") this.#stun?.handleConnected();
    if (event.kind === "candidatesChanged") {
      this.#stun?.handleCandidates(event.candidates, event.nat.mapping);
      this.#portMapper?.setCandidates(event.candidates);
      this.#relayOffer?.setCandidates(event.candidates);
    }
    this.#reporter.handle(event);
    this.#do((now) => this.#control.handleDatapath(now, event));
  }

  #send(given: CommandBody): void {
    const client = this.#core?.client;
    if (client === undefined) return;
    const command = this.#nat64.translate(given);
    this.#unanswered++;
    const fellow = "publicKey" in command && this.#control.peers.isFellow(command.publicKey);
    if (command.kind === "addPeer" && !fellow) this.#stun?.introduce(command.publicKey);
    if (command.kind === "removePeer") this.#stun?.forget(command.publicKey);
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
}
