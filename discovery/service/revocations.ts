/**
 * Relay sessions that were given back while their credentials still count: relays hear of them with the answers to their reports. Pure;
 * time is in unix milliseconds.
 *
 * @module
 */

/** How long an answer tells of a session: six reports of a volunteer and twenty of another, of which one has to get through. */
export const REVOCATION_MS = 60_000;
/** Sessions told of in one answer, the latest. */
export const REVOCATIONS_TOLD_MAX = 512;
/** Sessions remembered for all relays; beyond, the oldest is forgotten and counted: its credentials end by themselves. */
export const REVOCATIONS_MAX = 16_384;

/** What relays are still to be told. */
export class Revocations {
  /** When each was given back, by relay and session, oldest first. */
  readonly #sessions = new Map<string, { readonly relayId: string; readonly at: number }>();
  #forgotten = 0;

  /** Sessions that were forgotten at the limit. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** A session of a relay was given back. */
  add(relayId: string, sessionId: string, now: number): void {
    if (this.#sessions.size >= REVOCATIONS_MAX) {
      const [oldest] = this.#sessions.keys();
      if (oldest !== undefined) this.#sessions.delete(oldest);
      this.#forgotten++;
    }
    this.#sessions.set(sessionId, { relayId, at: now });
  }

  /** The sessions that a relay has to end, the latest first. */
  of(relayId: string, now: number): readonly string[] {
    return [...this.#sessions]
      .filter(([, one]) => one.relayId === relayId && now < one.at + REVOCATION_MS)
      .map(([sessionId]) => sessionId)
      .reverse().slice(0, REVOCATIONS_TOLD_MAX);
  }

  /** Forgets what every relay has had the time to hear. */
  sweep(now: number): void {
    for (const [sessionId, { at }] of this.#sessions) {
      if (now < at + REVOCATION_MS) return;
      this.#sessions.delete(sessionId);
    }
  }
}
