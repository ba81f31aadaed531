/**
 * Finds out how the NAT in front of this node behaves, by the tests of RFC 5780, in the words of RFC 4787.
 *
 * ```text
 *   subject                             server: host, port            other: host', port'
 *     | asking      ------------------->  what is my address, who is your other?
 *     | filtering   ------------------->  answer from host', port'    arrives: filters nothing
 *     |             ------------------->  answer from host,  port'    arrives: filters by address
 *     | mapping     ------------------------------------------------> the same address everywhere?
 *     | helper      ------------------->  which port does the next socket get?
 *     | hairpin     <--- helper and subject send to each other's mapped address
 *     v done
 * ```
 *
 * The order matters: what the subject has sent to `other` would open the filter for it, so filtering comes first, and its silence
 * counts only if the same addresses answer when they are asked directly.
 *
 * Takes seven round trips where every test is answered, and 2.5 s at a round trip of 20 ms where all is silent that can be (a
 * symmetric NAT; both in virtual time).
 *
 * @module
 */
import {
  after,
  type Datagram,
  earlier,
  equals,
  familyOf,
  type Instant,
  isLocalScope,
  type Rng,
  sameAddress,
  type SocketAddress,
} from "../core/mod.ts";
import {
  classifyNat,
  type FilteringTests,
  NAT_UNKNOWN,
  type NatFacts,
  type NatObservation,
} from "./nat.ts";
import { parseEndpoint, scopeOf } from "./candidate.ts";
import { allocationOf, type PortAllocation, type PortObservation } from "./port_allocation.ts";
import {
  type ProbeEnd,
  type ProbeServer,
  type ProbeTransmit,
  ProbeTrials,
} from "./probe_trials.ts";
import { CHANGE_HOST, CHANGE_PORT } from "./stun/behaviour_server.ts";
import type { BindingOutcome } from "./stun/binding_transaction.ts";
import {
  CHANGE_REQUEST,
  decodeStun,
  encodeStun,
  METHOD_BINDING,
  type StunAttribute,
  TRANSACTION_ID_BYTES,
} from "./stun/codec.ts";

/** What a probe has found out about one family. Each fact is `undefined` (or `unknown`) where no test told. */
export interface NatReport {
  /** The family. */
  readonly family: 4 | 6;
  /** The server that answered; `undefined` while none has. */
  readonly server: SocketAddress | undefined;
  /** The subject's address as that server saw it. */
  readonly mapped: SocketAddress | undefined;
  /** Whether the address on the way out is another than this machine's: whether there is a NAT. */
  readonly translated: boolean | undefined;
  /** Mapping, filtering, and the hint for peers. */
  readonly facts: NatFacts;
  /** How outside ports are chosen. */
  readonly allocation: PortAllocation | undefined;
  /** Whether two nodes behind this NAT reach each other by their mapped addresses. */
  readonly hairpin: boolean | undefined;
}

/** Options of {@linkcode NatProbe}. */
export interface NatProbeOptions {
  /** Servers of one family, best first; at least one. The first that has a second address is used; each that was asked helps to tell the mapping. */
  readonly servers: readonly ProbeServer[];
  /** Source of transaction ids. */
  readonly rng: Rng;
  /** Local ports of the two sockets. */
  readonly ports: Readonly<Record<ProbeEnd, number>>;
  /** This node's own interface addresses, canonical. */
  readonly hostAddresses: readonly string[];
}

/** Servers of a list that are asked. */
const SERVERS_MAX = 4;
/** Room for the answer with everything in it, over IPv6, signed and with a receipt. */
const ROOM_BYTES = 160;
/** Rounds of the hairpin test: the first opens filters, the second passes them, the third makes up for a loss. */
const HAIRPIN_ROUNDS = 3;
const HAIRPIN_ROUND_MS = 200;

/** Examines the NAT of one family, once. */
export class NatProbe {
  readonly #options: NatProbeOptions;
  readonly #trials: ProbeTrials;
  readonly #observations: NatObservation[] = [];
  readonly #ports: PortObservation[] = [];
  #serversLeft: ProbeServer[];
  readonly #answered: ProbeServer[] = [];
  #server: ProbeServer | undefined;
  #other: SocketAddress | undefined;
  /** Whether the server does what CHANGE-REQUEST asks of us. */
  #changes = false;
  #fromOtherAddress: boolean | undefined;
  #fromOtherPort: boolean | undefined;
  #directly = new Set<string>();
  #toAsk: SocketAddress[] = [];
  #helperMapped: SocketAddress | undefined;
  #hairpin: boolean | undefined;
  #hairpinIds: Readonly<Record<ProbeEnd, Uint8Array>> | undefined;
  #hairpinRounds = 0;
  #hairpinAt: Instant | undefined;
  #transmits: ProbeTransmit[] = [];
  #done = false;
  /** What comes when no trial is under way any more. */
  #next: ((now: Instant) => void) | undefined;

  /** Starts at `now`: the first request is ready. Throws `RangeError` without a server. */
  constructor(now: Instant, options: NatProbeOptions) {
    if (options.servers.length === 0) throw new RangeError("No STUN server to ask");
    this.#options = options;
    this.#trials = new ProbeTrials(options.rng);
    this.#serversLeft = options.servers.slice(0, SERVERS_MAX);
    this.#ask(now);
  }

  /** Whether everything that can be found out has been. */
  get done(): boolean {
    return this.#done;
  }

  /** The server in use, for further probes; `undefined` if none answered. */
  get server(): ProbeServer | undefined {
    return this.#server;
  }

  /** What is known now. */
  get report(): NatReport {
    const { hostAddresses, servers } = this.#options;
    const [first] = this.#observations;
    const family = familyOf(servers[0]?.address.hostname ?? "") === 6 ? 6 : 4;
    const translated = first && !hostAddresses.includes(first.mapped.hostname);
    const facts = first === undefined ? NAT_UNKNOWN : classifyNat({
      observations: this.#observations,
      hostAddresses,
      filteringTests: this.#filteringTests(),
    });
    return {
      family,
      server: first?.server,
      mapped: first?.mapped,
      translated,
      facts,
      allocation: translated === true ? allocationOf(this.#ports) : undefined,
      hairpin: this.#hairpin,
    };
  }

  /** Offers a datagram that came to one of the two sockets. Returns whether it belongs to the probe. */
  handleInput(now: Instant, end: ProbeEnd, datagram: Datagram): boolean {
    const taken = this.#trials.handleInput(now, end, datagram) || this.#isHairpin(end, datagram);
    this.#goOn(now);
    return taken;
  }

  /** Asks again, gives up, goes on. */
  handleTimeout(now: Instant): void {
    this.#trials.handleTimeout(now);
    if (this.#hairpinAt !== undefined && now >= this.#hairpinAt) this.#hairpinRound(now);
    this.#goOn(now);
  }

  /** Takes the next datagram to send. */
  pollTransmit(): ProbeTransmit | undefined {
    return this.#transmits.shift() ?? this.#trials.pollTransmit();
  }

  /** When to call {@linkcode NatProbe.handleTimeout}; `undefined` once done. */
  pollTimeout(): Instant | undefined {
    return earlier(this.#trials.pollTimeout(), this.#hairpinAt);
  }

  #goOn(now: Instant): void {
    while (!this.#done && this.#trials.idle && this.#hairpinAt === undefined) {
      const next = this.#next;
      this.#next = undefined;
      if (next === undefined) this.#done = true;
      else next(now);
    }
  }

  /** Asks the servers in turn for our address, until one has a second address. */
  #ask(now: Instant): void {
    const server = this.#serversLeft.shift();
    if (server !== undefined) return this.#askOne(now, server);
    // Nobody has. Those who answered tell the mapping.
    const [first] = this.#answered;
    if (first === undefined) return;
    this.#server = this.#answered.find(({ credentials }) => credentials !== undefined) ?? first;
    this.#askNext(now, this.#server.address);
  }

  #askOne(now: Instant, server: ProbeServer): void {
    const { address, credentials } = server;
    const trial = { ...signedBy(credentials), end: "subject", server: address } as const;
    this.#next = (then) => this.#ask(then);
    this.#trials.start(now, { ...trial, bytesMin: ROOM_BYTES }, (outcome) => {
      if (outcome.kind === "refused" && credentials !== undefined) {
        // They have ended, or the server has started again: mapping can be told without them.
        this.#next = (then) => this.#askOne(then, { address });
        return;
      }
      if (outcome.kind !== "mapped" || !this.#take("subject", address, outcome)) return;
      this.#answered.push(server);
      if (!isUsable(outcome.otherAddress, address)) return;
      this.#server = server;
      this.#other = outcome.otherAddress;
      this.#next = (then) => this.#askForFiltering(then, address);
    });
  }

  #askForFiltering(now: Instant, server: SocketAddress): void {
    const other = this.#other;
    this.#next = (then) => this.#askForMapping(then, server);
    if (other === undefined) return;
    const test = (
      flags: number,
      answersFrom: SocketAddress,
      take: (came: boolean) => void,
    ): void => {
      const trial = {
        ...signedBy(this.#server?.credentials),
        end: "subject",
        server,
        answersFrom,
        attributes: [changeRequest(flags)],
        bytesMin: ROOM_BYTES,
      } as const;
      // A refusal comes from where the request went, so it is heard as silence here; see below.
      this.#trials.start(now, trial, ({ kind }) => {
        if (kind !== "refused") take(kind === "mapped");
      });
    };
    if (other.hostname !== server.hostname) {
      test(CHANGE_HOST | CHANGE_PORT, other, (came) => this.#fromOtherAddress = came);
    }
    test(CHANGE_PORT, { hostname: server.hostname, port: other.port }, (came) => {
      this.#fromOtherPort = came;
    });
    // Whether the server does this at all: the same request without a change, whose refusal comes to where it is heard.
    const trial = {
      ...signedBy(this.#server?.credentials),
      end: "subject",
      server,
      attributes: [changeRequest(0)],
    } as const;
    this.#trials.start(now, trial, ({ kind }) => this.#changes = kind === "mapped");
  }

  #askForMapping(now: Instant, server: SocketAddress): void {
    const other = this.#other;
    if (other === undefined) return;
    if (other.hostname === server.hostname) this.#toAsk = [other];
    else {
      this.#toAsk = [
        { hostname: other.hostname, port: server.port },
        other,
        { hostname: server.hostname, port: other.port },
      ];
    }
    this.#askNext(now, server);
  }

  /** One after another, so that the order of the outside ports is the order of the questions. */
  #askNext(now: Instant, first: SocketAddress): void {
    const server = this.#toAsk.shift();
    if (server === undefined) {
      this.#next = (then) => this.#askForHairpin(then);
      this.#trials.start(now, { end: "helper", server: first }, (outcome) => {
        if (this.#take("helper", first, outcome) && outcome.kind === "mapped") {
          this.#helperMapped = outcome.address;
        }
      });
      return;
    }
    this.#next = (then) => this.#askNext(then, first);
    this.#trials.start(now, { end: "subject", server }, (outcome) => {
      if (this.#take("subject", server, outcome)) this.#directly.add(keyOf(server));
    });
  }

  /** Both sockets send to each other's mapped address, since the NAT may filter what it turns around. */
  #askForHairpin(now: Instant): void {
    const { translated } = this.report;
    if (translated !== true || this.#helperMapped === undefined) return;
    const { rng } = this.#options;
    this.#hairpinIds = {
      subject: rng.bytes(TRANSACTION_ID_BYTES),
      helper: rng.bytes(TRANSACTION_ID_BYTES),
    };
    this.#hairpinRound(now);
  }

  #hairpinRound(now: Instant): void {
    const [ids, subject, helper] = [
      this.#hairpinIds,
      this.#observations[0]?.mapped,
      this.#helperMapped,
    ];
    this.#hairpinAt = undefined;
    if (ids === undefined || subject === undefined || helper === undefined) return;
    if (this.#hairpin === true) return;
    if (this.#hairpinRounds++ === HAIRPIN_ROUNDS) {
      this.#hairpin = false;
      return;
    }
    this.#transmits.push(
      { end: "subject", destination: helper, payload: request(ids.subject) },
      { end: "helper", destination: subject, payload: request(ids.helper) },
    );
    this.#hairpinAt = after(now, HAIRPIN_ROUND_MS);
  }

  /** Whether a datagram is our own request, turned around by the NAT. */
  #isHairpin(end: ProbeEnd, { payload }: Datagram): boolean {
    const id = this.#hairpinIds?.[end === "subject" ? "helper" : "subject"];
    const message = id && decodeStun(payload);
    if (id === undefined || message?.class !== "request") return false;
    if (!equals(message.transactionId, id)) return false;
    this.#hairpin = true;
    this.#hairpinAt = undefined;
    return true;
  }

  /** Takes note of a mapping. Returns whether there is one. */
  #take(end: ProbeEnd, server: SocketAddress, outcome: BindingOutcome): boolean {
    if (outcome.kind !== "mapped") return false;
    const { address: mapped } = outcome;
    // A server elsewhere that claims to see us on loopback is broken or hostile.
    if (isLocalScope(mapped.hostname) && !isLocalScope(server.hostname)) return false;
    if (end === "subject") this.#observations.push({ server, mapped });
    this.#ports.push({ local: this.#options.ports[end], mapped });
    return true;
  }

  /** The filtering tests whose outcome means something. */
  #filteringTests(): FilteringTests {
    const [other, server] = [this.#other, this.#server?.address];
    if (other === undefined || server === undefined || !this.#changes) {
      return { fromOtherAddress: undefined, fromOtherPort: undefined };
    }
    const proven = (came: boolean | undefined, from: SocketAddress): boolean | undefined =>
      came === true || this.#directly.has(keyOf(from)) ? came : undefined;
    return {
      fromOtherAddress: proven(this.#fromOtherAddress, other),
      fromOtherPort: proven(this.#fromOtherPort, { hostname: server.hostname, port: other.port }),
    };
  }
}

function isUsable(
  other: SocketAddress | undefined,
  server: SocketAddress,
): other is SocketAddress {
  return other !== undefined && !sameAddress(other, server) &&
    parseEndpoint(other, { allowLocal: true }) !== undefined &&
    familyOf(other.hostname) === familyOf(server.hostname) && other.port !== server.port &&
    // Nobody aims this node at what only it can reach.
    scopeOf(other.hostname) === scopeOf(server.hostname);
}

function signedBy(credentials: ProbeServer["credentials"]): Pick<ProbeServer, "credentials"> {
  return credentials === undefined ? {} : { credentials };
}

function changeRequest(flags: number): StunAttribute {
  return { type: CHANGE_REQUEST, value: Uint8Array.of(0, 0, 0, flags) };
}

function request(transactionId: Uint8Array): Uint8Array {
  const message = {
    class: "request",
    method: METHOD_BINDING,
    transactionId,
    attributes: [],
  } as const;
  return encodeStun(message, { fingerprint: true });
}

function keyOf({ hostname, port }: SocketAddress): string {
  return `${hostname} ${port}`;
}
