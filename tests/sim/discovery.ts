/**
 * Discovery as nodes see it: registrations that expire, look-ups, punches, and Watch streams; over TCP connections that
 * break where the network breaks them.
 *
 * The messages are not encoded: that is tested with the real service. What is simulated is what a mesh lives with, which is
 * when an answer comes, whether it comes, and what Discovery knows by then.
 *
 * @module
 */
import { after, type ErrorCode, type Instant } from "../../core/mod.ts";
import type { DiscoveredPeer, PeerEvent, Registration, Role } from "../../discovery/mod.ts";
import { PunchLimiter } from "../../discovery/service/punch_limiter.ts";
import type { MeshAnswer, MeshRequest } from "../../agent/mesh_messages.ts";
import type { RelayReport } from "../../discovery/relay/report.ts";
import type { Wire } from "./net/network.ts";
import type { RelayOffice } from "./relay_office.ts";
import { EPOCH_MS } from "./wall_clock.ts";

/** A node's way to Discovery, at a moment. */
export interface Access {
  /** Round trip in milliseconds; `undefined` while nothing gets through. */
  rttMs(): number | undefined;
  /** Names the node's address as Discovery sees it: a TCP connection does not survive another. */
  epoch(): string;
}

/** Life of a registration (DESIGN.md 2.5). */
export const TTL_MS = 300_000;
/** How long both sides of a punch send, as the service says. */
export const PUNCH_WINDOW_MS = 3000;
/** Time between heartbeats of a Watch stream, as the service has it. */
export const HEARTBEAT_MS = 15_000;
/** A client gives up after this. */
const CALL_TIMEOUT_MS = 5000;
/** How often TCP tries again while nothing gets through. */
const RETRANSMIT_MS = 400;

/** A node as Discovery meets it. */
export interface Caller {
  /** Its mesh. */
  readonly meshId: string;
  /** Its key, base64. */
  readonly publicKey: string;
  /** Its way here. */
  readonly access: Access;
}

/** What a client hears on a Watch stream. */
export interface StreamListener {
  /** An event, or a sign of life. */
  event(event: PeerEvent | "heartbeat"): void;
  /** The stream is over, or never began; nothing more comes. */
  ended(reason: string, notRegistered: boolean): void;
}

/** A Watch stream, both ends. */
interface Stream {
  readonly caller: Caller;
  readonly listener: StreamListener;
  readonly epoch: string;
  /** The watcher's role; `undefined` until the server has taken the stream. */
  role: Role | undefined;
  /** What is on its way. */
  readonly sent: (PeerEvent | "heartbeat")[];
  closed: boolean;
}

/** The service. */
export class SimDiscovery {
  /** Whether it is down: connections are refused. */
  down = false;
  readonly #wire: Wire;
  readonly #relays: RelayOffice | undefined;
  readonly #records = new Map<string, { readonly peer: DiscoveredPeer; readonly until: Instant }>();
  readonly #streams = new Set<Stream>();
  readonly #limiter = new PunchLimiter();
  #generation = 0;
  #punches = 0;

  /** A service without registrations, and without `relays` one that knows of none. */
  constructor(wire: Wire, relays?: RelayOffice) {
    this.#wire = wire;
    this.#relays = relays;
    const beat = (): void => {
      for (const stream of this.#streams) this.#push(stream, "heartbeat");
      this.#later(HEARTBEAT_MS, beat);
    };
    this.#later(HEARTBEAT_MS, beat);
  }

  /** Streams that the server holds open. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Ends every stream, as a killed process does. `forgetful`: its store was in memory. */
  stop({ forgetful }: { readonly forgetful: boolean }): void {
    this.down = true;
    if (forgetful) this.#records.clear();
    this.#relays?.restart({ forgetful });
    for (const stream of this.#streams) this.#end(stream, "connection reset");
  }

  /** Takes a relay's report of itself. */
  report(report: RelayReport): void {
    if (!this.down) this.#relays?.report(this.#unixMs, report);
  }

  /** Whether a relay can be asked for now. */
  offers(relayId: string): boolean {
    return this.#relays?.offers(this.#unixMs, relayId) ?? false;
  }

  /** Makes a call for a node. `done` is called once, in any case. */
  call(caller: Caller, request: MeshRequest, done: (answer: MeshAnswer) => void): void {
    const { access } = caller;
    const deadline = after(this.#wire.now(), CALL_TIMEOUT_MS);
    const fail = (code: ErrorCode, message: string): void =>
      done({ kind: "failed", request, code, message });
    this.#pass(access, deadline, (arrived) => {
      if (!arrived) return fail("timedOut", "no answer");
      const refused: MeshAnswer = {
        kind: "failed",
        request,
        code: "unreachable",
        message: "refused",
      };
      const answer = this.down ? refused : this.#answer(caller, request);
      this.#pass(access, deadline, (returned) => {
        if (returned) done(answer);
        else fail("timedOut", "no answer");
      });
    });
  }

  /** Opens a Watch stream: what can be seen now, `synchronized`, then changes. Returns how to close it. */
  watch(caller: Caller, listener: StreamListener): () => void {
    const { access, publicKey } = caller;
    const epoch = access.epoch();
    const stream: Stream = { caller, listener, epoch, role: undefined, sent: [], closed: false };
    this.#pass(access, after(this.#wire.now(), CALL_TIMEOUT_MS), (arrived) => {
      if (stream.closed) return;
      if (!arrived) return this.#end(stream, "no answer");
      if (this.down) return this.#end(stream, "connection refused");
      const own = this.#record(publicKey);
      if (own === undefined) return this.#end(stream, "not registered", true);
      stream.role = own.role;
      this.#streams.add(stream);
      for (const { peer } of this.#records.values()) this.#tell(stream, { kind: "upserted", peer });
      this.#push(stream, { kind: "synchronized" });
    });
    return () => {
      stream.closed = true;
      this.#streams.delete(stream);
    };
  }

  #answer({ meshId, publicKey }: Caller, request: MeshRequest): MeshAnswer {
    switch (request.kind) {
      case "serverInfo":
        return {
          kind: "serverInfo",
          features: {
            punch: true,
            watch: true,
            deregister: true,
            relay: this.#relays !== undefined,
          },
          stun: true,
        };
      case "register":
        this.#register(request.registration);
        return { kind: "registered", ttlMs: TTL_MS };
      case "lookUpColony":
        return { kind: "colony", peer: this.#peers().find(({ role }) => role === "colony") };
      case "lookUpAgent":
        return {
          kind: "agent",
          publicKey: request.publicKey,
          peer: this.#record(request.publicKey),
        };
      case "punch":
        return this.#punch(publicKey, request);
      case "requestRelay":
        return this.#relays?.grant(
          this.#unixMs,
          { meshId, publicKey },
          request,
          this.#isWilling(publicKey),
        ) ?? { kind: "failed", request, code: "unsupported", message: "there are no relays" };
      case "releaseRelay":
        this.#relays?.release(request.sessionId);
        return { kind: "relayReleased" };
    }
  }

  /** Whether a node, and the colony that it would reach, may use relays. */
  #isWilling(publicKey: string): boolean {
    return !this.#peers().some((peer) =>
      peer.noRelay && (peer.publicKey === publicKey || peer.role === "colony")
    );
  }

  #register(registration: Registration): void {
    const { publicKey, role, agentId = publicKey, name = "", observedEndpoints = [] } =
      registration;
    const now = this.#wire.now();
    const peer: DiscoveredPeer = {
      meshId: registration.meshId,
      publicKey,
      role,
      agentId,
      name,
      endpoints: registration.endpoints,
      observedEndpoints,
      relayedEndpoints: registration.relayedEndpoints ?? [],
      noRelay: registration.noRelay ?? false,
      nat: registration.nat ?? "NAT_UNKNOWN",
      meshIpv4: registration.meshIpv4,
      meshIpv6: registration.meshIpv6,
      connectPort: registration.connectPort ?? 0,
      metadata: {},
      lastSeenAt: now,
      generation: 0,
      sequence: 0,
    };
    const known = this.#record(publicKey);
    const same = known !== undefined && contentOf(known) === contentOf(peer);
    const generation = same ? known.generation : ++this.#generation;
    const current = { ...peer, generation };
    this.#records.set(publicKey, { peer: current, until: after(now, TTL_MS) });
    this.#later(TTL_MS, () => this.#expire(publicKey));
    if (!same) this.#publish({ kind: "upserted", peer: current }, role);
  }

  #expire(publicKey: string): void {
    const record = this.#records.get(publicKey);
    if (record === undefined || record.until > this.#wire.now()) return;
    this.#records.delete(publicKey);
    this.#relays?.left(publicKey);
    this.#publish({ kind: "removed", publicKey }, record.peer.role);
    for (const stream of this.#streams) {
      if (stream.caller.publicKey === publicKey) this.#end(stream, "registration has ended", true);
    }
  }

  #punch(from: string, request: MeshRequest & { readonly kind: "punch" }): MeshAnswer {
    const { publicKey: to } = request;
    const [own, other] = [this.#record(from), this.#record(to)];
    const failed = (code: ErrorCode, message: string): MeshAnswer => (
      { kind: "failed", request, code, message }
    );
    if (own === undefined || other === undefined) return failed("refused", "not registered");
    const roles = { fromRole: own.role, toRole: other.role } as const;
    const attempt = { meshId: own.meshId, from, to, ...roles };
    const refusal = this.#limiter.refusal(this.#wire.now(), attempt);
    if (refusal !== undefined) return failed("limit", refusal);
    const punchId = `punch-${++this.#punches}`;
    const punch = { kind: "punch", punchId, windowMs: PUNCH_WINDOW_MS } as const;
    let delivered = false;
    for (const stream of this.#streams) {
      const { publicKey } = stream.caller;
      delivered ||= publicKey === to;
      if (publicKey === to) this.#push(stream, { ...punch, peer: own });
      else if (publicKey === from) this.#push(stream, { ...punch, peer: other });
    }
    const windowMs = PUNCH_WINDOW_MS;
    return { kind: "punched", publicKey: to, punchId, delivered, windowMs, peer: other };
  }

  #peers(): readonly DiscoveredPeer[] {
    return [...this.#records.values()].map(({ peer }) => peer);
  }

  #record(publicKey: string): DiscoveredPeer | undefined {
    return this.#records.get(publicKey)?.peer;
  }

  /** Tells the other role's watchers of a change of one with this role. */
  #publish(event: PeerEvent, role: Role): void {
    for (const stream of this.#streams) if (stream.role !== role) this.#push(stream, event);
  }

  #tell(stream: Stream, event: PeerEvent & { readonly kind: "upserted" }): void {
    if (event.peer.role !== stream.role) this.#push(stream, event);
  }

  #push(stream: Stream, event: PeerEvent | "heartbeat"): void {
    stream.sent.push(event);
    this.#later(this.#oneWayMs(stream.caller.access), () => this.#deliver(stream));
  }

  /** Hands over what was sent, in order, or tries again while nothing gets through, as TCP does. */
  #deliver(stream: Stream): void {
    const { caller: { access }, sent, listener, epoch } = stream;
    if (stream.closed || sent.length === 0) return;
    // The other end has another address by now: this connection is dead, and nobody knows yet.
    if (access.epoch() !== epoch) return void this.#streams.delete(stream);
    if (access.rttMs() === undefined) {
      return this.#later(RETRANSMIT_MS, () => this.#deliver(stream));
    }
    for (const event of sent.splice(0)) if (!stream.closed) listener.event(event);
  }

  #end(stream: Stream, reason: string, notRegistered = false): void {
    this.#streams.delete(stream);
    this.#later(this.#oneWayMs(stream.caller.access), () => {
      const { closed, caller: { access }, epoch, listener } = stream;
      // A reset that cannot arrive is never heard of: silence ends the stream.
      const lost = stream.role !== undefined &&
        (access.rttMs() === undefined || access.epoch() !== epoch);
      if (closed || lost) return;
      stream.closed = true;
      listener.ended(reason, notRegistered);
    });
  }

  /** Passes one way, with as many tries as fit before the deadline; `then` is told whether it did. */
  #pass(access: Access, deadline: Instant, then: (passed: boolean) => void): void {
    const now = this.#wire.now();
    const rttMs = access.rttMs();
    if (rttMs !== undefined) this.#later(rttMs, () => then(true));
    else if (now >= deadline) then(false);
    else this.#later(RETRANSMIT_MS, () => this.#pass(access, deadline, then));
  }

  get #unixMs(): number {
    return EPOCH_MS + this.#wire.now();
  }

  #oneWayMs(access: Access): number {
    return (access.rttMs() ?? 2 * RETRANSMIT_MS) / 2;
  }

  #later(ms: number, happening: () => void): void {
    this.#wire.at(after(this.#wire.now(), ms), happening);
  }
}

/** What makes two records the same to whoever watches. */
function contentOf(peer: DiscoveredPeer): string {
  const { endpoints, observedEndpoints, relayedEndpoints, noRelay, nat, name } = peer;
  return JSON.stringify([endpoints, observedEndpoints, relayedEndpoints, noRelay, nat, name]);
}
