/**
 * The colony's side of the control service: it gives addresses and names to whoever comes through the tunnel, and tells everybody who
 * is there.
 *
 * ```text
 *   agent --WatchMesh--> ControlServer --watch(key)--> ColonyDesk --> AddressBook --> addresses.json
 *         <--MeshView---               <--views-------     |    \--> MemberList: what has changed since
 *                                                          +--> onAssigned: the peer's name and allowed address
 * ```
 *
 * @module
 */
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { assert, formatBase64, type Instant, MorayError, parseKey } from "../../core/mod.ts";
import {
  HeartbeatSchema,
  type WatchMeshResponse,
  WatchMeshResponseSchema,
} from "../../proto/control.ts";
import { delay } from "../../discovery/mod.ts";
import { SourceLimiter, type SourceLimiterOptions } from "../../traversal/mod.ts";
import { meshIpv6Of } from "../addressing.ts";
import type { Fellow } from "../fellows.ts";
import type { MeshPeer } from "../mesh_peers.ts";
import { labelOf } from "../names.ts";
import type { Network } from "../network.ts";
import { MeshPolicy, type NodeRules, type Policy } from "../policy/mod.ts";
import { AddressBook, type Assignment } from "./address_book.ts";
import { AddressFile } from "./address_file.ts";
import { type ControlServer, startControlServer } from "./control_server.ts";
import type { Assigned, ControlOptions, ControlSide, ControlSurroundings } from "./control_side.ts";
import { MemberList, type SeenRevision } from "./member_list.ts";
import { type MeshMember, viewMessage } from "./mesh_view.ts";
import { PolicyFile } from "./policy_file.ts";
import { policyMessage } from "../policy/policy_message.ts";

/** Streams that stay open: each holds one of the node's 1,024. Further agents are told once, and ask again after a minute. */
export const STREAMS_MAX = 256;
/** Requests of one node: each may cost a view of everything, and a name that everybody hears of. Clients ask once a second at most. */
const REQUEST_LIMIT: SourceLimiterOptions = { ratePerSecond: 1, burst: 20, sourcesMax: 10_000 };
/** How often a stream says that it is alive. */
export const HEARTBEAT_MS = 10_000;
/** How long changes are collected before they are told. */
const COLLECT_MS = 50;
/** How long an agent whose stream has ended still counts as present, and one that has none. */
const LEAVE_MS = 5000;
const LEAVE_UNWATCHED_MS = 150_000;
/** How often it is looked who has been away for too long. */
const SWEEP_MS = 3_600_000;
const INSTANCE_BYTES = 12;

/** What a node wants that watches the mesh. */
export interface MeshWatch extends SeenRevision {
  /** Its key, base64. */
  readonly publicKey: string;
  /** The name that it asks for. */
  readonly asked: string;
  /** Ends the stream. */
  readonly signal: AbortSignal;
}

/** A colony's control service. */
export class ColonyDesk implements ControlSide {
  readonly #options: ControlOptions;
  readonly #book: AddressBook;
  readonly #file: AddressFile;
  readonly #list: MemberList;
  readonly #streams = new Map<string, AbortController>();
  readonly #leaving = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #ended = new AbortController();
  /** Aborted with the next change. */
  #news = new AbortController();
  readonly #policyFile: PolicyFile | undefined;
  #policy: Policy | undefined;
  /** Grows when somebody may be allowed something else. */
  #policyRevision = 0;
  /** The policy and the members, as they were at a revision of it. */
  #rules: { readonly revision: number; readonly policy: MeshPolicy } | undefined;
  #around: ControlSurroundings | undefined;
  #server: ControlServer | undefined;
  #sweep: ReturnType<typeof setInterval> | undefined;
  readonly #limiter = new SourceLimiter(REQUEST_LIMIT);
  #unwatched = 0;

  private constructor(
    options: ControlOptions,
    { book, file, policyFile }: {
      readonly book: AddressBook;
      readonly file: AddressFile;
      readonly policyFile: PolicyFile | undefined;
    },
  ) {
    this.#options = options;
    this.#policyFile = policyFile;
    this.#policy = policyFile?.policy;
    this.#book = book;
    this.#file = file;
    this.#list = new MemberList(formatBase64(options.randomBytes(INSTANCE_BYTES)));
  }

  /** Reads what was given before, and the policy file. Throws `config` for one that is none. */
  static async open(options: ControlOptions): Promise<ColonyDesk> {
    const { names, subnet, publicKey, name, meshIpv6: ipv6 } = options;
    const book = new AddressBook(subnet);
    const file = await AddressFile.open({ ...options, book });
    const { policyFile: path, log } = options;
    const policyFile = path === undefined ? undefined : await PolicyFile.open({ path, log });
    const desk = new ColonyDesk(options, { book, file, policyFile });
    const { colonyIpv4: ipv4 } = book;
    names.set(name, ipv6, ipv4);
    desk.#list.set({ publicKey, name, role: "colony", ipv4, ipv6, present: true });
    for (const assignment of book.all) {
      const member = desk.#memberOf(assignment, false);
      names.set(member.name, member.ipv6, member.ipv4);
      desk.#list.set(member);
    }
    return desk;
  }

  /** As it was given. */
  get name(): string {
    return this.#options.name;
  }

  /** The first address of the subnet. */
  get ipv4(): string {
    return this.#book.colonyIpv4;
  }

  /** Every node that has an address. */
  get members(): readonly MeshMember[] {
    return this.#list.all;
  }

  /** None: a colony has agents. */
  get fellows(): readonly Fellow[] {
    return [];
  }

  /** What a node was given. */
  assignedTo(publicKey: string): Assigned | undefined {
    return this.#book.find(publicKey);
  }

  /** Serves. Throws `portInUse` where the colony listens on the port already. */
  start(network: Network, around: ControlSurroundings): void {
    const { port, log, meshIpv6: hostname } = this.#options;
    this.#around = around;
    this.#server = startControlServer({
      network,
      hostname,
      port,
      log,
      keyAt: (address) => around.peerAt(address)?.publicKey,
      watch: (watch) => this.#watch(watch),
    });
    this.#policyFile?.watch((policy) => this.#setPolicy(policy));
    this.#tellOwn();
    this.#sweep = setInterval(() => this.#sweepAway(), SWEEP_MS);
    Deno.unrefTimer(this.#sweep);
  }

  /** Nothing: agents come by themselves. */
  handleConnected(_peer: MeshPeer): void {}

  /** Frees what it had, or leaves it to the key that it goes on with, and tells everybody. */
  handleExpelled(publicKey: string, next?: string): void {
    this.#streams.get(publicKey)?.abort(new MorayError("closed", "the node was thrown out"));
    if (next === undefined || !this.#move(publicKey, next)) {
      const released = this.#book.release(publicKey);
      if (released === undefined) return;
      this.#forget(released);
    }
    void this.#file.save();
  }

  /** From now on this says what nodes may do; everybody is told. */
  #setPolicy(policy: Policy): void {
    this.#policy = policy;
    this.#policyRevision++;
    this.#wake();
  }

  /** Counters by name; only what is not zero. */
  counters(): Record<string, number> {
    const all = {
      addressesRefused: this.#book.refused,
      addressesNotKept: this.#file.failed,
      controlStreamsRefused: this.#unwatched,
      controlRequestsLimited: this.#limiter.refused,
      controlStrangers: this.#server?.strangers ?? 0,
    };
    return Object.fromEntries(Object.entries(all).filter(([, count]) => count > 0));
  }

  /** Ends every stream, and writes down who was there. */
  async stop(): Promise<void> {
    this.#ended.abort();
    clearInterval(this.#sweep);
    this.#policyFile?.stop();
    for (const timer of this.#leaving.values()) clearTimeout(timer);
    this.#leaving.clear();
    await this.#server?.stop();
    if (this.#book.all.length === 0) return;
    this.#seePresent();
    await this.#file.save();
  }

  /** Views and heartbeats until the stream ends. Throws `ConnectError` where there is no address left, and for too many requests. */
  async *#watch(watch: MeshWatch): AsyncGenerator<WatchMeshResponse> {
    const { publicKey } = watch;
    if (!this.#limiter.admit(this.#options.now() as Instant, publicKey)) {
      throw new ConnectError("too many requests by this node", Code.ResourceExhausted);
    }
    const own = new AbortController();
    this.#streams.get(publicKey)?.abort(new MorayError("closed", "a newer stream"));
    const stays = this.#streams.has(publicKey) || this.#streams.size < STREAMS_MAX;
    if (stays) this.#streams.set(publicKey, own);
    else this.#unwatched++;
    const signals = [watch.signal, own.signal, this.#ended.signal];
    try {
      await this.#enter(watch);
      let { instance, revision } = watch;
      let policyRevision = -1;
      do {
        const changes = this.#list.since({ instance, revision });
        const whole = changes.complete || policyRevision !== this.#policyRevision;
        const rules = whole ? this.#rulesFor(publicKey) : undefined;
        const policy = rules && policyMessage(rules);
        policyRevision = this.#policyRevision;
        ({ instance } = this.#list);
        ({ revision } = changes);
        const { subnet } = this.#book;
        const view = viewMessage({ instance, subnet, ...changes, ...(policy && { policy }) });
        yield create(WatchMeshResponseSchema, { event: { case: "view", value: view } });
        while (stays && !await this.#hears({ revision, policyRevision }, signals)) {
          if (signals.some(({ aborted }) => aborted)) return;
          const value = create(HeartbeatSchema);
          yield create(WatchMeshResponseSchema, { event: { case: "heartbeat", value } });
        }
      } while (stays && !signals.some(({ aborted }) => aborted));
    } finally {
      if (!stays) this.#leaves(publicKey, LEAVE_UNWATCHED_MS);
      else if (this.#streams.get(publicKey) === own) {
        this.#streams.delete(publicKey);
        this.#leaves(publicKey, LEAVE_MS);
      }
    }
  }

  #rulesFor(publicKey: string): NodeRules | undefined {
    if (this.#policy === undefined) return undefined;
    if (this.#rules?.revision !== this.#policyRevision) {
      const { port: controlPort } = this.#options;
      const policy = new MeshPolicy(this.#policy, this.members, { controlPort });
      this.#rules = { revision: this.#policyRevision, policy };
    }
    return this.#rules.policy.rulesFor(publicKey);
  }

  /** Tells the node around it what the colony itself lets in. */
  #tellOwn(): void {
    const rules = this.#rulesFor(this.#options.publicKey);
    this.#around?.onMesh({ members: [], fellows: [], ...(rules && { rules }) });
  }

  /** Waits for something new, up to a heartbeat. Returns whether there is. */
  async #hears(
    seen: { readonly revision: number; readonly policyRevision: number },
    signals: readonly AbortSignal[],
  ): Promise<boolean> {
    const isNew = (): boolean =>
      this.#list.revision !== seen.revision || this.#policyRevision !== seen.policyRevision;
    if (!isNew()) await delay(HEARTBEAT_MS, [...signals, this.#news.signal]);
    if (isNew()) await delay(COLLECT_MS, signals);
    return isNew();
  }

  /** A node has come: it gets what it had, or something new, and everybody hears of it. */
  async #enter({ publicKey, asked }: MeshWatch): Promise<void> {
    const { now, names } = this.#options;
    clearTimeout(this.#leaving.get(publicKey));
    this.#leaving.delete(publicKey);
    this.#follow(publicKey);
    const before = this.#book.find(publicKey);
    const ipv6 = this.#ipv6Of(publicKey);
    const assigned = this.#book.assign(publicKey, {
      asked: labelOf(asked) ?? labelOf(publicKey) ?? "node",
      now: now(),
      isTaken: (name) => (names.resolve(name) ?? ipv6) !== ipv6,
      isPresent: (key) => this.#list.find(key)?.present === true,
      onReleased: (released) => this.#forget(released),
    });
    if (assigned === undefined) {
      throw new ConnectError("every address belongs to another node", Code.ResourceExhausted);
    }
    const added = this.#list.find(publicKey) === undefined;
    const news = assigned.name !== before?.name || assigned.ipv4 !== before.ipv4;
    if (news) await this.#file.save();
    // Meanwhile it may have been thrown out.
    if (this.#book.find(publicKey) === undefined) {
      throw new ConnectError("the node is no member", Code.PermissionDenied);
    }
    this.#around?.onAssigned(publicKey, assigned);
    const changed = this.#list.set(this.#memberOf(assigned, true));
    if (news || added) this.#policyRevision++;
    if (changed) this.#wake();
  }

  /** A member that goes on with another key keeps what it has. */
  #follow(publicKey: string): void {
    const { earlierKeys = [] } = this.#around?.peerAt(this.#ipv6Of(publicKey))?.record ?? {};
    for (const earlier of earlierKeys) {
      if (!this.#move(earlier, publicKey)) continue;
      this.#streams.get(earlier)?.abort(new MorayError("closed", "the node has another key"));
    }
  }

  /** What a key has is another one's. Returns whether it had anything, and the other key nothing. */
  #move(from: string, to: string): boolean {
    const known = this.#book.find(from);
    if (known === undefined || !this.#book.move(from, to)) return false;
    this.#forget(known);
    return true;
  }

  #leaves(publicKey: string, ms: number): void {
    if (this.#ended.signal.aborted) return;
    clearTimeout(this.#leaving.get(publicKey));
    const timer = setTimeout(() => {
      this.#leaving.delete(publicKey);
      const assigned = this.#book.find(publicKey);
      if (assigned === undefined) return;
      this.#book.seen(publicKey, this.#options.now());
      if (this.#list.set(this.#memberOf(assigned, false))) this.#wake();
    }, ms);
    Deno.unrefTimer(timer);
    this.#leaving.set(publicKey, timer);
  }

  #sweepAway(): void {
    this.#seePresent();
    const isPresent = (key: string): boolean => this.#list.find(key)?.present === true;
    const released = this.#book.sweep(this.#options.now(), isPresent);
    released.forEach((one) => this.#forget(one));
    void this.#file.save();
  }

  #seePresent(): void {
    const at = this.#options.now();
    for (const { publicKey, present } of this.#list.all) {
      if (present) this.#book.seen(publicKey, at);
    }
  }

  #forget({ publicKey, name }: Assignment): void {
    const { names } = this.#options;
    if (names.resolve(name) === this.#ipv6Of(publicKey)) names.delete(name);
    clearTimeout(this.#leaving.get(publicKey));
    this.#leaving.delete(publicKey);
    const changed = this.#list.delete(publicKey);
    this.#policyRevision++;
    if (changed) this.#wake();
  }

  #memberOf({ publicKey, name, ipv4 }: Assignment, present: boolean): MeshMember {
    return { publicKey, name, role: "agent", ipv4, ipv6: this.#ipv6Of(publicKey), present };
  }

  #ipv6Of(publicKey: string): string {
    const key = parseKey(publicKey);
    assert(key !== undefined, "whoever is in the book has a key");
    return meshIpv6Of(this.#options.mesh, key);
  }

  #wake(): void {
    this.#tellOwn();
    this.#news.abort();
    this.#news = new AbortController();
  }
}
