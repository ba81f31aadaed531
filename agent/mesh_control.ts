/**
 * What a mesh node decides about Discovery and its peers: whom to look up, when to register, when to punch. Pure: the
 * node does what it asks for and tells what came of it.
 *
 * ```text
 *              handleDatapath (candidates, sessions)        pollCommand
 *   datapath ----------------------------------------->  +-------------+ ----------> datapath
 *              handlePeerEvent, handleWatchState         | MeshControl |  pollRequest
 *  Discovery ----------------------------------------->  +-------------+ ----------> Discovery
 *      ^       handleAnswer                                     |  pollEvent
 *      +--- each request gets exactly one answer                +----------> log, status
 * ```
 *
 * A peer that is not reached directly is punched towards for ever: at once, then after 2, 4, 8 ... 60 s, and from the
 * beginning when its candidates or ours change, when the path is lost or doubted, and when the link changes. Discovery
 * tells both sides then, so that both send at once. Peers already known are kept while Discovery is away.
 *
 * @module
 */
import { after, earlier, type ErrorCode, type Instant } from "../core/mod.ts";
import type { DiscoveredPeer, PeerEvent, WatchState } from "../discovery/mod.ts";
import type { Assigned } from "./control/control_side.ts";
import { type Fellow, Fellows } from "./fellows.ts";
import { changeFellows } from "./fellow_links.ts";
import { type Link, MeshLinks } from "./mesh_links.ts";
import type { MeshAnswer, MeshControlOptions, MeshEvent, MeshRequest } from "./mesh_messages.ts";
import { MeshOutbox } from "./mesh_outbox.ts";
import { type MeshPeer, MeshPeers } from "./mesh_peers.ts";
import { MissedPeers } from "./missed_peers.ts";
import { ownRecord } from "./own_record.ts";
import { Retry } from "./pace.ts";
import { Presence } from "./presence.ts";
import { punchCoin } from "./punch_coin.ts";
import { RelayControl } from "./relay_control.ts";
import type { CandidateInfo, CommandBody, NodeEvent } from "./shared/mod.ts";
import type { NatStatus } from "./status.ts";
import { Strangers } from "./strangers.ts";

/** Waits before something is asked again that was not there or failed. */
const RETRY = { first: 2000, longest: 60_000 };
/** After a doubt, how long a new STUN answer may take before the punch goes out with what is known. */
const REGATHER_FIRST_MS = 300;
/** A colony leaves the first punch to the agent that has lost it, which has one peer to care for. */
const COLONY_PATIENCE_MS = 3000;
/** How long a peer that seems to have moved may take to ask for a punch itself. */
const MOVED_PATIENCE_MS = 500;

/** The decisions of one mesh node. */
export class MeshControl {
  readonly #options: MeshControlOptions;
  readonly #peers: MeshPeers;
  readonly #presence: Presence;
  readonly #outbox = new MeshOutbox();
  readonly #links: MeshLinks;
  readonly #fellows: Fellows;
  readonly #relays: RelayControl;
  readonly #strangers = new Strangers(this.#outbox);
  #connected = false;
  /** Where is the colony? */
  readonly #lookUp: Retry;
  #saidNoColony = false;
  /** What was said of a registration that was not taken, until one is. */
  #refusal: string | undefined;
  /** Discovery refuses the Watch stream of a node that it does not know. */
  #unwatched = false;
  readonly #missed: MissedPeers;
  /** Peers of an earlier run that Discovery has not told of in this one. */
  readonly #unconfirmed = new Set<string>();
  #now: Instant;

  /** Creates a control that has asked for nothing. */
  constructor(options: MeshControlOptions) {
    const { now, rng, role } = options;
    this.#options = options;
    this.#now = now;
    this.#presence = new Presence(rng);
    this.#lookUp = new Retry(rng, RETRY);
    const { publicKey } = options;
    this.#fellows = new Fellows({ publicKey, rng });
    this.#fellows.set(options.fellows ?? []);
    this.#links = new MeshLinks({ now, rng, role, publicKey, outbox: this.#outbox });
    this.#missed = new MissedPeers({
      rng,
      role,
      links: this.#links,
      strangers: this.#strangers,
      outbox: this.#outbox,
    });
    const { noRelay = false, relayBandwidth: bandwidthBytesPerSecond = 0 } = options;
    this.#relays = new RelayControl({
      rng,
      outbox: this.#outbox,
      noRelay,
      bandwidthBytesPerSecond,
      misses: () => this.#links.doubtful,
    });
    this.#peers = new MeshPeers({
      ...options,
      isFellow: (key) => this.#fellows.has(key),
      send: (command) => this.#outbox.peerCommand(command),
      log: (level, message, fields) => this.#outbox.say(level, message, fields),
    });
  }

  /** The peers. */
  get peers(): MeshPeers {
    return this.#peers;
  }

  /** The relays. */
  get relays(): RelayControl {
    return this.#relays;
  }

  /** Whether Discovery answered last time. */
  get connected(): boolean {
    return this.#connected;
  }

  /** What was left out or dropped at a limit, by name; only what is not zero. */
  counters(): Record<string, number> {
    const all = {
      peersIgnored: this.#peers.ignored,
      candidatesUnusable: this.#peers.unusable,
      peersNotAdmitted: this.#peers.refused,
      fellowsIgnored: this.#fellows.ignored,
      strangersIgnored: this.#strangers.ignored,
      controlEventsDropped: this.#outbox.dropped,
      relaysIgnored: this.#relays.ignored,
    };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value > 0));
  }

  /** What Discovery knows about why a peer is not reached: one clause for a person; `undefined` for nothing. */
  hintOf(publicKey: string): string | undefined {
    return this.#links.hintOf(publicKey, this.#connected);
  }

  /** Begins: tries the peers of an earlier run, asks Discovery what it can do and for a relay, and an agent for its colony. */
  start(now: Instant): void {
    for (const peer of this.#options.cached) {
      if (this.#learn(now, peer) === undefined) continue;
      // The Watch stream of an agent tells of its colony, not of its fellows.
      if (peer.role !== this.#options.role) this.#unconfirmed.add(peer.publicKey);
    }
    this.#presence.start(now);
    this.#relays.start(now);
    if (this.#options.role === "agent") this.#lookUp.begin(now);
    this.handleTimeout(now);
  }

  /** Takes what the datapath tells. Log lines and its end are the node's own business. */
  handleDatapath(now: Instant, event: NodeEvent): void {
    switch (event.kind) {
      case "candidatesChanged":
        this.#handleCandidates(now, event.candidates, event.nat);
        break;
      case "unknownPeer":
        this.#meet(event.publicKey);
        break;
      case "peerConnected":
      case "peerMoved":
        this.#reached(now, event.publicKey, event);
        break;
      case "peerDoubted":
        this.#doubted(now, event.publicKey);
        break;
      case "peerTrusted":
        this.#links.trusted(event.publicKey);
        break;
      case "peerLost":
        this.#lost(now, event.publicKey);
        break;
      case "linksChanged":
        this.#changeLinks(now, 0);
        break;
      case "relaysChanged":
        this.#relays.handleRelays(now, event.relays);
        break;
      case "log":
      case "fatal":
        break;
    }
    this.handleTimeout(now);
  }

  /** Takes an event of the Watch stream. */
  handlePeerEvent(now: Instant, event: PeerEvent): void {
    switch (event.kind) {
      case "upserted":
        this.#unconfirmed.delete(event.peer.publicKey);
        this.#learn(now, event.peer);
        break;
      case "punch":
        this.#punched(now, event);
        break;
      case "removed":
        this.#peers.gone(event.publicKey, now);
        this.#sweep(now);
        break;
      case "synchronized":
        // A stream's beginning names every node that there is.
        for (const publicKey of this.#unconfirmed) this.#peers.gone(publicKey, now);
        this.#unconfirmed.clear();
        this.#sweep(now);
        break;
    }
    this.handleTimeout(now);
  }

  /** Takes a change of the Watch stream's state. */
  handleWatchState(now: Instant, state: WatchState): void {
    const was = this.#connected;
    this.#connected = state.connected;
    this.#missed.handleStream(state.connected);
    if (state.connected) {
      this.#unwatched = false;
      this.#presence.handleDiscovery(now);
      if (!was) this.#outbox.say("info", "Discovery answers again", { url: state.url });
      const { relay = false, volunteers = false } = this.#presence.features ?? {};
      if (relay || volunteers) this.#relays.handleDiscovery(now);
      // What happened meanwhile may be known to one side only.
      this.#links.punchAll(now);
    } else {
      this.#outbox.say(was ? "warn" : "debug", `Discovery: ${state.reason}`);
      this.#unwatched = state.notRegistered;
      if (state.notRegistered) this.#presence.forgotten(now);
    }
    this.handleTimeout(now);
  }

  /** A node may be in the mesh no more: it is cut off at once. */
  handleExpelled(now: Instant, publicKey: string): void {
    this.#expel(publicKey);
    this.handleTimeout(now);
  }

  #expel(publicKey: string): void {
    if (this.#peers.expel(publicKey) === undefined) return;
    const link = this.#links.find(publicKey);
    if (link !== undefined) this.#links.forget(link);
    this.#unconfirmed.delete(publicKey);
    this.#outbox.emit({ kind: "peersChanged" });
  }

  /** The colony calls a peer so, and has given it this address. The caller has the node do what follows. */
  handleAssigned(publicKey: string, assigned: Assigned): void {
    if (this.#peers.assign(publicKey, assigned)) this.#outbox.emit({ kind: "peersChanged" });
  }

  /** Whom the policy has this agent talk to, and who of them is there, has changed. */
  handleFellows(now: Instant, fellows: readonly Fellow[]): void {
    const parts = { fellows: this.#fellows, peers: this.#peers, links: this.#links };
    changeFellows(now, fellows, parts).forEach((key) => this.#expel(key));
    this.#sweep(now);
    this.handleTimeout(now);
  }

  /** This machine's links have changed, or it has slept for `sleptMs`: everything is found out again. */
  handleLinkChanged(now: Instant, { sleptMs = 0 }: { readonly sleptMs?: number } = {}): void {
    this.#changeLinks(now, sleptMs);
    this.handleTimeout(now);
  }

  /** Takes what came of a request. */
  handleAnswer(now: Instant, answer: MeshAnswer): void {
    if (answer.kind !== "failed") this.#connected = true;
    switch (answer.kind) {
      case "serverInfo":
        this.#presence.handleServerInfo(now, answer);
        if (answer.features.relay) this.#relays.handleDiscovery(now);
        // Nobody tells of changes there.
        if (!answer.features.watch && this.#options.role === "agent") this.#lookUp.later(now);
        break;
      case "registered":
        this.#registered(now, answer.ttlMs);
        break;
      case "colony":
        this.#foundColony(now, answer.peer);
        break;
      case "agent":
        this.#foundAgent(now, answer);
        break;
      case "punched":
        this.#links.answered(answer.publicKey, now);
        this.#links.hint(
          answer.publicKey,
          answer.delivered ? undefined : "Discovery cannot tell it",
        );
        this.#punched(now, answer);
        break;
      case "relayGranted":
        this.#relays.handleGranted(now, answer.request, answer.granted);
        break;
      case "relayReleased":
        break;
      case "failed":
        this.#failed(now, answer);
        break;
    }
    this.handleTimeout(now);
  }

  /** Does what is due. */
  handleTimeout(now: Instant): void {
    this.#now = now;
    const { serverInfo, register, linkChanged, doubted } = this.#presence.take(now);
    // A peer that was in doubt may be heard again by then.
    const regather = doubted && this.#links.doubtful;
    if (linkChanged) this.#outbox.command({ kind: "linkChanged" });
    else if (regather) this.#outbox.command({ kind: "regather" });
    if (linkChanged || regather) this.#outbox.emit({ kind: "reconnect" });
    if (serverInfo) this.#outbox.request({ kind: "serverInfo" });
    if (this.#lookUp.take(now)) this.#outbox.request({ kind: "lookUpColony" });
    if (register) {
      const registration = ownRecord(this.#options, this.#presence);
      this.#outbox.request({ kind: "register", registration });
    }
    for (const key of this.#fellows.takeSearches(now)) this.#strangers.lookUp(key);
    this.#relays.handleTimeout(now);
    const { sweepAt } = this.#peers;
    if (sweepAt !== undefined && now >= sweepAt) this.#sweep(now);
    this.#links.connectDue(now);
    this.#punchDue(now);
    this.#missed.handleTimeout(now);
  }

  /** When {@linkcode MeshControl.handleTimeout} must be called; `undefined` for never. */
  pollTimeout(): Instant | undefined {
    const now = this.#now;
    const own = earlier(
      earlier(this.#presence.pollTimeout(), this.#lookUp.at),
      this.#peers.sweepAt,
    );
    const others = earlier(this.#relays.pollTimeout(), this.#fellows.pollTimeout());
    const at = earlier(earlier(own, others), this.#missed.at);
    return earlier(at, this.#links.pollTimeout(now, this.#presence.announced));
  }

  /** Takes the next command for the datapath. */
  pollCommand(): CommandBody | undefined {
    return this.#outbox.pollCommand();
  }

  /** Takes the next request to Discovery. */
  pollRequest(): MeshRequest | undefined {
    return this.#outbox.pollRequest();
  }

  /** Takes the next event. */
  pollEvent(): MeshEvent | undefined {
    return this.#outbox.pollEvent();
  }

  // ---- this node

  #handleCandidates(now: Instant, candidates: readonly CandidateInfo[], nat: NatStatus): void {
    const usable = this.#peers.outside(candidates);
    // A NAT that gave this node another address has forgotten its connections too.
    if (!this.#presence.handleCandidates(now, usable, nat)) return;
    this.#outbox.emit({ kind: "reconnect" });
    // Peers send to where it was: the one that has moved asks, as soon as it is registered there.
    this.#links.punchFew(now);
  }

  #changeLinks(now: Instant, sleptMs: number): void {
    this.#presence.handleLinkChanged(now, sleptMs);
    this.#relays.handleLinkChanged(now);
    const at = after(now, REGATHER_FIRST_MS);
    this.#links.punchFew(at);
    if (this.#lookUp.at !== undefined) this.#lookUp.begin(now);
  }

  #registered(now: Instant, ttlMs: number): void {
    const first = !this.#presence.known;
    this.#refusal = undefined;
    this.#presence.registered(now, ttlMs);
    if (first) this.#outbox.emit({ kind: "registered" });
    // Whoever is not registered hears of no relay of the mesh's own.
    if (first && this.#presence.features?.volunteers === true) this.#relays.handleDiscovery(now);
    // The Watch stream was refused for want of a registration, and would be tried again in up to 15 s.
    if (this.#unwatched) this.#outbox.emit({ kind: "reconnect" });
    this.#unwatched = false;
    // Discovery's next punch carries what was just registered.
    this.#links.punchAll(now);
  }

  #failed(now: Instant, { request, code, message }: MeshAnswer & { kind: "failed" }): void {
    if (code === "unreachable" || code === "timedOut") this.#connected = false;
    switch (request.kind) {
      case "serverInfo":
        if (!this.#presence.known) this.#outbox.emit({ kind: "notRegistered", code, message });
        this.#presence.noServerInfo(now);
        return this.#outbox.say("debug", `asking Discovery: ${message}`);
      case "register": {
        const { known } = this.#presence;
        if (!known) this.#outbox.emit({ kind: "notRegistered", code, message });
        this.#presence.notRegistered(now, { refused: code === "refused" });
        // A start that fails says so itself, and who is refused again and again once.
        const told = !known || message === this.#refusal;
        this.#refusal = message;
        return this.#outbox.say(told ? "debug" : "warn", `registration: ${message}`);
      }
      case "lookUpColony":
        this.#lookUp.later(now);
        return this.#outbox.say("debug", `looking up the colony: ${message}`);
      case "lookUpAgent":
        this.#strangers.answered(request.publicKey);
        return this.#outbox.say("debug", `look-up of a stranger: ${message}`);
      case "punch":
        return this.#punchFailed(now, request.publicKey, { code, message });
      case "requestRelay":
        return this.#relays.handleFailed(now, request, { code, message });
      case "releaseRelay":
        return this.#outbox.say("debug", `giving a relay back: ${message}`);
    }
  }

  // ---- peers

  #learn(
    now: Instant,
    found: DiscoveredPeer,
    punch?: Parameters<MeshPeers["learn"]>[1],
  ): Link | undefined {
    const before = this.#peers.find(found.publicKey);
    const returned = before?.goneAt !== undefined;
    const newer = found.sequence > (before?.record.sequence ?? 0);
    const learned = this.#peers.learn(found, punch);
    if (learned === undefined) return undefined;
    const { peer, added, moved, left } = learned;
    // An agent reaches its fellows over the relay that it has for its colony.
    if (found.role === "colony") {
      this.#relays.setWanted(now, !found.noRelay, "the colony wants no relay");
    }
    const { publicKey } = peer;
    const link = this.#links.find(publicKey) ?? this.#addLink(now, peer);
    if (added || moved || newer) this.#outbox.emit({ kind: "peersChanged" });
    if (added || punch !== undefined) return link;
    if (link.path !== "direct" && (moved || returned)) this.#links.punch(publicKey, now);
    // The one that has moved asks first, if it can.
    else if (left) this.#links.punch(publicKey, after(now, MOVED_PATIENCE_MS));
    return link;
  }

  #addLink(now: Instant, peer: MeshPeer): Link {
    this.#forgetMissing(peer);
    const link = this.#links.add(now, peer);
    this.#fellows.found(peer.publicKey);
    if (peer.role === "colony" && this.#presence.features?.watch !== false) this.#lookUp.end();
    return link;
  }

  /** An agent has one colony, which another key replaced; and a peer may have gone on with another key. */
  #forgetMissing({ record: { earlierKeys = [] } }: MeshPeer): void {
    if (this.#options.role !== "agent" && earlierKeys.length === 0) return;
    for (const link of this.#links.all) {
      if (this.#peers.find(link.peer.publicKey) !== link.peer) this.#links.forget(link);
    }
  }

  #sweep(now: Instant): void {
    const forgotten = this.#peers.sweep(now);
    for (const { publicKey } of forgotten) {
      const link = this.#links.find(publicKey);
      if (link !== undefined) this.#links.forget(link);
    }
    if (forgotten.length === 0) return;
    this.#outbox.emit({ kind: "peersChanged" });
    if (forgotten.some(({ role }) => role === "colony")) this.#lookUp.begin(now);
  }

  /** A stranger's handshake: whoever is registered in this mesh is admitted by its colony, and fellows are by an agent. */
  #meet(publicKey: string): void {
    const mayCome = this.#options.role === "colony" || this.#fellows.has(publicKey);
    if (!mayCome || this.#peers.find(publicKey) !== undefined) return;
    this.#strangers.lookUp(publicKey);
  }

  #reached(
    now: Instant,
    publicKey: string,
    event: NodeEvent & { readonly kind: "peerConnected" | "peerMoved" },
  ): void {
    const reached = this.#links.reached(now, publicKey, event);
    if (reached === undefined) return;
    const { link: { peer }, first } = reached;
    const { remote } = event;
    this.#outbox.emit({ kind: "peersChanged" });
    const what = first ? "connected to" : "session with";
    this.#outbox.say(first ? "info" : "debug", `${what} ${peer.name}`, { remote });
    if (first) this.#outbox.emit({ kind: "connected", peer });
  }

  /** Nothing is heard of a peer that should answer: our own mapping may be gone, or the peer's. */
  #doubted(now: Instant, publicKey: string): void {
    const link = this.#links.doubted(publicKey);
    if (link === undefined) return;
    this.#outbox.say("debug", `no answer from ${link.peer.name}`);
    if (link.peer.role !== "agent" || this.#options.role === "colony") this.#presence.doubt(now);
    if (link.path === "relayed") this.#relays.handleDoubt(now);
    const patience = this.#links.asks(link.peer) ? REGATHER_FIRST_MS : COLONY_PATIENCE_MS;
    this.#links.punch(publicKey, after(now, patience));
  }

  #lost(now: Instant, publicKey: string): void {
    this.#outbox.say("warn", `lost ${this.#peers.nameOf(publicKey)}`);
    const link = this.#links.lost(publicKey);
    if (link === undefined) return;
    if (link.peer.role !== "agent" || this.#options.role === "colony") this.#presence.doubt(now);
    const patience = this.#links.asks(link.peer) ? 0 : COLONY_PATIENCE_MS;
    this.#links.punch(publicKey, after(now, patience));
    this.#sweep(now);
  }

  /** A look-up tells what the Watch stream should have told before: that is dead. */
  #compare({ publicKey, generation }: DiscoveredPeer): void {
    const known = this.#peers.find(publicKey)?.record.generation;
    if (known === undefined || generation <= known) return;
    if (this.#missed.stream !== "stands") return;
    this.#outbox.emit({ kind: "reconnect" });
  }

  #foundAgent(now: Instant, { publicKey, peer }: MeshAnswer & { readonly kind: "agent" }): void {
    this.#strangers.answered(publicKey);
    if (peer?.publicKey === publicKey) {
      this.#compare(peer);
      this.#learn(now, peer);
    } else if (this.#peers.find(publicKey) !== undefined) {
      this.#peers.gone(publicKey, now);
      this.#sweep(now);
    } else if (this.#options.role === "colony") this.#strangers.unknown(publicKey);
  }

  // ---- an agent's way to its colony

  #foundColony(now: Instant, colony: DiscoveredPeer | undefined): void {
    if (colony === undefined) {
      // Who is not registered sees nobody in a closed mesh.
      if (!this.#saidNoColony && this.#presence.known && this.#refusal === undefined) {
        this.#saidNoColony = true;
        this.#outbox.say("info", `mesh ${this.#options.mesh} has no colony yet: waiting for it`);
      }
      return this.#lookUp.later(now);
    }
    this.#compare(colony);
    this.#learn(now, colony);
    if (this.#presence.features?.watch !== false) return this.#lookUp.end();
    const link = this.#links.find(colony.publicKey);
    if (link?.path === "direct" && !link.doubted) this.#lookUp.rarely(now);
    else this.#lookUp.later(now);
  }

  // ---- punches

  #punchDue(now: Instant): void {
    if (!this.#presence.announced) return;
    for (let publicKey; (publicKey = this.#links.takePunch(now)) !== undefined;) {
      if (this.#presence.features?.punch === true) {
        this.#outbox.request({ kind: "punch", publicKey });
      } else {
        // On a Discovery without punches a fresh look-up has to do.
        this.#links.answered(publicKey, now);
        if (this.#peers.isColony(publicKey)) this.#lookUp.later(now);
        else this.#strangers.lookUp(publicKey);
      }
    }
  }

  #punchFailed(
    now: Instant,
    publicKey: string,
    { code, message }: { readonly code: ErrorCode; readonly message: string },
  ): void {
    this.#links.answered(publicKey, now);
    this.#outbox.say("debug", `punch towards ${this.#peers.nameOf(publicKey)}: ${message}`);
    // A fellow that is no peer yet has not registered: its colony speaks with it already.
    if (code !== "refused" || this.#links.find(publicKey) === undefined) return;
    this.#links.hint(publicKey, "Discovery does not know it");
    // Discovery has forgotten this node or the other one: it may have lost its memory.
    this.#presence.forgotten(now);
    if (this.#peers.isColony(publicKey)) this.#lookUp.later(now);
  }

  /** Discovery has told both sides. */
  #punched(
    now: Instant,
    { punchId, windowMs, peer }: {
      readonly punchId: string;
      readonly windowMs: number;
      readonly peer: DiscoveredPeer;
    },
  ): void {
    const { publicKey } = peer;
    if (!this.#links.joined(publicKey, { now, punchId, windowMs })) return;
    this.#links.punched(this.#learn(now, peer, { windowMs, coin: punchCoin(punchId) }));
  }
}
