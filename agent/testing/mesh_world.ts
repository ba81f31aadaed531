/** A mesh node's control in a test: a clock that the test moves, and Discovery's answers by hand. @module */
import { ok as assert } from "node:assert/strict";
import { formatBase64, type Instant, type Rng } from "../../core/mod.ts";
import type { DiscoveredPeer } from "../../discovery/mod.ts";
import { MeshControl } from "../mesh_control.ts";
import type { MeshControlOptions, MeshEvent, MeshRequest } from "../mesh_messages.ts";
import type { Role } from "../mesh_peers.ts";
import { NameTable } from "../names.ts";
import type { CandidateInfo, CommandBody, NodeEvent, RelayInfo } from "../shared/mod.ts";

/** The mesh of every test. */
export const MESH = "reef";
const NAT = { mapping: "unknown", filtering: "unknown", hint: "NAT_UNKNOWN" };
/** What our own Discovery can do. */
export const FEATURES = { punch: true, watch: true, deregister: true, relay: false };
/** An own address. */
export const HOST: CandidateInfo = { kind: "host", address: "192.168.1.9:40000" };
/** Where STUN sees the node. */
export const REFLEXIVE: CandidateInfo = { kind: "serverReflexive", address: "203.0.113.9:40000" };
/** Never makes a wait shorter. */
const STEADY: Rng = { bytes: (length) => new Uint8Array(length) };

/** The key of a node with a number. */
export const keyOf = (number: number): string => {
  const key = new Uint8Array(32).fill(1);
  new DataView(key.buffer).setUint32(0, number);
  return formatBase64(key);
};

/** What Discovery says of a node. */
export function found(number: number, role: Role, port = 51820): DiscoveredPeer {
  return {
    meshId: MESH,
    publicKey: keyOf(number),
    role,
    agentId: "",
    name: role === "colony" ? "colony" : `agent${number}`,
    endpoints: [{ hostname: "192.168.1.2", port: 51820 }],
    observedEndpoints: [{ hostname: "203.0.113.2", port }],
    relayedEndpoints: [],
    noRelay: false,
    nat: "NAT_UNKNOWN",
    meshIpv4: role === "colony" ? "10.42.0.1" : undefined,
    meshIpv6: undefined,
    connectPort: 0,
    metadata: {},
    lastSeenAt: undefined,
    generation: 1,
    sequence: 0,
  };
}

/** A control with a clock that the test moves; what it asks for is kept until it is looked at. */
export class World {
  /** The machine under test. */
  readonly control: MeshControl;
  /** Commands to the datapath. */
  readonly commands: CommandBody[] = [];
  /** Requests to Discovery. */
  readonly requests: MeshRequest[] = [];
  /** Events. */
  readonly events: MeshEvent[] = [];
  /** The present. */
  now = 0 as Instant;

  /** A control that has asked for nothing. */
  constructor(role: Role, more: Partial<MeshControlOptions> = {}) {
    this.control = new MeshControl({
      now: this.now,
      rng: STEADY,
      role,
      mesh: MESH,
      publicKey: keyOf(0),
      meshIpv6: "fd00::1",
      name: "me",
      connectPort: 9000,
      discovery: ["http://198.51.100.1:8080"],
      names: new NameTable(MESH),
      cached: [],
      ...more,
    });
  }

  /** Lets something happen now. */
  do(what: (control: MeshControl, now: Instant) => void): void {
    what(this.control, this.now);
    this.drain();
  }

  /** Keeps what the control wants. */
  drain(): void {
    for (let c; (c = this.control.pollCommand()) !== undefined;) this.commands.push(c);
    for (let r; (r = this.control.pollRequest()) !== undefined;) this.requests.push(r);
    for (let e; (e = this.control.pollEvent()) !== undefined;) this.events.push(e);
  }

  /** Goes on until `until`, wake-up by wake-up; `each` sees every one. */
  run(until: number, each: () => void = () => {}): void {
    for (let i = 0; i < 100_000; i++) {
      const dueAt = this.control.pollTimeout();
      if (dueAt === undefined || dueAt > until) break;
      assert(dueAt >= this.now || i === 0, "time goes forward");
      this.now = Math.max(this.now, dueAt) as Instant;
      this.do((control, now) => control.handleTimeout(now));
      each();
    }
    this.now = until as Instant;
  }

  /** Takes what was asked for since the last time, in kinds. */
  takeRequests(): string[] {
    return this.requests.splice(0).map(({ kind }) => kind);
  }

  /** Takes the commands since the last time, in kinds. */
  takeCommands(): string[] {
    return this.commands.splice(0).map(({ kind }) => kind);
  }

  /** Registers, and answers what is asked at the start. */
  begin({ features = FEATURES, colony = true } = {}): void {
    this.do((c, now) => c.handleDatapath(now, candidates(HOST)));
    this.do((c, now) => c.start(now));
    this.do((c, now) => c.handleAnswer(now, { kind: "serverInfo", features, stun: false }));
    this.do((c, now) => c.handleAnswer(now, { kind: "registered", ttlMs: 86_400_000 }));
    if (colony) {
      this.do((c, now) => c.handleAnswer(now, { kind: "colony", peer: found(1, "colony") }));
    }
  }

  /** Answers the punch asked for last. */
  answerPunch(delivered = true): void {
    const request = this.requests.pop();
    assert(request?.kind === "punch", `a punch, not ${request?.kind}`);
    const { publicKey } = request;
    const peer = this.control.peers.find(publicKey)?.record;
    assert(peer !== undefined);
    const punchId = `punch at ${this.now}`;
    this.do((c, now) =>
      c.handleAnswer(now, { kind: "punched", publicKey, punchId, delivered, windowMs: 3000, peer })
    );
  }

  /** Grants the relay that was asked for last. */
  grantRelay(id = "eu"): void {
    const request = this.requests.findLast(({ kind }) => kind === "requestRelay");
    assert(request?.kind === "requestRelay", "a relay was asked for");
    const relay: RelayInfo = {
      id,
      sessionId: `session ${id}`,
      transports: [{ kind: "udp", address: "198.51.100.7:3478" }],
      username: "1:s",
      password: "secret",
      expiresAtMs: 0,
    };
    const choices = [{ relayId: id, region: "", load: 0 }];
    const granted = { relay, lifeMs: 3_600_000, choices };
    this.do((c, now) => c.handleAnswer(now, { kind: "relayGranted", request, granted }));
  }

  /** A peer is reached directly. */
  connect(number = 1): void {
    const publicKey = keyOf(number);
    this.do((c, now) =>
      c.handleDatapath(now, { kind: "peerConnected", publicKey, remote: "203.0.113.2:51820" })
    );
  }
}

/** The datapath tells of own candidates. */
export function candidates(...list: CandidateInfo[]): NodeEvent {
  return { kind: "candidatesChanged", candidates: list, nat: NAT };
}
