/**
 * Carries changes of registrations, punches and heartbeats to the Watch streams.
 *
 * Each mesh has a ring of its last changes, so that a stream that breaks resumes where it was. A cursor names this
 * run of the server, the watcher's role and a sequence number; one that does not fit any more gets a snapshot.
 *
 * ```text
 * publish* -> ring of the mesh -> queue of each subscription that may see it -> next() -> stream
 * punch, heartbeat -------------> queue of a subscription
 * ```
 *
 * @module
 */
import { create, fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  HeartbeatSchema,
  PeerRemovedSchema,
  PunchSchema,
  SignedStatementSchema,
  type WatchEvent,
  WatchEventSchema,
} from "../../proto/mod.ts";
import { parseBase64 } from "../../core/mod.ts";
import type { NodeChange, NodeKey, NodeRecord, Role } from "../store/store.ts";
import { peerRecord } from "./records.ts";
import { Subscription, WATCH_QUEUE_MAX } from "./subscription.ts";

/** Streams of one node. A further one ends the oldest, which its client has most likely lost. */
export const WATCHES_PER_NODE_MAX = 2;
/** Streams of one mesh. Further ones are refused. */
export const WATCHES_PER_MESH_MAX = 10_000;
/** Streams of the server. Further ones are refused. */
export const WATCHES_MAX = 20_000;
/** Changes kept per mesh for resuming. The oldest go. */
export const RING_EVENTS_MAX = 1024;
/** Changes kept in all. The rings of the meshes that changed longest ago go. */
export const RING_EVENTS_TOTAL_MAX = 65_536;
/** Meshes with a ring or a stream. Those without a stream that changed longest ago go. */
export const CHANNELS_MAX = 10_000;

/** A change of a registration. */
type Change =
  | { readonly kind: "upserted"; readonly node: NodeRecord }
  | { readonly kind: "removed"; readonly node: NodeChange };

/** One mesh. */
interface Channel {
  readonly meshId: string;
  /** Streams by the watcher's role: a change of a colony concerns the agents, and the other way round. */
  readonly watchers: Readonly<Record<Role, Set<Subscription>>>;
  /** Streams by the watcher's key, oldest first. */
  readonly byKey: Map<string, Subscription[]>;
  /** Changes after {@linkcode Channel.floor}, in order. */
  ring: { readonly seq: number; readonly change: Change }[];
  /** Sequence number up to which changes are forgotten. */
  floor: number;
}

/** Who watches what. */
export interface SubscribeOptions extends NodeKey {
  /** The watcher's role: a colony sees agents, an agent sees its colony. */
  readonly role: Role;
  /** Cursor of the last event seen; empty for none. */
  readonly cursor: string;
}

/** A punch for one side. */
export interface PunchNotice {
  /** Id of the punch. */
  readonly punchId: string;
  /** How long to send, in milliseconds. */
  readonly windowMs: number;
  /** The other side. */
  readonly peer: NodeRecord;
}

/** Limits of a {@linkcode WatchHub}, for tests; the defaults are the constants of this module. */
export interface WatchHubLimits {
  /** Events waiting for one stream. @default {@linkcode WATCH_QUEUE_MAX} */
  readonly queueMax?: number;
  /** Streams of one mesh. @default {@linkcode WATCHES_PER_MESH_MAX} */
  readonly watchesPerMeshMax?: number;
  /** Streams of the server. @default {@linkcode WATCHES_MAX} */
  readonly watchesMax?: number;
  /** Changes kept per mesh. @default {@linkcode RING_EVENTS_MAX} */
  readonly ringMax?: number;
  /** Changes kept in all. @default {@linkcode RING_EVENTS_TOTAL_MAX} */
  readonly ringTotalMax?: number;
  /** Meshes with a ring or a stream. @default {@linkcode CHANNELS_MAX} */
  readonly channelsMax?: number;
}

/** All Watch streams of a server. */
export class WatchHub {
  readonly #instance: string;
  readonly #limits: Required<WatchHubLimits>;
  /** In order of last change. */
  readonly #channels = new Map<string, Channel>();
  #seq = 0;
  #watches = 0;
  #ringEvents = 0;
  #overflowed = 0;
  #closed = false;

  /** Creates a hub. `instance` names this run of the server and must differ from run to run. */
  constructor(instance: string, limits: WatchHubLimits = {}) {
    this.#instance = instance;
    this.#limits = {
      queueMax: WATCH_QUEUE_MAX,
      watchesPerMeshMax: WATCHES_PER_MESH_MAX,
      watchesMax: WATCHES_MAX,
      ringMax: RING_EVENTS_MAX,
      ringTotalMax: RING_EVENTS_TOTAL_MAX,
      channelsMax: CHANNELS_MAX,
      ...limits,
    };
  }

  /** Streams that are open. */
  get watches(): number {
    return this.#watches;
  }

  /** Streams ended because they fell behind. */
  get overflowed(): number {
    return this.#overflowed;
  }

  /** Opens a subscription. Throws `ConnectError` RESOURCE_EXHAUSTED or UNAVAILABLE. */
  subscribe(options: SubscribeOptions): Subscription {
    if (this.#closed) throw new ConnectError("Discovery is stopping", Code.Unavailable);
    if (this.#watches >= this.#limits.watchesMax) {
      throw new ConnectError("too many Watch streams on this server", Code.ResourceExhausted);
    }
    const channel = this.#channel(options.meshId);
    this.#evict(channel);
    const own = channel.byKey.get(options.publicKey) ?? [];
    if (own.length >= WATCHES_PER_NODE_MAX) {
      own[0]?.end(new ConnectError("replaced by a newer Watch stream", Code.Aborted));
    }
    if (watchesOf(channel) >= this.#limits.watchesPerMeshMax) {
      throw new ConnectError("too many Watch streams in this mesh", Code.ResourceExhausted);
    }
    const { role, publicKey } = options;
    const subscription = new Subscription({
      role,
      cursor: this.#cursor(role),
      missed: this.#missed(channel, options),
      queueMax: this.#limits.queueMax,
      onEnd: (overflowed) => {
        channel.watchers[role].delete(subscription);
        const rest = (channel.byKey.get(publicKey) ?? []).filter((s) => s !== subscription);
        if (rest.length > 0) channel.byKey.set(publicKey, rest);
        else channel.byKey.delete(publicKey);
        this.#watches--;
        if (overflowed) this.#overflowed++;
      },
    });
    channel.watchers[role].add(subscription);
    channel.byKey.set(publicKey, [...channel.byKey.get(publicKey) ?? [], subscription]);
    this.#watches++;
    return subscription;
  }

  /** Tells the watchers of the mesh that a record is new or changed. */
  publishUpsert(record: NodeRecord): void {
    this.#publish({ kind: "upserted", node: record });
    for (const own of this.#own(record)) {
      if (own.role !== record.role) {
        own.end(new ConnectError(`the node is the mesh's ${record.role} now`, Code.Aborted));
      }
    }
  }

  /** Tells the watchers of the mesh that a record is gone, and ends the node's own streams. */
  publishRemoval(node: NodeChange): void {
    this.#publish({ kind: "removed", node });
    for (const own of this.#own(node)) {
      own.end(new ConnectError("the node's registration has ended", Code.NotFound));
    }
  }

  /** Whether changes of a mesh are kept here, for streams that are open or may come back. */
  follows(meshId: string): boolean {
    return this.#channels.has(meshId);
  }

  /** A change of a mesh that is not followed was left out: no cursor of before is good for it. */
  skip(): void {
    this.#seq++;
  }

  /** Changes were missed: every stream is ended with UNAVAILABLE, and begins anew from a snapshot. */
  restart(): void {
    this.#seq++;
    for (const channel of this.#channels.values()) {
      this.#forget(channel, channel.ring.length);
      channel.floor = this.#seq;
      this.#end(channel, "Discovery has missed changes");
    }
  }

  /** Whether a node has a stream open. */
  watching(node: NodeKey): boolean {
    return this.#own(node).length > 0;
  }

  /** Tells a node to punch. Returns whether it has a stream open. */
  punch(node: NodeKey, { punchId, windowMs, peer }: PunchNotice): boolean {
    const own = this.#own(node);
    const value = create(PunchSchema, { punchId, windowMs, peer: peerRecord(peer) });
    for (const subscription of own) {
      subscription.push(this.#event(subscription.role, { case: "punch", value }));
    }
    return own.length > 0;
  }

  /** A node is in its mesh no more: its streams end with NOT_FOUND. */
  expel(node: NodeKey): void {
    for (const subscription of [...this.#own(node)]) {
      subscription.end(new ConnectError("the node is not registered any more", Code.NotFound));
    }
  }

  /** The colony has said something of a node: that hears it, or the whole mesh, which knows it as thrown out from now on or until now. */
  membership(
    { meshId, publicKey, forAll, statement }: NodeKey & {
      readonly forAll: boolean;
      /** The SignedStatement in base64. */
      readonly statement: string;
    },
  ): void {
    const watchers = this.#channels.get(meshId)?.watchers;
    if (watchers === undefined) return;
    const to = forAll ? [...watchers.colony, ...watchers.agent] : this.#own({ meshId, publicKey });
    if (to.length === 0) return;
    const value = fromBinary(SignedStatementSchema, parseBase64(statement) ?? new Uint8Array());
    const events = {
      colony: this.#event("colony", { case: "membership", value }),
      agent: this.#event("agent", { case: "membership", value }),
    };
    for (const subscription of to) subscription.push(events[subscription.role]);
  }

  /** Sends a heartbeat on every stream. */
  heartbeat(): void {
    const value = create(HeartbeatSchema);
    for (const role of ["colony", "agent"] as const) {
      const event = this.#event(role, { case: "heartbeat", value });
      for (const { watchers } of this.#channels.values()) {
        for (const subscription of watchers[role]) subscription.push(event);
      }
    }
  }

  /** Ends every stream with UNAVAILABLE, and refuses new ones. */
  close(): void {
    this.#closed = true;
    for (const channel of this.#channels.values()) this.#end(channel, "Discovery is stopping");
  }

  #end({ watchers }: Channel, reason: string): void {
    for (const subscription of [...watchers.colony, ...watchers.agent]) {
      subscription.end(new ConnectError(reason, Code.Unavailable));
    }
  }

  #publish(change: Change): void {
    const channel = this.#channel(change.node.meshId);
    this.#seq++;
    channel.ring.push({ seq: this.#seq, change });
    this.#ringEvents++;
    if (channel.ring.length > this.#limits.ringMax) this.#forget(channel, 1);
    this.#evict(channel);
    const role = watcherOf(change.node.role);
    const event = this.#changeEvent(this.#seq, change);
    for (const subscription of channel.watchers[role]) subscription.push(event);
  }

  /** The channel of a mesh, now the most recently used one. */
  #channel(meshId: string): Channel {
    const channel = this.#channels.get(meshId) ??
      {
        meshId,
        watchers: { colony: new Set(), agent: new Set() },
        byKey: new Map(),
        ring: [],
        floor: this.#seq,
      };
    this.#channels.delete(meshId);
    this.#channels.set(meshId, channel);
    return channel;
  }

  /** Makes room, from the mesh that changed longest ago: its ring goes, and all of it if nobody watches. */
  #evict(current: Channel): void {
    const { ringTotalMax, channelsMax } = this.#limits;
    for (const channel of this.#channels.values()) {
      if (this.#ringEvents <= ringTotalMax && this.#channels.size <= channelsMax) return;
      if (channel === current) continue;
      this.#forget(channel, channel.ring.length);
      if (watchesOf(channel) === 0) this.#channels.delete(channel.meshId);
    }
  }

  #forget(channel: Channel, count: number): void {
    const gone = channel.ring.splice(0, count);
    channel.floor = gone.at(-1)?.seq ?? channel.floor;
    this.#ringEvents -= gone.length;
  }

  #own({ meshId, publicKey }: NodeKey): readonly Subscription[] {
    return this.#channels.get(meshId)?.byKey.get(publicKey) ?? [];
  }

  /** The events after a cursor; `undefined` if the cursor does not fit or its events are forgotten. */
  #missed(channel: Channel, { role, cursor }: SubscribeOptions): WatchEvent[] | undefined {
    const [instance, letter, digits = ""] = cursor.split(".");
    if (instance !== this.#instance || letter !== role[0] || !/^\d{1,15}$/.test(digits)) {
      return undefined;
    }
    const since = Number(digits);
    if (since < channel.floor || since > this.#seq) return undefined;
    return channel.ring
      .filter(({ seq, change }) => seq > since && watcherOf(change.node.role) === role)
      .map(({ seq, change }) => this.#changeEvent(seq, change));
  }

  #changeEvent(seq: number, change: Change): WatchEvent {
    const { publicKey: pubkey, generation, role } = change.node;
    const cursor = this.#cursor(watcherOf(role), seq);
    if (change.kind === "upserted") {
      const event = { case: "peerUpserted", value: peerRecord(change.node) } as const;
      return create(WatchEventSchema, { cursor, event });
    }
    const value = create(PeerRemovedSchema, { pubkey, generation: BigInt(generation) });
    return create(WatchEventSchema, { cursor, event: { case: "peerRemoved", value } });
  }

  #event(role: Role, event: WatchEvent["event"]): WatchEvent {
    return create(WatchEventSchema, { cursor: this.#cursor(role), event });
  }

  #cursor(role: Role, seq = this.#seq): string {
    return `${this.#instance}.${role[0]}.${seq}`;
  }
}

/** Who sees a node of this role. */
function watcherOf(role: Role): Role {
  return role === "colony" ? "agent" : "colony";
}

function watchesOf({ watchers }: Channel): number {
  return watchers.colony.size + watchers.agent.size;
}
