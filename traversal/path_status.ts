/** What a path agent says of itself. @module */
import type { Instant } from "../core/mod.ts";
import type { GuessRun } from "./guess_run.ts";
import { reasonOf } from "./path_reason.ts";
import type { PathRecord } from "./path_record.ts";
import type { PathAgentStatus } from "./path_report.ts";
import type { PathTable } from "./path_table.ts";

/** What a status is made from. */
export interface StatusClues {
  /** The present. */
  readonly now: Instant;
  /** The paths. */
  readonly table: PathTable;
  /** The path in use; `undefined` without a session. */
  readonly primary: PathRecord | undefined;
  /** The guesses. */
  readonly guess: GuessRun;
  /** Initiations since the last connection. */
  readonly attempts: number;
  /** Whether any are still to come. */
  readonly trying: boolean;
  /** When anything was last authenticated; `undefined` for never. */
  readonly lastHeardAt: Instant | undefined;
  /** Direct paths are switched off. */
  readonly noDirect: boolean;
}

/** Says how the connection to a peer does. */
export function statusOf(clues: StatusClues): PathAgentStatus {
  const { table, primary, attempts, lastHeardAt } = clues;
  const relayed = primary !== undefined && primary.relays > 0;
  const direct = primary !== undefined && !relayed;
  return {
    connected: primary !== undefined,
    path: primary?.path,
    relayed,
    rttMs: primary?.rttMs,
    mtu: primary?.mtu.mtu,
    lastHeardAt,
    attempts,
    reason: direct ? undefined : whyNotDirect(clues, relayed),
    paths: Array.from(table.all, (record) => record.report()),
  };
}

function whyNotDirect({ table, guess, ...clues }: StatusClues, relayed: boolean): string {
  const direct = [...table.all].filter(({ relays }) => relays === 0);
  return reasonOf({
    ...clues,
    relayed,
    endpoints: direct.length,
    relays: table.size - direct.length,
    probes: direct.reduce((sum, { probes }) => sum + probes, 0),
    replies: direct.reduce((sum, { replies }) => sum + replies, 0),
    nat: guess.nat,
    guess,
  });
}
