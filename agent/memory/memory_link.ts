/** The way between two nodes in memory: how long it takes, what it loses, and whether it leads anywhere. @module */
import type { SeededRng } from "../../traversal/testing/fuzz.ts";
import type { Carry } from "./memory_stream.ts";
import type { VirtualTime } from "./virtual_time.ts";

/** What a way does to what is sent over it. */
export interface LinkQuality {
  /** Time from one end to the other, in milliseconds. @default 1 */
  readonly delayMs?: number;
  /** Most that comes on top of it by chance, in milliseconds. @default 0 */
  readonly jitterMs?: number;
  /** Share of packets that are lost, from 0 to below 1: what streams say comes later then, a datagram or an echo never. @default 0 */
  readonly loss?: number;
}

/** A loss shows after two round trips, and never sooner: TCP's smallest timeout (RFC 6298 asks for a second, systems take this). */
const RETRANSMIT_MS_MIN = 200;
/** Losses of one packet in a row. */
const LOSSES_MAX = 10;

/** A way between two nodes, the same in both directions. */
export class MemoryLink {
  readonly #time: VirtualTime;
  readonly #rng: SeededRng;
  /** What was said while it led nowhere, in order. */
  readonly #held: (() => void)[] = [];
  #quality: Required<LinkQuality> = { delayMs: 1, jitterMs: 0, loss: 0 };
  #cut = false;

  /** A way of 1 ms. */
  constructor(time: VirtualTime, rng: SeededRng) {
    this.#time = time;
    this.#rng = rng;
  }

  /** What it does now. */
  get quality(): Required<LinkQuality> {
    return this.#quality;
  }

  /** Changes what it does to what is said from now on. Throws `RangeError`. */
  set quality({ delayMs, jitterMs, loss }: Required<LinkQuality>) {
    for (const [name, ms] of Object.entries({ delayMs, jitterMs })) {
      if (!(ms >= 0 && Number.isFinite(ms))) {
        throw new RangeError(`${name} is ${ms}: not 0 ms or more`);
      }
    }
    if (!(loss >= 0 && loss < 1)) throw new RangeError(`loss is ${loss}: not from 0 to below 1`);
    this.#quality = { delayMs, jitterMs, loss };
  }

  /** Whether it leads nowhere. */
  get isCut(): boolean {
    return this.#cut;
  }

  /** Leads nowhere from now on. What streams say waits; what has left arrives. */
  cut(): void {
    this.#cut = true;
  }

  /** Leads somewhere again. */
  mend(): void {
    this.#cut = false;
    for (const send of this.#held.splice(0)) send();
  }

  /** Takes what one stream says in one direction, in order and complete. */
  carrier(): Carry {
    let lastAt = 0;
    const send = (arrive: () => void): void => {
      if (this.#cut) return void this.#held.push(() => send(arrive));
      const { delayMs } = this.#quality;
      let ms = this.#crossing();
      let timeoutMs = Math.max(RETRANSMIT_MS_MIN, 4 * delayMs);
      for (let losses = 0; losses < LOSSES_MAX && this.#loses(); losses++) {
        ms += timeoutMs;
        timeoutMs *= 2;
      }
      lastAt = Math.max(lastAt, this.#time.now + ms);
      this.#time.in(lastAt - this.#time.now, arrive);
    };
    return send;
  }

  /** Sends one packet; `arrive` is called if it is not lost. */
  datagram(arrive: () => void): void {
    if (this.#cut || this.#loses()) return;
    this.#time.in(this.#crossing(), arrive);
  }

  #crossing(): number {
    const { delayMs, jitterMs } = this.#quality;
    return delayMs + (jitterMs === 0 ? 0 : this.#rng.below(2 ** 30) / 2 ** 30 * jitterMs);
  }

  #loses(): boolean {
    const { loss } = this.#quality;
    return loss > 0 && this.#rng.chance(loss);
  }
}
