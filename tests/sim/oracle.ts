/**
 * Says from the networks alone which pairs must find a direct path: two ideal ends that know everything STUN can tell try
 * everything at once, behind fresh boxes of the same kind and over perfect links.
 *
 * ```text
 *  direct      one hears the other answer from the address that it asked, by what STUN told and what they saw
 *  guess       they do once one side, whose own port is known, knows the ports that the other's NAT really used: 256 sockets
 *              and 1024 probes find one
 *  predict     they do once both know the next ports of NATs that count: possible since they count, unless the port depends on
 *              one of the other side that nobody can know beforehand
 *  relay       nothing of this: only over a relay, or not at all where no UDP passes
 * ```
 *
 * A verdict is a lower bound: a pair may do better by luck, never worse.
 *
 * @module
 */
import {
  after,
  type Family,
  familyOf,
  formatSocketAddress,
  type Instant,
  parseSocketAddress,
} from "../../core/mod.ts";
import { EventQueue } from "./event_queue.ts";
import { Host } from "./net/host.ts";
import type { NatBehaviour } from "./net/nat.ts";
import type { Wire } from "./net/network.ts";
import type { Packet } from "./net/packet.ts";
import {
  STUN_SERVERS,
  Topology,
  type TopologyDescription,
  withPerfectLinks,
} from "./net/topology.ts";
import { decodeStun, encodeStun, METHOD_BINDING, xorMappedAddress } from "../../traversal/mod.ts";

/** What a pair must reach. */
export type Verdict = "direct" | "guess" | "predict" | "relay";

/** Rounds of asking everybody: addresses learned in one are asked in the next. */
const ROUNDS = 6;
const ROUND_MS = 500;
const PORT = 51_820;
const ASK = 0x81;
const ANSWER = 0x82;

/** What the two ends may know beyond what STUN tells. */
interface Insight {
  /** The first end knows every endpoint that the second one's packets have on the Internet. */
  readonly first: boolean;
  /** The other way round. */
  readonly second: boolean;
}

const NO_INSIGHT: Insight = { first: false, second: false };

/** Says what two sites of a world must reach. */
export function judge(description: TopologyDescription, a: string, b: string): Verdict {
  const perfect = withPerfectLinks(description);
  const reaches = (insight: Insight): boolean => new Trial(perfect, a, b, insight).run();
  if (reaches(NO_INSIGHT)) return "direct";
  const oneSided = hasOnePort(perfect, a) || hasOnePort(perfect, b);
  const guessed = [{ first: true, second: false }, { first: false, second: true }];
  if (oneSided && guessed.some(reaches)) return "guess";
  return new Trial(withPrediction(perfect, a, b), a, b, NO_INSIGHT).run() ? "predict" : "relay";
}

/** The NATs in front of a site, the outermost first. */
function natsOf({ sites, carriers }: TopologyDescription, name: string): readonly NatBehaviour[] {
  const site = sites.find((site) => site.name === name);
  const carrier = carriers.find((carrier) => carrier.name === site?.carrier);
  const nats = [carrier?.nat, site?.ipv4.kind === "nat" ? site.ipv4.nat : undefined];
  return nats.filter((nat) => nat !== undefined);
}

/** Whether a site's hosts have a port by chance for each single port that they send to: it exists only once they have sent there. */
function isUnknowable(nats: readonly NatBehaviour[]): boolean {
  const [outer, ...inner] = nats;
  if (outer === undefined || outer.allocation === "sequential") return false;
  // A socket that has sent nowhere else keeps the port that it has inside.
  if (outer.allocation === "preserve") return isUnknowable(inner);
  return nats.some(({ mapping }) => mapping === "addressAndPortDependent");
}

/** The families in which a site's UDP reaches the Internet, and answers come back. */
export function familiesOf(description: TopologyDescription, site: string): ReadonlySet<Family> {
  return new Trial(withPerfectLinks(description), site, site, NO_INSIGHT).families();
}

/** Whether a site's hosts have one port each for the whole Internet: guessing is for one side's ports alone. */
function hasOnePort(description: TopologyDescription, name: string): boolean {
  return natsOf(description, name).every(({ mapping }) => mapping === "endpointIndependent");
}

/**
 * The same NATs for ends that know the port of each mapping beforehand: as if it were the same for every destination.
 *
 * Of a NAT that maps by port nobody knows it where the other side's own port is by chance for each port that it sends to. A path
 * takes a mapping to `y` that has the port `x` there, and one to `x` that has the port `y` here. `x` is drawn when the other side
 * sends to `y`; so `y`, the next port here, was no mapping yet when that was sent, and nothing told this side of `x`; where `y` was a
 * mapping already, it is one to elsewhere, and the one to `x` has another port. That leaves luck, 1 in 64,512 for each attempt.
 */
function withPrediction(
  description: TopologyDescription,
  a: string,
  b: string,
): TopologyDescription {
  const { sites, carriers } = description;
  const blind = [a, b].some((name) => isUnknowable(natsOf(description, name)));
  const predicted = (nat: NatBehaviour): NatBehaviour =>
    nat.allocation !== "sequential" || (blind && nat.mapping === "addressAndPortDependent")
      ? nat
      : { ...nat, mapping: "endpointIndependent" };
  return {
    carriers: carriers.map((carrier) => ({ ...carrier, nat: predicted(carrier.nat) })),
    sites: sites.map((site) =>
      site.ipv4.kind === "nat"
        ? { ...site, ipv4: { kind: "nat", nat: predicted(site.ipv4.nat) } }
        : site
    ),
  };
}

/** One end. */
class End {
  readonly host: Host;
  /** Where the other end may be. */
  readonly others = new Set<string>();
  /** What STUN told of this one. */
  readonly mapped = new Set<string>();
  /** The families in which STUN has answered. */
  readonly families = new Set<Family>();
  /** Where it has asked; an answer names the place in this list. */
  readonly #asked: string[] = [];
  /** How this one's packets look on the Internet. */
  readonly seen = new Set<string>();
  /** Whether an answer came from the very address that was asked: a path leads there and back. */
  confirmed = false;

  constructor(name: string, wire: Wire) {
    this.host = new Host(name, wire);
    this.host.open({ datagram: (packet) => this.#take(packet) }, PORT);
  }

  /** What it tells the other end through Discovery. */
  get candidates(): readonly string[] {
    const own = this.host.interfaces.map(({ address }) =>
      formatSocketAddress({ hostname: address, port: PORT })
    );
    return [...own, ...this.mapped];
  }

  askAll(): void {
    for (const text of [...this.others]) {
      const place = this.#asked.push(text) - 1;
      this.#send(text, Uint8Array.of(ASK, place >> 8, place));
    }
  }

  askStun(): void {
    const request = {
      class: "request",
      method: METHOD_BINDING,
      transactionId: new Uint8Array(12),
      attributes: [],
    } as const;
    for (const server of STUN_SERVERS) this.host.send(PORT, server, encodeStun(request));
  }

  #take({ source, bytes, sender }: Packet): void {
    const from = formatSocketAddress(source);
    if (sender.name === "stun") {
      const message = decodeStun(bytes);
      const mapped = message && xorMappedAddress(message);
      if (mapped) this.mapped.add(formatSocketAddress(mapped));
      this.families.add(familyOf(source.hostname));
      return;
    }
    // An own packet that came back proves nothing.
    if (sender === this.host) return;
    this.others.add(from);
    const [kind, high = 0, low = 0] = bytes;
    if (kind === ASK) this.#send(from, Uint8Array.of(ANSWER, high, low));
    else if (this.#asked[high << 8 | low] === from) this.confirmed = true;
  }

  #send(text: string, bytes: Uint8Array): void {
    const to = parseSocketAddress(text);
    if (to !== undefined) this.host.send(PORT, to, bytes);
  }
}

/** Two ends in networks of their own. */
class Trial {
  readonly #queue = new EventQueue();
  readonly #topology: Topology;
  readonly #ends: readonly [End, End];
  readonly #insight: Insight;
  #now = 0 as Instant;

  constructor(description: TopologyDescription, a: string, b: string, insight: Insight) {
    const wire: Wire = {
      now: () => this.#now,
      at: (instant, happening) => this.#queue.push(instant, happening),
      dropped: () => undefined,
    };
    this.#topology = new Topology(description, wire, 1);
    this.#insight = insight;
    this.#ends = [new End("a", wire), new End("b", wire)];
    this.#topology.plug(this.#ends[0].host, a, "eth0");
    this.#topology.plug(this.#ends[1].host, b, "eth0");
    this.#topology.internet.tap = ({ sender, source }): void => {
      const end = this.#ends.find(({ host }) => host === sender);
      end?.seen.add(formatSocketAddress(source));
    };
  }

  run(): boolean {
    const [a, b] = this.#ends;
    a.askStun();
    b.askStun();
    this.#pass(ROUND_MS);
    for (let round = 0; round < ROUNDS; round++) {
      for (const text of b.candidates) a.others.add(text);
      for (const text of a.candidates) b.others.add(text);
      if (this.#insight.first) { for (const text of b.seen) a.others.add(text); }
      if (this.#insight.second) { for (const text of a.seen) b.others.add(text); }
      a.askAll();
      b.askAll();
      this.#pass(ROUND_MS);
    }
    return a.confirmed || b.confirmed;
  }

  /** The families in which STUN answers the first end. */
  families(): ReadonlySet<Family> {
    const [end] = this.#ends;
    end.askStun();
    this.#pass(ROUND_MS);
    return end.families;
  }

  #pass(ms: number): void {
    const end = after(this.#now, ms);
    for (let at; (at = this.#queue.nextAt) !== undefined && at <= end;) {
      this.#now = at;
      this.#queue.pop()?.();
    }
    this.#now = end;
  }
}
