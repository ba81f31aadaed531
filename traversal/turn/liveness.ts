/**
 * When a client asks its server whether it lives: where the mapping to it was not used for a while, and where what was sent finds no echo.
 *
 * @module
 */
import { after, earlier, type Instant } from "../../core/mod.ts";

/** Sent through the relay, and nothing heard from it for this long: it is asked whether it lives. */
const SILENT_MS = 1_000;

/** What is known of a server's life, and when to ask for more. */
export class Liveness {
  #keepaliveMs: number;
  #heardAt: Instant;
  #usedAt: Instant | undefined;
  /** When the first datagram was sent after the server was last heard. */
  #unheardSince: Instant | undefined;
  /** May be early. */
  #checkAt: Instant | undefined;
  #checking = false;

  /** Nothing is asked before {@linkcode Liveness.begin}. */
  constructor(now: Instant, keepaliveMs: number) {
    this.#heardAt = now;
    this.#keepaliveMs = keepaliveMs;
  }

  /** When the server was last heard. */
  get heardAt(): Instant {
    return this.#heardAt;
  }

  /** Whether something was sent since it was last heard. */
  get isUnheard(): boolean {
    return this.#unheardSince !== undefined;
  }

  /** There is an allocation to be kept from now on. */
  begin(now: Instant): void {
    this.#checkAt = after(now, this.#keepaliveMs);
  }

  /** Sets how often the mapping to the server has to be used, in milliseconds. */
  setKeepalive(now: Instant, keepaliveMs: number): void {
    this.#keepaliveMs = keepaliveMs;
    if (this.#checkAt !== undefined) {
      this.#checkAt = earlier(this.#checkAt, after(now, keepaliveMs));
    }
  }

  /** Something was heard of the server. */
  heard(now: Instant): void {
    this.#heardAt = now;
    this.#unheardSince = undefined;
  }

  /** Something is sent that the server passes on. */
  used(now: Instant): void {
    this.#usedAt = now;
    if (this.#unheardSince !== undefined) return;
    this.#unheardSince = now;
    this.#checkAt = earlier(this.#checkAt, after(now, SILENT_MS));
  }

  /** Returns whether to ask now. */
  isDue(now: Instant): boolean {
    if (this.#checkAt === undefined || now < this.#checkAt) return false;
    const silentAt = this.#unheardSince === undefined
      ? undefined
      : after(this.#unheardSince, SILENT_MS);
    const last = this.#usedAt === undefined || this.#usedAt < this.#heardAt
      ? this.#heardAt
      : this.#usedAt;
    const idleAt = after(last, this.#keepaliveMs);
    const dueAt = earlier(silentAt, idleAt) ?? idleAt;
    if (now >= dueAt) return true;
    this.#checkAt = dueAt;
    return false;
  }

  /** It is asked. Returns whether it is not being asked already. */
  ask(): boolean {
    // The answer, or its absence, says when the next is due.
    this.#checkAt = undefined;
    const first = !this.#checking;
    this.#checking = true;
    return first;
  }

  /** It has answered to that. */
  answered(now: Instant): void {
    this.#checking = false;
    this.#unheardSince = undefined;
    this.#checkAt = after(now, this.#keepaliveMs);
  }

  /** When {@linkcode Liveness.isDue} is to be asked. */
  pollTimeout(): Instant | undefined {
    return this.#checkAt;
  }
}
