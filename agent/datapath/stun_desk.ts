/**
 * Everything that a node does with STUN: asks servers and peers for its own addresses, and answers the members of its mesh.
 *
 * ```text
 *   named servers ----+                              +---- members ask, on the WireGuard socket
 *   connected peers --+--> Gatherer     MemberStun <-+
 *                             |
 *   PortSample     candidates, NAT ------> Discovery, path agents
 *       |                                      ^
 *       +--- next ports of a NAT that counts --+
 * ```
 *
 * @module
 */
import {
  after,
  type Datagram,
  earlier,
  familyOf,
  formatBase64,
  formatSocketAddress,
  type Instant,
  parseSocketAddress,
  type Rng,
  sameAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import {
  type Candidate,
  Gatherer,
  KEEPALIVE_DEFAULT_MS,
  MemberStun,
  type NatFacts,
  type PathEvent,
  PEER_SERVERS_MAX,
  PortSample,
  type ProbeServer,
  sequenceOf,
  type StunCredentials,
  varies,
} from "../../traversal/mod.ts";
import type { StunServerReport } from "../netcheck/report.ts";
import type {
  RegatherCommand,
  SetMemberCommand,
  SetProbedCommand,
  SetStunServersCommand,
  StunServerInfo,
  VouchedEvent,
} from "../shared/mod.ts";
import type { OwnNat } from "./peer_table.ts";
import type { Transport } from "./transport.ts";

/** Time between two looks at the NAT's ports, whichever peers ask for them. */
const SAMPLE_EVERY_MS = 2_000;
/**
 * The same once the ports were found to follow no order, so often in a row and not one before in this network: others may have had theirs
 * between two of ours, and a NAT that keeps ports where it can may have given ours away.
 */
const SAMPLE_RANDOM_MS = 600_000;
const SAMPLE_RANDOM_TIMES = 3;
const NO_PORTS: readonly SocketAddress[] = [];

/** What a desk needs of the sockets. */
export type StunTransport = Pick<Transport, "send" | "openLocal" | "closeLocal">;

/** A STUN message that came to a socket, borrowed for the call. */
export interface StunDatagram extends Datagram {
  /** The local end that it came to. @default the node's own socket */
  readonly local?: number;
}

/** What a desk is made of. */
export interface StunDeskOptions {
  /** The sockets. */
  readonly transport: StunTransport;
  /** Entropy for transactions. */
  readonly rng: Rng;
  /** This node's own interface addresses. */
  readonly hostAddresses: readonly string[];
}

/** The commands that are about STUN. */
export type StunCommand =
  | SetStunServersCommand
  | SetProbedCommand
  | SetMemberCommand
  | RegatherCommand;

/** An address of ours, and what a server vouches for it with, as texts. */
export type Vouched = Omit<VouchedEvent, "kind">;

/** What has changed. */
export interface StunChanges {
  /** The candidates, or the verdict on the NAT. */
  readonly candidates: boolean;
  /** No server answers. */
  readonly silent: boolean;
  /** A server does not take its credentials. */
  readonly refused: boolean;
  /** What servers vouch for now, beyond what they did before. */
  readonly vouched: readonly Vouched[];
}

/** STUN of one node. */
export class StunDesk {
  readonly #transport: StunTransport;
  readonly #rng: Rng;
  readonly #gatherer: Gatherer;
  readonly #members = new MemberStun();
  /** What signs our requests to each peer, by its key. */
  readonly #asks = new Map<string, StunCredentials>();
  /** Where connected peers are, by key, in the order in which they came. */
  readonly #connected = new Map<string, SocketAddress>();
  /** Who named each server. */
  #origins: ReadonlyMap<string, string> = new Map();
  #keepaliveMs = KEEPALIVE_DEFAULT_MS;
  #unmatched = 0;
  #sample: PortSample | undefined;
  #sampleNextAt: Instant | undefined;
  #sampled = NO_PORTS;
  /** Looks in a row that showed no order. */
  #disorder = 0;
  /** Looks that found no two ends free. */
  #samplesRefused = 0;

  /** Starts without servers and peers. */
  constructor(now: Instant, { transport, rng, hostAddresses }: StunDeskOptions) {
    this.#transport = transport;
    this.#rng = rng;
    this.#gatherer = new Gatherer(now, { servers: [], rng, hostAddresses });
  }

  /** The server-reflexive candidates now, best first. */
  get candidates(): readonly Candidate[] {
    return this.#gatherer.candidates;
  }

  /** Addresses that the NAT gave fresh sockets last, by which peers predict the next; nobody is ever there. */
  get sampled(): readonly SocketAddress[] {
    // Of a NAT that turns out to give one port only, peers would predict others.
    return this.nat.mapping === "endpointIndependent" ? NO_PORTS : this.#sampled;
  }

  /** What peers' path agents have to know of the NAT. */
  get ownNat(): OwnNat {
    const { nat: own, udpBlocked, keepaliveMs, sampled } = this;
    return { own, udpBlocked, keepaliveMs, ownPorts: sampled };
  }

  /** The verdict on the NAT now. */
  get nat(): NatFacts {
    return this.#gatherer.nat;
  }

  /** Whether UDP seems blocked: every server has failed, and none has told an address. */
  get udpBlocked(): boolean {
    return this.#gatherer.udpBlocked;
  }

  /** How often a mapping has to be used, in milliseconds: 25 s, or less where the NAT was found to be forgetful. */
  get keepaliveMs(): number {
    return this.#keepaliveMs;
  }

  /** How each server and peer does that is asked. */
  get status(): readonly StunServerReport[] {
    return this.#gatherer.status.map(({ server, isPeer, rttMs, mapped, state, reason }) => {
      const text = formatSocketAddress(server);
      return {
        server: text,
        origin: isPeer ? "peer" : this.#origins.get(text) ?? "configured",
        rttMs: rttMs ?? null,
        mapped: mapped === undefined ? null : formatSocketAddress(mapped),
        reason: reason ?? (state === "asking" && mapped === undefined ? "not answered yet" : null),
      };
    });
  }

  /** Executes a command that is about STUN. */
  execute(now: Instant, command: StunCommand): undefined {
    switch (command.kind) {
      case "setStunServers":
        return this.#setServers(now, command.servers);
      case "setProbed":
        return this.#setProbed(command);
      case "setMember":
        return this.#setMember(now, command);
      case "regather":
        if (command.recheck === true) this.#gatherer.recheck(now);
        else this.#gatherer.regather(now);
        return;
    }
  }

  /** Forgets a peer. */
  removePeer(now: Instant, publicKey: string): void {
    this.#members.delete(publicKey);
    this.#asks.delete(publicKey);
    this.#forgetPath(now, publicKey);
  }

  /** Takes what became of the path to a peer: whom the node's own socket reaches directly can be asked where it sees it. */
  handlePath(now: Instant, publicKey: string, event: PathEvent): void {
    if (event.kind !== "connected" && event.kind !== "moved" && event.kind !== "lost") return;
    if (event.kind === "lost" || event.path.local !== 0) return this.#forgetPath(now, publicKey);
    this.#connected.set(publicKey, event.path.remote);
    this.#askPeers(now);
  }

  /** The network is another: nothing that was known counts any more. */
  linkChanged(now: Instant, hostAddresses: readonly string[]): void {
    this.#sampled = NO_PORTS;
    this.#sampleNextAt = undefined;
    this.#disorder = 0;
    this.#gatherer.setHostAddresses(hostAddresses);
    this.#gatherer.regather(now);
  }

  /** Finds out which ports the NAT gives out now, where it gives each destination another: what comes of it is a candidate. */
  samplePorts(now: Instant): void {
    if (this.#sample !== undefined || !varies(this.nat)) return;
    if (this.#sampleNextAt !== undefined && now < this.#sampleNextAt) return;
    const server = this.#gatherer.status.find(({ isPeer, mapped }) =>
      !isPeer && mapped !== undefined && familyOf(mapped.hostname) === 4
    )?.server;
    if (server === undefined) return;
    this.#sampleNextAt = after(now, SAMPLE_EVERY_MS);
    const [first, second] = [this.#transport.openLocal(), this.#transport.openLocal()];
    if (first === undefined || second === undefined) {
      if (first !== undefined) this.#transport.closeLocal(first);
      this.#samplesRefused++;
      return;
    }
    this.#sample = new PortSample(now, { server, locals: [first, second], rng: this.#rng });
    this.#sendSample();
  }

  /** Takes a STUN message. */
  handleInput(now: Instant, datagram: StunDatagram): void {
    const { payload, local = 0 } = datagram;
    if (local !== 0) {
      if (this.#sample?.handleInput(now, local, datagram) !== true) this.#unmatched++;
      return;
    }
    // Only requests begin with two zero bits and class 00 here: 00 01 is a Binding request.
    if (payload[0] === 0 && payload[1] === 1) {
      const answer = this.#members.answer(now, datagram);
      if (answer !== undefined) this.#send(answer.destination, answer.payload);
    } else if (!this.#gatherer.handleInput(now, datagram)) this.#unmatched++;
  }

  /** Does what is due, sends what is to be sent, and says what has changed. */
  step(now: Instant): StunChanges {
    const dueAt = this.#gatherer.pollTimeout();
    if (dueAt !== undefined && now >= dueAt) this.#gatherer.handleTimeout(now);
    for (let out; (out = this.#gatherer.pollTransmit()) !== undefined;) {
      this.#send(out.destination, out.payload);
    }
    let [candidates, silent, refused] = [this.#stepSample(now), false, false];
    const vouched: Vouched[] = [];
    for (let event; (event = this.#gatherer.pollEvent()) !== undefined;) {
      if (event.kind === "unanswered") silent = true;
      else if (event.kind === "credentialsRefused") refused = true;
      else if (event.kind === "vouched") {
        const { address, receipt } = event;
        vouched.push({
          address: formatSocketAddress(address),
          receipt: formatBase64(receipt),
        });
      } else candidates = true;
    }
    return { candidates, silent, refused, vouched };
  }

  /** When the next {@linkcode StunDesk.step} is due. */
  pollTimeout(): Instant | undefined {
    return earlier(this.#gatherer.pollTimeout(), this.#sample?.pollTimeout());
  }

  /** Counters by name; only what is not zero. */
  counters(): Readonly<Record<string, number>> {
    const all = {
      stunUnmatched: this.#unmatched,
      portSamplesRefused: this.#samplesRefused,
      ...this.#members.counters,
    };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value > 0));
  }

  /** Texts that are no address are left out. */
  #setServers(now: Instant, servers: readonly StunServerInfo[]): undefined {
    const named = servers.flatMap(({ address: text, credentials }): ProbeServer[] => {
      const address = parseSocketAddress(text);
      return address === undefined ? [] : [{ address, ...credentials && { credentials } }];
    });
    this.#origins = new Map(servers.map(({ address, origin }) => [address, origin]));
    this.#gatherer.setServers(now, named);
  }

  #setProbed({ nat, keepaliveMs = KEEPALIVE_DEFAULT_MS }: SetProbedCommand): undefined {
    this.#gatherer.setProbed(nat);
    const safe = Math.max(1000, keepaliveMs);
    this.#gatherer.setKeepalive(safe);
    // What peers hear of each other is more than a mapping kept alive: never less often than usual.
    this.#keepaliveMs = Math.min(KEEPALIVE_DEFAULT_MS, safe);
  }

  #setMember(now: Instant, { publicKey, asks, answers }: SetMemberCommand): undefined {
    if (!this.#members.set(publicKey, answers)) return;
    this.#asks.set(publicKey, asks);
    this.#askPeers(now);
  }

  #forgetPath(now: Instant, publicKey: string): void {
    if (this.#connected.delete(publicKey)) this.#askPeers(now);
  }

  /** Asks the first peers that are connected and can be asked. */
  #askPeers(now: Instant): void {
    const servers: Required<ProbeServer>[] = [];
    for (const [publicKey, address] of this.#connected) {
      const credentials = this.#asks.get(publicKey);
      if (credentials === undefined) continue;
      if (servers.some((server) => sameAddress(server.address, address))) continue;
      servers.push({ address, credentials });
      if (servers.length === PEER_SERVERS_MAX) break;
    }
    this.#gatherer.setPeerServers(now, servers);
  }

  /** Returns whether other ports were found. */
  #stepSample(now: Instant): boolean {
    const sample = this.#sample;
    if (sample === undefined) return false;
    sample.handleTimeout(now);
    this.#sendSample();
    if (!sample.ended) return false;
    this.#sample = undefined;
    for (const local of sample.locals) this.#transport.closeLocal(local);
    const seen = sample.seen.map((address) => ({ kind: "serverReflexive", address } as const));
    if (sequenceOf(seen) === undefined) {
      // Such ports tell a peer nothing, now or later.
      if (seen.length === sample.locals.length) this.#disorder++;
      if (this.#disorder >= SAMPLE_RANDOM_TIMES && this.#sampled.length === 0) {
        this.#sampleNextAt = after(now, SAMPLE_RANDOM_MS);
      }
      return false;
    }
    this.#disorder = 0;
    this.#sampled = sample.seen;
    return true;
  }

  #sendSample(): void {
    for (let out; (out = this.#sample?.pollTransmit()) !== undefined;) {
      this.#transport.send(out.payload, out.payload.length, out.destination, out.local);
    }
  }

  #send(destination: SocketAddress, payload: Uint8Array): void {
    this.#transport.send(payload, payload.length, destination);
  }
}
