/**
 * What to try where neither side's candidates can work, because a NAT gives every destination another port.
 *
 * ```text
 *  this side             the peer                what is sent                                              why it hits
 *  one port              a port per destination  to 1024 ports of its address, those predicted first       birthdays: 1024 x 256 pairs
 *  a port per dest.      one port, filtered      from 256 extra ends to that port                            over 64,512 ports
 *  a port per dest.      the same, one           from 128 extra ends to one of the ports that the peer       both know which ports
 *                          after another           gets next; then to each of those from the own socket        come next
 *  the same, both behind  the same              from 128 extra ends to the middle of the ports that the peer's      one side goes first, so
 *    one address                                   get; one side waits until the other's have theirs                both know which are whose
 *  a port per dest.,      the same, at random   from 128 extra ends to its address, which it looks for;        the peer aims at the ports
 *  one after another                              then once to 1024 ports of it, unless all are let in        that those ends get;
 *                                                                                                         birthdays
 *  a port per dest., at random, both sides       nothing: a relay
 * ```
 *
 * In the third case, with `a` and `b` the last ports seen, the extra ends of one side get the ports from `a + 1` on, and those of
 * the other side from `b + 1` on. All of the first aim at `b + 96`, all of the second at `a + 96`: so the end that has `a + 96` and
 * the one that has `b + 96` send to each other, however the NATs filter, and whether their mappings depend on ports or on addresses
 * alone. It takes that each NAT gave away less than 96 ports otherwise since its last port was seen. Where only one side counts, and
 * lets everybody in, or everybody at an address that it has sent to, it is found at one of its next ports: that is what the other
 * side's own socket looks for. The own sockets of the side that counts have had their ports for long, so its extra ends take the next.
 * Where its mapping depends on ports, it answers from the port after all those: that is looked for as well, so that the other side's
 * filter lets the answer in. A side that counts and whose filter may ask for ports tries ports by chance besides: where the other
 * side's mappings and filter go by addresses, one of its 128 ends is hit by 1024 of them in 87 of 100 guesses.
 *
 * @module
 */
import { familyOf, parseIp, type Rng, type SocketAddress } from "../core/mod.ts";
import { type Candidate, scopeOf } from "./candidate.ts";
import type { NatFacts, NatHint } from "./nat.ts";

/** What is known of both NATs. */
export interface NatCircumstances {
  /** This node's. */
  readonly own: NatFacts;
  /** What the peer says of its own. */
  readonly peer: NatHint;
  /** Whether no server was ever heard by UDP from this network. */
  readonly udpBlocked: boolean;
  /** The addresses that this node's NAT gave out last, where it was seen to count. @default [] */
  readonly ownPorts?: readonly SocketAddress[];
}

/** What to send for a guess. */
export interface GuessPlan {
  /** `spray`: to many ports. `open`: from many ends. `predict`: to or from ports that come next. `show`: from ends for the peer to find. */
  readonly kind: "spray" | "open" | "predict" | "show";
  /** Extra local ends to open. */
  readonly ends: number;
  /** Where each extra end sends to, in this order. */
  readonly aims: readonly SocketAddress[];
  /** Where the node's own sockets send to after that, in this order. */
  readonly targets: readonly SocketAddress[];
  /** Where they send to once, in the round {@linkcode ONCE_ROUND}: so many ports that others could not be foretold after them. @default [] */
  readonly once?: readonly SocketAddress[];
  /** Datagrams in one turn. */
  readonly batch: number;
  /** How often all of it is sent. */
  readonly rounds: number;
  /** Time from the beginning of one round to the next. */
  readonly roundMs: number;
  /** Time until the first round: the other side goes first. @default 0 */
  readonly delayMs?: number;
}

/** What {@linkcode planGuess} decides from. */
export interface GuessClues extends NatCircumstances {
  /** The peer's candidates. */
  readonly candidates: readonly Candidate[];
  /** Guesses made before with what was known of the peer's ports: those that they used up are not predicted again. */
  readonly attempt: number;
}

/** The ports of an address-dependent NAT that gives them out in order. */
export interface PortSequence {
  /** The NAT's public address. */
  readonly hostname: string;
  /** The last port seen. */
  readonly last: number;
  /** Distance from one port to the next. */
  readonly stride: number;
  /** The two newest ports, or the newest: those that were looked at for a guess. */
  readonly newest: readonly number[];
}

/** Extra ends that are opened for a guess: all that a node may have. */
export const GUESS_ENDS = 256;
/** Random ports tried in one guess. */
export const GUESS_PORTS = 1024;
/** Ports that are predicted. */
export const PREDICTED_PORTS = 128;
/**
 * Ports that are looked for from a socket: an end that lets everybody in answers from a port of its own where mappings depend on ports. It
 * comes after those of all ends and of what the other side's own socket sends, and a filter must have seen something go there.
 */
const SOUGHT_PORTS = 2 * PREDICTED_PORTS + 32;
/** Which of them extra ends aim at: as late as may be, with some to spare where not all can be opened. */
const AIMED_PORT = 96;
/** The round, counted from 0, in which a plan's `once` is sent: the peer has had time to find what it looks for. */
export const ONCE_ROUND = 3;
/** Public addresses of one peer that are guessed at. */
const ADDRESSES_MAX = 2;
/** Ports below belong to services, and NATs leave them alone. */
const PORT_MIN = 1024;
const PORT_MAX = 65_535;
const PORT_SPAN = PORT_MAX - PORT_MIN + 1;
/** Where one NAT is in front of both sides, the second one opens its ends so much later: both begin within a second. */
const SECOND_AFTER_MS = 1_500;
/**
 * Two sides behind one address whose last ports are further apart than this have counters of their own, in front of which another NAT keeps
 * their ports. One counter gives away less between two looks: a guess of each side, twice, and as much again for others.
 */
const SHARED_SPAN = 2_048;
/** Ports further apart than this did not come one after another. */
const STRIDE_MAX = 16;

/** Plans a guess; `undefined` where none is needed or none could hit. */
export function planGuess(clues: GuessClues, rng: Rng): GuessPlan | undefined {
  if (clues.udpBlocked) return undefined;
  const { own, candidates, attempt, ownPorts = [] } = clues;
  const ipv4 = candidates.filter(({ address }) => familyOf(address.hostname) === 4);
  const reflexive = ipv4.filter(({ kind }) => kind === "serverReflexive" || kind === "portMapped");
  const ownVaries = varies(own);
  const peerVaries = clues.peer === "NAT_SYMMETRIC" || severalPorts(reflexive);
  const sequence = sequenceOf(reflexive);
  if (own.mapping === "endpointIndependent" && peerVaries) {
    if (reflexive.length === 0) return undefined;
    return sprayPlan({ reflexive, sequence, attempt }, rng);
  }
  // Also towards a peer that says it lets everybody in: a firewall without a NAT may look so, and it sends the other half.
  if (ownVaries && !peerVaries) {
    // Without a NAT there is nothing reflexive.
    const fixed = ipv4.filter(({ kind, address }) =>
      kind === "configured" || kind === "host" && scopeOf(address.hostname) === "global"
    );
    const aims = [...reflexive, ...fixed].map(({ address }) => address).slice(0, ADDRESSES_MAX);
    if (aims.length === 0) return undefined;
    const turns = { batch: 64, rounds: 4, roundMs: 4_000 };
    return { kind: "open", ends: GUESS_ENDS, aims, targets: [], ...turns };
  }
  if (ownVaries && peerVaries && sequence !== undefined) {
    const shared = sharedSequence(ownPorts, sequence);
    if (shared !== undefined) return sharedPlan(shared, attempt);
    const from = 1 + attempt * PREDICTED_PORTS;
    const aims = predicted({ sequence, from: from + AIMED_PORT - 1, count: 1 });
    const targets = predicted({ sequence, from, count: SOUGHT_PORTS });
    const turns = { batch: 64, rounds: 8, roundMs: 1_200 };
    return { kind: "predict", ends: PREDICTED_PORTS, aims, targets, ...turns };
  }
  const [aim] = reflexive;
  if (ownVaries && peerVaries && ownPorts.length > 0 && aim !== undefined) {
    const aims = [aim.address];
    const turns = { batch: 64, rounds: 8, roundMs: 1_200 };
    const show = { kind: "show", ends: PREDICTED_PORTS, aims, targets: [], ...turns } as const;
    if (own.filtering === "endpointIndependent") return show;
    // A filter by port would have to know which one the peer sends from: those that its ends may have are tried as well.
    const { targets: once } = sprayPlan({ reflexive, sequence: undefined, attempt }, rng);
    return { ...show, once };
  }
  return undefined;
}

/** Whether a NAT's mapping depends on the destination. */
export function varies({ mapping }: NatFacts): boolean {
  return mapping === "addressDependent" || mapping === "addressAndPortDependent";
}

/**
 * The order in which a peer's NAT gives out ports, told by its reflexive candidates; `undefined` if there is none to see. The ports
 * listed last are the newest: others were seen when the NAT had counted less far.
 */
export function sequenceOf(candidates: readonly Candidate[]): PortSequence | undefined {
  const byHost = new Map<string, number[]>();
  for (const { kind, address } of candidates) {
    if (kind !== "serverReflexive" || familyOf(address.hostname) !== 4) continue;
    const ports = byHost.get(address.hostname) ?? [];
    if (!ports.includes(address.port)) ports.push(address.port);
    byHost.set(address.hostname, ports);
  }
  for (const [hostname, ports] of byHost) {
    const ascending = ports.toSorted((a, b) => a - b);
    for (const newest of ports.toReversed()) {
      const run = runAround(ascending, newest);
      const [first, last] = [run[0], run.at(-1)];
      if (first === undefined || last === undefined || first === last) continue;
      const gaps = run.slice(1).map((port, i) => port - (run[i] ?? port));
      const at = ports.indexOf(newest);
      const pair = ports.slice(Math.max(0, at - 1), at + 1).filter((port) => run.includes(port));
      return { hostname, last, stride: Math.min(...gaps), newest: pair };
    }
  }
  return undefined;
}

/** One counter that both sides' ports come from. */
interface SharedSequence extends PortSequence {
  /** Whether this side's ports were looked at before the peer's: both know that, and need not speak of who opens its ends first. */
  readonly first: boolean;
}

/** The sequence that both sides draw from, if they are behind one address and their ports are near; `undefined` if each has its own. */
function sharedSequence(
  ownPorts: readonly SocketAddress[],
  peer: PortSequence,
): SharedSequence | undefined {
  const { hostname } = peer;
  if (ownPorts.length === 0 || ownPorts.some((address) => address.hostname !== hostname)) {
    return undefined;
  }
  const ownNewest = ownPorts.map(({ port }) => port);
  const [own, other] = [Math.max(...ownNewest), Math.max(...peer.newest)];
  // Numbers go round: the later one is ahead by less than half of them.
  const ahead = (other - own + PORT_SPAN) % PORT_SPAN;
  const first = ahead < PORT_SPAN / 2;
  if ((first ? ahead : PORT_SPAN - ahead) > SHARED_SPAN) return undefined;
  // Two ends of one side may have had turns with those of the other.
  const all = [...new Set([...ownNewest, ...peer.newest])].sort((a, b) => a - b);
  const gaps = all.slice(1).map((port, i) => port - (all[i] ?? port));
  const newest = first ? peer.newest : ownNewest;
  return { hostname, last: first ? other : own, newest, stride: Math.min(...gaps), first };
}

/**
 * Where both draw from one counter, one side's ends have the block of ports that comes next, and the other's the block after that, if
 * it waits for so long. Each aims into the middle of the other's block, so that others may have taken 63 ports since.
 */
function sharedPlan(sequence: SharedSequence, attempt: number): GuessPlan {
  const { first } = sequence;
  const block = 2 * attempt + (first ? 1 : 0);
  const from = 1 + block * PREDICTED_PORTS + PREDICTED_PORTS / 2;
  const aims = predicted({ sequence, from, count: 1 });
  const turns = { batch: 64, rounds: 8, roundMs: 1_200, delayMs: first ? 0 : SECOND_AFTER_MS };
  return { kind: "predict", ends: PREDICTED_PORTS, aims, targets: [], ...turns };
}

/** The ports around one that follow each other closely. */
function runAround(ascending: readonly number[], port: number): readonly number[] {
  let from = ascending.indexOf(port);
  let to = from;
  const near = (i: number): boolean =>
    (ascending[i] ?? Infinity) - (ascending[i - 1] ?? -Infinity) <= STRIDE_MAX;
  while (from > 0 && near(from)) from--;
  while (near(to + 1)) to++;
  return ascending.slice(from, to + 1);
}

function severalPorts(reflexive: readonly Candidate[]): boolean {
  return reflexive.some(({ kind, address }) =>
    kind === "serverReflexive" &&
    reflexive.some((other) =>
      other.kind === "serverReflexive" && other.address.hostname === address.hostname &&
      other.address.port !== address.port
    )
  );
}

function sprayPlan({ reflexive, sequence, attempt }: {
  readonly reflexive: readonly Candidate[];
  readonly sequence: PortSequence | undefined;
  readonly attempt: number;
}, rng: Rng): GuessPlan {
  const hostnames = [...new Set(reflexive.map(({ address }) => address.hostname))]
    .filter((hostname) => parseIp(hostname) !== undefined).slice(0, ADDRESSES_MAX);
  const first = sequence === undefined
    ? []
    : predicted({ sequence, from: 1 + attempt * PREDICTED_PORTS, count: PREDICTED_PORTS });
  const targets = [...first];
  const taken = new Set(first.map(({ port }) => port));
  // Each address has its share, and no port is tried twice.
  for (let i = 0; targets.length < GUESS_PORTS; i++) {
    const hostname = hostnames[i % hostnames.length];
    if (hostname === undefined) break;
    const port = drawPort(rng);
    if (taken.has(port)) continue;
    taken.add(port);
    targets.push({ hostname, port });
  }
  return { kind: "spray", ends: 0, aims: [], targets, batch: 16, rounds: 1, roundMs: 0 };
}

function predicted({ sequence, from, count }: {
  readonly sequence: PortSequence;
  readonly from: number;
  readonly count: number;
}): readonly SocketAddress[] {
  const { hostname, last, stride } = sequence;
  return Array.from({ length: count }, (_, i) => {
    const port = last + stride * (from + i);
    return { hostname, port: PORT_MIN + (port - PORT_MIN) % PORT_SPAN };
  });
}

/** A port from {@linkcode PORT_MIN} on, each as likely. */
function drawPort(rng: Rng): number {
  for (;;) {
    const [high = 0, low = 0] = rng.bytes(2);
    const port = high << 8 | low;
    if (port >= PORT_MIN) return port;
  }
}
