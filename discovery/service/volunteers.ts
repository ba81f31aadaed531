/** Relays of nodes at Discovery: the registry, and the checks that it wants made. @module */
import { messageOf } from "../../core/mod.ts";
import type { Log } from "../log.ts";
import type { RelayReport } from "../relay/report.ts";
import type { NodeKey } from "../store/store.ts";
import { relayCredentials, relaySessionId } from "./relay_credentials.ts";
import type { OfferedRelay, RelayStanding, ReportOutcome } from "./relay_registry.ts";
import type { CheckedVolunteer } from "./volunteer_check.ts";
import { type CheckResult, type VolunteerCheck, VolunteerRegistry } from "./volunteer_registry.ts";

/** Checks under way at once; others wait for a later report. */
const CHECKS_MAX = 16;
/** Life of the credentials of a check. */
const CREDENTIALS_MS = 60_000;

/** How volunteers are looked at. */
export interface VolunteerOptions {
  /** Looks whether a relay can be used from here. Never rejects. */
  readonly check: (volunteer: CheckedVolunteer) => Promise<CheckResult>;
}

/** Options of {@linkcode Volunteers}. */
export interface VolunteersOptions extends VolunteerOptions {
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** A fresh unguessable id. */
  readonly randomId: () => string;
  /** Where the log goes. */
  readonly log: Log;
}

/** The relays that nodes run for their meshes. */
export class Volunteers {
  readonly #options: VolunteersOptions;
  readonly #registry = new VolunteerRegistry();
  #checking = 0;
  readonly #counters = { volunteerChecks: 0, volunteerChecksFailed: 0, volunteerChecksPutOff: 0 };

  /** None yet. */
  constructor(options: VolunteersOptions) {
    this.#options = options;
  }

  /** Volunteers known, offered or not. */
  get size(): number {
    return this.#registry.size;
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { ...this.#counters };
  }

  /** Takes a report of a node that is registered. */
  report(
    node: NodeKey,
    given: { readonly report: RelayReport; readonly secret: string },
  ): ReportOutcome {
    return this.#registry.report(this.#options.now(), node, given);
  }

  /** Looks whether a volunteer can be reached, if that is due. Never rejects. */
  async check(id: string): Promise<void> {
    const { now } = this.#options;
    if (this.#checking >= CHECKS_MAX) {
      this.#counters.volunteerChecksPutOff++;
      return;
    }
    const check = this.#registry.beginCheck(now(), id);
    if (check === undefined) return;
    this.#checking++;
    try {
      this.#checked(check, await this.#look(check));
    } catch (error) {
      this.#checked(check, { reason: messageOf(error) });
    } finally {
      this.#checking--;
    }
  }

  /** A node of the mesh could not use a volunteer. */
  doubt(meshId: string, id: string): void {
    this.#registry.doubt(this.#options.now(), meshId, id);
  }

  /** Whether a volunteer is offered, and why not. */
  standing(id: string): { readonly offered: boolean; readonly reason: string } {
    return this.#registry.standing(this.#options.now(), id);
  }

  /** The volunteers for a node. */
  offered(node: NodeKey): readonly OfferedRelay[] {
    return this.#registry.offered(this.#options.now(), node);
  }

  /** How every volunteer stands. */
  standings(): readonly RelayStanding[] {
    return this.#registry.standings(this.#options.now());
  }

  /** A node has left, and its relay with it. */
  leave(node: NodeKey): void {
    this.#registry.leave(node);
  }

  /** Forgets those that have fallen silent. */
  sweep(): void {
    const { now, log } = this.#options;
    for (const id of this.#registry.sweep(now())) {
      log("info", `relay ${id} of a node has fallen silent`);
    }
  }

  #look({ node, transports, secret }: VolunteerCheck): Promise<CheckResult> {
    const { now, randomId, check } = this.#options;
    const sessionId = relaySessionId(node, randomId());
    const credentials = relayCredentials(secret, { sessionId, expiresAt: now() + CREDENTIALS_MS });
    return check({ transports, credentials });
  }

  #checked(check: VolunteerCheck, result: CheckResult): void {
    const { now, log } = this.#options;
    this.#counters.volunteerChecks++;
    if ("reason" in result) {
      this.#counters.volunteerChecksFailed++;
      log("debug", `relay ${check.id} of a node is not offered: ${result.reason}`);
    }
    this.#registry.checked(now(), check, result);
  }
}
