/** A NAT by RFC 4787, a STUN server by RFC 5780 behind it, and virtual time. For tests of probes. @module */
import {
  after,
  type Datagram,
  formatSocketAddress,
  type Instant,
  sameAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import type { NatBehaviour } from "../nat.ts";
import type { ProbeEnd, ProbeTransmit } from "../probe_trials.ts";
import {
  answerBehaviour,
  type BehaviourAddresses,
  behaviourSockets,
} from "../stun/behaviour_server.ts";
import { answerBinding } from "../stun/binding_server.ts";

type Known = Exclude<NatBehaviour, "unknown">;

/** What the NAT is like. */
export interface NatWorldOptions {
  /** @default "endpointIndependent" */
  readonly mapping?: Known;
  /** @default "addressAndPortDependent" */
  readonly filtering?: Known;
  /** @default "preserving" */
  readonly allocation?: "preserving" | "sequential" | "random";
  /** Life of an idle mapping and of what it lets in. @default 30000 */
  readonly timeoutMs?: number;
  /** @default false */
  readonly hairpin?: boolean;
  /** No NAT: addresses stay, only the filter is there. @default false */
  readonly bare?: boolean;
  /** Nothing passes. @default false */
  readonly blocked?: boolean;
  /** The server's addresses; `undefined` for a plain server at `primary`. @default two hosts */
  readonly addresses?: BehaviourAddresses | undefined;
  /** Sockets of the server that are dead. @default [] */
  readonly dead?: readonly string[];
  /** Passwords of the server's users. @default none */
  readonly passwords?: Readonly<Record<string, string>>;
}

/** A probe as the world drives it. */
export interface Probe {
  handleInput(now: Instant, end: ProbeEnd, datagram: Datagram): boolean;
  handleTimeout(now: Instant): void;
  pollTransmit(): ProbeTransmit | undefined;
  pollTimeout(): Instant | undefined;
}

/** The server's addresses. */
export const TWO_HOSTS: BehaviourAddresses = {
  primary: { hostname: "198.51.100.1", port: 3478 },
  alternate: { hostname: "192.0.2.1", port: 3479 },
};
/** The address outside. */
export const OUTSIDE = "203.0.113.2";
/** The address inside. */
export const INSIDE = "192.168.1.10";
/** Local ports of the probe's sockets. */
export const PORTS: Readonly<Record<ProbeEnd, number>> = { subject: 51821, helper: 51822 };
/** One way through the network. */
const DELAY_MS = 10;

interface Mapping {
  readonly end: ProbeEnd;
  readonly port: number;
  /** What the mapping depends on, by the kind of the NAT. */
  readonly key: string;
  /** When each destination was last sent to. */
  readonly sent: Map<string, Instant>;
  usedAt: Instant;
}

/** The world around one probe. */
export class NatWorld {
  /** Virtual time. */
  now: Instant = 0 as Instant;
  /** Requests that reached the server, by the socket that they came to. */
  readonly asked: string[] = [];
  /** Forged datagrams that reach the probe's sockets with each answer. */
  forge: (answer: Datagram) => readonly Datagram[] = () => [];
  /** When the server stops to answer, in milliseconds. */
  diesAt = Infinity;
  readonly #options: NatWorldOptions;
  readonly #wire: { readonly at: Instant; readonly end: ProbeEnd; readonly datagram: Datagram }[] =
    [];
  #mappings: Mapping[] = [];
  #nextPort = 40_000;

  constructor(options: NatWorldOptions = {}) {
    this.#options = options;
  }

  /** Drives a probe until it wants nothing any more, at most an hour. */
  run(probe: Probe): void {
    const end = this.now + 3_600_000;
    while (this.now < end) {
      for (let out; (out = probe.pollTransmit()) !== undefined;) this.#send(out);
      this.#wire.sort((a, b) => a.at - b.at);
      const [next] = this.#wire;
      const dueAt = probe.pollTimeout();
      if (next === undefined && dueAt === undefined) return;
      if (next !== undefined && (dueAt === undefined || next.at <= dueAt)) {
        this.#wire.shift();
        this.now = next.at;
        for (const forged of this.forge(next.datagram)) {
          probe.handleInput(this.now, next.end, forged);
        }
        probe.handleInput(this.now, next.end, next.datagram);
      } else if (dueAt !== undefined) {
        this.now = Math.max(this.now, dueAt) as Instant;
        probe.handleTimeout(this.now);
      }
    }
    throw new Error("The probe does not end");
  }

  #send({ end, destination, payload }: ProbeTransmit): void {
    if (this.#options.blocked === true || this.now >= this.diesAt) return;
    const source = this.#translate(end, destination);
    if (destination.hostname === OUTSIDE) {
      if (this.#options.hairpin === true) this.#receive(source, destination, payload);
      return;
    }
    const { addresses = TWO_HOSTS, dead = [], passwords = {} } = this.#options;
    const plain = "addresses" in this.#options && this.#options.addresses === undefined;
    const text = formatSocketAddress(destination);
    const sockets = plain ? [TWO_HOSTS.primary] : behaviourSockets(addresses);
    if (dead.includes(text) || !sockets.some((socket) => sameAddress(socket, destination))) return;
    this.asked.push(text);
    if (plain) {
      const answer = answerBinding({ source, payload });
      if (answer !== undefined) this.#receive(destination, answer.destination, answer.payload);
      return;
    }
    const answer = answerBehaviour({ source, payload }, {
      local: destination,
      addresses,
      passwordOf: (name) => passwords[name],
    });
    if (answer === undefined || dead.includes(formatSocketAddress(answer.from))) return;
    this.#receive(answer.from, answer.destination, answer.payload);
  }

  /** The source outside of what an end sends; makes the mapping and opens the filter. */
  #translate(end: ProbeEnd, to: SocketAddress): SocketAddress {
    const { mapping = "endpointIndependent", bare = false } = this.#options;
    const key = `${end} ${dependingOn(mapping, to)}`;
    let found = this.#live().find((candidate) => candidate.key === key);
    if (found === undefined) {
      const port = bare ? PORTS[end] : this.#allocate(end);
      found = { end, port, key, sent: new Map(), usedAt: this.now };
      this.#mappings.push(found);
    }
    found.usedAt = this.now;
    found.sent.set(formatSocketAddress(to), this.now);
    return { hostname: bare ? INSIDE : OUTSIDE, port: found.port };
  }

  #allocate(end: ProbeEnd): number {
    switch (this.#options.allocation ?? "preserving") {
      case "preserving": {
        const taken = this.#live().some(({ port }) => port === PORTS[end]);
        return taken ? this.#nextPort++ : PORTS[end];
      }
      case "sequential":
        return this.#nextPort += 2;
      case "random":
        return this.#nextPort = 1024 + (this.#nextPort * 48271 + 11) % 64_000;
    }
  }

  #receive(from: SocketAddress, to: SocketAddress, payload: Uint8Array): void {
    const { filtering = "addressAndPortDependent", timeoutMs = 30_000 } = this.#options;
    const mapping = this.#live().find(({ port }) => port === to.port);
    if (mapping === undefined) return;
    const allowed = [...mapping.sent].some(([text, at]) => {
      if (this.now - at >= timeoutMs) return false;
      if (filtering === "endpointIndependent") return true;
      if (filtering === "addressDependent") return text.startsWith(`${from.hostname}:`);
      return text === formatSocketAddress(from);
    });
    if (!allowed) return;
    const datagram = { source: from, payload };
    this.#wire.push({ at: after(this.now, 2 * DELAY_MS), end: mapping.end, datagram });
  }

  #live(): Mapping[] {
    const { timeoutMs = 30_000 } = this.#options;
    this.#mappings = this.#mappings.filter(({ usedAt }) => this.now - usedAt < timeoutMs);
    return this.#mappings;
  }
}

function dependingOn(mapping: Known, { hostname, port }: SocketAddress): string {
  if (mapping === "endpointIndependent") return "";
  return mapping === "addressDependent" ? hostname : `${hostname} ${port}`;
}
