/** Sessions that were taken back before their credentials ended. @module */
import { after, type Instant } from "../../core/mod.ts";
import type { Counters } from "./counters.ts";

/** How long a session is remembered: credentials of Discovery's are good for an hour, and clocks differ. */
export const REVOKED_MS = 4_200_000;
/** Sessions remembered; beyond, the oldest is forgotten and counted: its credentials end by themselves. */
export const REVOKED_MAX = 16_384;

/** Which sessions are taken no more. */
export class RevokedSessions {
  /** Until when each is remembered, oldest first. */
  readonly #sessions = new Map<string, Instant>();
  readonly #counters: Counters;

  /** None. */
  constructor(counters: Counters) {
    this.#counters = counters;
  }

  /** Whether a session was taken back. */
  has(session: string): boolean {
    return this.#sessions.has(session);
  }

  /** Takes a session back. Returns whether it was not before. */
  add(now: Instant, session: string): boolean {
    if (this.#sessions.has(session)) return false;
    if (this.#sessions.size >= REVOKED_MAX) {
      const [oldest] = this.#sessions.keys();
      if (oldest !== undefined) this.#sessions.delete(oldest);
      this.#counters.add("revokedForgotten");
    }
    this.#sessions.set(session, after(now, REVOKED_MS));
    return true;
  }

  /** Forgets those whose credentials have ended. */
  sweep(now: Instant): void {
    for (const [session, until] of this.#sessions) {
      if (now < until) return;
      this.#sessions.delete(session);
    }
  }
}
