/** How a world ends: everybody who can must talk, streams must have carried everything, and then nothing may happen any more. @module */
import type { Chatter } from "./chatter.ts";
import type { SimNode } from "./node.ts";
import type { Pair } from "./pair.ts";
import { BULK_BYTES } from "./pair_streams.ts";
import type { SimRelay } from "./relay.ts";
import type { Stage } from "./stage.ts";

/** After the healing, when every pair that can must talk: a retry once a minute on each side, and STUN's before it. */
const LIVENESS_MS = 150_000;
/** Between pings while pairs are waited for, and in the quiet afterwards. */
const PROBE_MS = 1000;
const QUIET_PROBE_MS = 4000;
/** How long streams may take once a pair talks. */
const STREAMS_MS = 50_000;
/** In the quiet, the longest time between answers: links lose some. */
const QUIET_GAP_MS = 30_000;
/** A pair that talks was answered this lately: the trust in a path (DESIGN 2.4), and the ping before that. */
const TALKS_MS = 6_500 + QUIET_PROBE_MS;
/** The tunnel's largest packet in IPv6, UDP and WireGuard. */
const OUTER_BYTES = 1280 + 80;
/** Memory of an engine with a handful of peers and streams; it begins with 48 MiB. */
const ENGINE_BYTES_MAX = 64 << 20;
/** Extra local ends that a peer may hold once it is reached: the one that won. */
const LOCALS_PER_PEER_MAX = 1;
/** What a node never counts. */
const NEVER = [
  "eventsRefused",
  "streamsRefused",
  "relayRequestsDropped",
  "relaysRefused",
  "relayTooLong",
] as const;
/** What a relay never counts: no node asks too often, and nobody has so many sessions. */
const RELAY_NEVER = ["requestsLimited", "unprovenRefused", "sendUnknown", "tooLong"] as const;
/** Changes of a path beyond one for each event and end: the LAN's answer may come after the Internet's. */
const MOVES_SLACK = 2;

/** The last act. */
export class Ending {
  readonly #stage: Stage;
  readonly #chatter: Chatter;

  /** It has not begun. */
  constructor(stage: Stage, chatter: Chatter) {
    this.#stage = stage;
    this.#chatter = chatter;
  }

  /** Everything is mended: from now on both ends of every pair ask. */
  begin(): void {
    const { pairs } = this.#stage;
    const probe = (pair: Pair): void => {
      this.#chatter.ping(pair, pair.agent);
      this.#chatter.ping(pair, pair.colony);
      this.#stage.after(this.#probeMs(pair), () => probe(pair));
    };
    for (const pair of pairs) probe(pair);
    this.#stage.after(LIVENESS_MS, () => this.#demand());
  }

  /** The world is over. */
  finish(): void {
    for (const node of this.#stage.nodes.values()) this.#inspect(node);
    for (const relay of this.#stage.relays.values()) this.#inspectRelay(relay);
    for (const pair of this.#stage.pairs) {
      // Where there are relays, an event may move it to one and back.
      const each = this.#stage.relays.size > 0 ? 2 : 1;
      const allowed = 2 * (each * pair.events + MOVES_SLACK);
      if (!this.#stage.expectations.steadiness || pair.moves <= allowed) continue;
      this.#stage.violate(`${pair.name} moved ${pair.moves} times for ${pair.events} events`);
    }
  }

  #probeMs(pair: Pair): number {
    if (this.#chatter.healMsOf(pair) !== undefined) return QUIET_PROBE_MS;
    return this.#stage.verdicts.isDue(pair) ? PROBE_MS : QUIET_PROBE_MS;
  }

  /** Every pair that must talk does by now, and goes on. */
  #demand(): void {
    const { verdicts, pairs } = this.#stage;
    for (const pair of pairs) {
      const streams = this.#chatter.streamsOf(pair);
      if (!verdicts.isDue(pair)) {
        this.#stage.after(STREAMS_MS, () => streams?.close());
      } else if (this.#chatter.healMsOf(pair) === undefined) {
        this.#stage.violate(
          `${pair.name} (${pair.agent.site} and ${pair.colony.site}: ${
            verdicts.of(pair)
          }) does not ` +
            `talk ${LIVENESS_MS / 1000} s after the healing: ${reasonsOf(pair)}`,
        );
      } else {
        this.#watchQuiet(pair);
        this.#watchDirectness(pair, this.#stage.now());
        streams?.startBulk();
        this.#stage.after(STREAMS_MS, () => this.#demandStreams(pair));
      }
    }
  }

  /** Everything that was sent on streams is there. */
  #demandStreams(pair: Pair): void {
    const { expectations } = this.#stage;
    const streams = this.#chatter.streamsOf(pair);
    if (streams === undefined) return;
    const { broken, owed, bulk } = streams;
    if (broken !== undefined) {
      // An end that has lost patience resets the other.
      const late = /timedOut|reset/.test(broken) && !expectations.streams;
      if (!late) this.#stage.violate(`${pair.name}: the long-lived stream broke: ${broken}`);
    } else if (owed > 0) {
      this.#stage.violate(`${pair.name}: ${owed} bytes of the long-lived stream are missing`);
    }
    if (bulk !== BULK_BYTES && (expectations.pathMtu || this.#isWide(pair))) {
      this.#stage.violate(`${pair.name}: of ${BULK_BYTES} bytes in bulk there are ${bulk}`);
    }
    streams.close();
  }

  /** Whether every link between the two takes the tunnel's packets whole. */
  #isWide({ agent, colony }: Pair): boolean {
    return [agent.site, colony.site].every((site) =>
      this.#stage.topology.linksOf(site).every(({ quality }) => quality.mtu >= OUTER_BYTES)
    );
  }

  #watchQuiet(pair: Pair): void {
    const gap = this.#stage.now() - pair.heardAt;
    if (gap > QUIET_GAP_MS) {
      return this.#stage.violate(`${pair.name} is silent for ${gap / 1000} s in the quiet`);
    }
    this.#stage.after(QUIET_PROBE_MS, () => this.#watchQuiet(pair));
  }

  /** Whoever can be direct is by now, and stays so. */
  #watchDirectness(pair: Pair, lastAt: number): void {
    const { expectations, relays, verdicts } = this.#stage;
    if (!expectations.upgrade || relays.size === 0 || !verdicts.mustBeDirect(pair)) return;
    const now = this.#stage.now();
    // No patience at first: everybody has had LIVENESS_MS.
    const late = !pair.isDirect && (lastAt === now || now - lastAt > QUIET_GAP_MS);
    if (late) {
      return this.#stage.violate(
        `${pair.name} (${pair.agent.site} and ${pair.colony.site}: ${verdicts.of(pair)}) ` +
          `is relayed in the quiet: ${reasonsOf(pair)}`,
      );
    }
    const directAt = pair.isDirect ? now : lastAt;
    this.#stage.after(QUIET_PROBE_MS, () => this.#watchDirectness(pair, directAt));
  }

  /** What a node must not have done by the end. */
  #inspect(node: SimNode): void {
    const { process } = node;
    const violate = (what: string): void => this.#stage.violate(`${node.name}${what}`);
    if (process === undefined) return violate(" does not run in the end");
    const { memoryBytes } = process.engine;
    if (memoryBytes > ENGINE_BYTES_MAX) violate(`: its engine has grown to ${memoryBytes} bytes`);
    const { locals } = process.transport;
    const own = this.#stage.pairs.filter((pair) => pair.has(node));
    // Whoever is not reached directly is guessed for, now and then; so is one who was, by luck, and is not any more.
    const reached = own.every((pair) =>
      pair.heardSince(this.#stage.now() - TALKS_MS) &&
      (this.#stage.relays.size === 0 || pair.isDirect)
    );
    if (reached && locals > own.length * LOCALS_PER_PEER_MAX) {
      violate(`: ${locals} extra local ends are left for ${own.length} peers`);
    }
    // A colony keeps those whose agents were killed: nobody has asked TCP to look after idle ones.
    const { streams } = process;
    if (streams > 0 && node.role === "agent") violate(`: ${streams} streams are left`);
    const { counters } = process.status();
    this.#stage.say(() => `${node.name} ${JSON.stringify(counters)}`);
    for (const name of NEVER) {
      if (counters[name] !== undefined) violate(`: ${name} ${counters[name]}`);
    }
  }

  /** What a relay must not have done by the end, and nobody's allocations outlive him for long. */
  #inspectRelay(relay: SimRelay): void {
    const { id } = relay.plan;
    const counters = relay.counters();
    this.#stage.say(() => `${id} ${relay.allocations} ${JSON.stringify(counters)}`);
    for (const name of RELAY_NEVER) {
      if ((counters[name] ?? 0) > 0) this.#stage.violate(`${id}: ${name} ${counters[name]}`);
    }
    const left = relay.leftovers();
    if (left > 0) this.#stage.violate(`${id}: ${left} allocations and ports are never given back`);
  }
}

/** What both ends say of each other. */
function reasonsOf(pair: Pair): string {
  return [pair.agent, pair.colony].map((node) => reasonAt(node, pair)).join("; ");
}

/** What a node says of why it does not reach the other of a pair. */
function reasonAt(node: SimNode, pair: Pair): string {
  const other = pair.otherOf(node).process?.publicKey;
  const peer = node.process?.status().peers.find(({ publicKey }) => publicKey === other);
  if (peer === undefined) return `${node.name} does not know the other`;
  return `${node.name}: ${peer.reason ?? `connected to ${peer.endpoint}`}`;
}
