/** Pairs that are asked to talk while things go wrong: echoes, a stream that lives through it, and how soon they come back. @module */
import type { Pair } from "./pair.ts";
import { PairStreams } from "./pair_streams.ts";
import type { SimNode } from "./node.ts";
import type { Stage } from "./stage.ts";
import { type Disturbance, type Happened, type Recovery, Watchdog } from "./watchdog.ts";

/** A ping's patience. */
const PING_TIMEOUT_MS = 3000;
/** Between the pings of a pair that needs what the program cannot do yet. */
const HOPELESS_MS = 20_000;
/** Between the pings of somebody who waits for an answer, and after how long somebody begins to wait. */
const IMPATIENT_MS = 500;
const UNANSWERED_MS = 1000;
/** Silence that a stream need not outlive: TCP gives up after two minutes. */
const STREAM_LIFE_MS = 100_000;
/** How often pairs are looked after. */
const WATCH_MS = 1000;
/** How soon a pair that may talk directly must, by what has happened to it: issue 5's figures. */
export const RECOVERY_MS: Readonly<Record<Disturbance, number>> = {
  start: 6500,
  network: 6500,
  sleep: 30_000,
  quiet: 6500,
};

/** The talk of one world's pairs. */
export class Chatter {
  readonly #stage: Stage;
  readonly #watchdogs = new Map<Pair, Watchdog>();
  /** The same for echoes that no relay has carried; in worlds with relays only. */
  readonly #directness = new Map<Pair, Watchdog>();
  readonly #streams = new Map<Pair, PairStreams>();
  readonly #healMs = new Map<Pair, number>();
  readonly #pressing = new Set<Pair>();

  /** Nobody talks. */
  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** Looks after a pair, and has its agent ask every so often until the world is healed; 0 for never. */
  begin(pair: Pair, everyMs: number): void {
    this.#streams.set(pair, new PairStreams(pair));
    const { recovery, upgrade } = this.#stage.expectations;
    const limitMs = (after: Disturbance): number => recovery ? RECOVERY_MS[after] : Infinity;
    this.#watchdogs.set(pair, new Watchdog(limitMs));
    if (upgrade && this.#stage.relays.size > 0) this.#directness.set(pair, new Watchdog(limitMs));
    this.#stage.after(WATCH_MS, () => this.#watch(pair));
    if (everyMs > 0) this.#stage.after(everyMs, () => this.#chat(pair, everyMs));
  }

  /** Something has happened to a pair. */
  disturbed(pair: Pair, happened: Happened): void {
    for (const watchdog of this.#watchdogsOf(pair)) {
      watchdog.disturbed(this.#stage.now(), happened);
    }
  }

  /** Something that stood in the way may stand there no more. */
  changed(): void {
    for (const pair of this.#watchdogs.keys()) this.#look(pair);
  }

  /** How soon a pair's echoes came back, each time. */
  recoveriesOf(pair: Pair): readonly Recovery[] {
    return this.#watchdogs.get(pair)?.recoveries ?? [];
  }

  /** How soon a pair's echoes went directly again, each time. */
  upgradesOf(pair: Pair): readonly Recovery[] {
    return this.#directness.get(pair)?.recoveries ?? [];
  }

  /** A pair's streams. */
  streamsOf(pair: Pair): PairStreams | undefined {
    return this.#streams.get(pair);
  }

  /** From the healing to the first echoes answered at both ends; `undefined` before. */
  healMsOf(pair: Pair): number | undefined {
    return this.#healMs.get(pair);
  }

  /** Has one end of a pair send an echo to the other. */
  ping(pair: Pair, from: SimNode): void {
    const to = pair.otherOf(from).process?.publicKey;
    if (!from.awake || to === undefined) return;
    const askedAt = this.#stage.now();
    let answered = false;
    from.process?.ping(to, PING_TIMEOUT_MS, (rttMs) => {
      answered = rttMs !== null;
      if (rttMs !== null) this.#answered(pair, from, { rttMs, askedAt });
    });
    if (from !== pair.agent) return;
    for (const watchdog of this.#watchdogsOf(pair)) {
      watchdog.asked(askedAt);
      if (watchdog.waits) {
        this.#press(pair);
        continue;
      }
      this.#stage.after(UNANSWERED_MS, () => {
        if (!answered) watchdog.missed(askedAt);
        if (watchdog.waits) this.#press(pair);
      });
    }
  }

  #watchdogsOf(pair: Pair): readonly Watchdog[] {
    return [this.#watchdogs.get(pair), this.#directness.get(pair)]
      .filter((watchdog) => watchdog !== undefined);
  }

  /** Asks again and again, for as long as an answer is waited for. */
  #press(pair: Pair): void {
    if (this.#pressing.has(pair)) return;
    this.#pressing.add(pair);
    this.#stage.after(IMPATIENT_MS, () => {
      this.#pressing.delete(pair);
      if (this.#watchdogsOf(pair).some(({ waits }) => waits)) this.ping(pair, pair.agent);
    });
  }

  #answered(
    pair: Pair,
    from: SimNode,
    { rttMs, askedAt }: { readonly rttMs: number; readonly askedAt: number },
  ): void {
    const { healAt } = this.#stage;
    const now = this.#stage.now();
    this.#stage.mix(rttMs);
    pair.heard(now, from);
    if (from === pair.agent) {
      this.#judge(pair, this.#watchdogs.get(pair)?.heard(now, askedAt), "talk");
      const directness = this.#directness.get(pair);
      if (pair.isDirect) this.#judge(pair, directness?.heard(now, askedAt), "be direct");
      else directness?.missed(askedAt);
    }
    if (now < healAt || this.#healMs.has(pair) || !pair.heardSince(healAt)) return;
    const healMs = now - healAt;
    this.#healMs.set(pair, healMs);
    this.#stage.say(() => `${pair.name} talks ${(healMs / 1000).toFixed(1)} s after the healing`);
  }

  #chat(pair: Pair, everyMs: number): void {
    const { healAt, verdicts } = this.#stage;
    const now = this.#stage.now();
    if (now >= healAt) return;
    this.ping(pair, pair.agent);
    // From the first answer on: before, there is nobody to open a stream to.
    const streams = this.#streams.get(pair);
    if (now - pair.agentHeardAt > STREAM_LIFE_MS) streams?.forgive();
    else if (pair.heardOnce) streams?.drip();
    // Whom nothing is asked of shakes hands in vain, which costs more than all the rest.
    const hopeless = !pair.heardOnce && !verdicts.isDue(pair);
    const againMs = hopeless ? Math.max(everyMs, HOPELESS_MS) : everyMs;
    this.#stage.after(againMs, () => this.#chat(pair, everyMs));
  }

  #watch(pair: Pair): void {
    this.#look(pair);
    this.#stage.after(WATCH_MS, () => this.#watch(pair));
  }

  #look(pair: Pair): void {
    const now = this.#stage.now();
    const common = this.#obstacle(pair);
    const direct = common ?? this.#obstacleToDirect(pair);
    const any = common ?? (direct && this.#canRelay(pair) ? undefined : direct);
    this.#judge(pair, this.#watchdogs.get(pair)?.look(now, any), "talk");
    this.#judge(pair, this.#directness.get(pair)?.look(now, direct), "be direct");
  }

  #judge(pair: Pair, silentMs: number | undefined, what: "talk" | "be direct"): void {
    if (silentMs === undefined) return;
    const watchdogs = what === "talk" ? this.#watchdogs : this.#directness;
    const { cause } = watchdogs.get(pair) ?? {};
    this.#stage.violate(
      `${pair.name} could ${what} and has not for ${(silentMs / 1000).toFixed(1)} s (${cause})`,
    );
  }

  /** Whether nothing is in the way of a path over a relay, but what is in the way of any path. */
  #canRelay(pair: Pair): boolean {
    const { relays, verdicts, discovery } = this.#stage;
    return verdicts.relaysOf(pair).some((id) =>
      relays.get(id)?.serves === true && discovery.offers(id)
    );
  }

  /** What is in the way of a direct path alone at the moment; `undefined` for nothing. */
  #obstacleToDirect(pair: Pair): string | undefined {
    const { topology, verdicts } = this.#stage;
    if (topology.stun.down) return "STUN is down";
    const verdict = verdicts.of(pair);
    return verdict === "direct" ? undefined : `a direct path needs more: ${verdict}`;
  }

  /** What is in the way of any path at the moment; `undefined` for nothing. */
  #obstacle({ agent, colony }: Pair): string | undefined {
    const { discovery, topology, faults } = this.#stage;
    if (discovery.down) return "Discovery is down";
    for (const node of [agent, colony]) {
      if (!node.awake) return `${node.name} is not awake`;
      if (faults.degraded.has(node.site)) return `${node.site} is degraded`;
      if (topology.linksOf(node.site).some(({ dead }) => dead.size > 0)) {
        return `${node.site} is cut off`;
      }
    }
    return undefined;
  }
}
