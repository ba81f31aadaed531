/**
 * The exit statuses of `moray`, in one table.
 *
 * @module
 */
import { type ErrorCode, MorayError } from "../core/mod.ts";

/** One row of the table. */
export interface ExitCode {
  /** The process's exit status. */
  readonly status: number;
  /** The `code` of the `MorayError` behind it; `null` for success and signals. */
  readonly code: ErrorCode | null;
  /** What it means and what to do, one sentence. */
  readonly meaning: string;
}

/** Every exit status, in ascending order. `moray help exit-codes` and the README print this table. */
export const EXIT_CODES: readonly ExitCode[] = [
  { status: 0, code: null, meaning: "Success, or a clean stop after SIGTERM or Ctrl-C." },
  {
    status: 2,
    code: "usage",
    meaning: "A flag, an environment variable or an argument is wrong; the message says which.",
  },
  {
    status: 3,
    code: "config",
    meaning: "A configuration file has a bad line or cannot be read; the message names it.",
  },
  {
    status: 4,
    code: "key",
    meaning: "A key or key file is missing, unreadable, open to others, or no key.",
  },
  {
    status: 5,
    code: "portInUse",
    meaning: "Another program holds a port; choose another port or stop that program.",
  },
  { status: 6, code: "permission", meaning: "The system refuses; the message says what." },
  {
    status: 7,
    code: "unreachable",
    meaning: "A service, node or peer does not answer; check the address and the network.",
  },
  { status: 8, code: "refused", meaning: "A service or peer says no; the message says why." },
  { status: 9, code: "timedOut", meaning: "No answer in time." },
  {
    status: 10,
    code: "corrupt",
    meaning: "A file of moray's own is damaged; restore or remove it.",
  },
  { status: 11, code: "diskFull", meaning: "No space left where moray has to write." },
  { status: 12, code: "unsupported", meaning: "Not on this system or version." },
  { status: 13, code: "limit", meaning: "A documented limit is reached." },
  { status: 14, code: "closed", meaning: "The node or connection ended meanwhile." },
  { status: 70, code: "internal", meaning: "A fault in moray itself: please report it." },
];

/** Exit status after a second signal: 128 and the signal's number, as shells do. */
export const SIGNAL_STATUS = { SIGINT: 130, SIGTERM: 143 } as const;

/** Returns the exit status for a code. */
export function exitStatusOf(code: ErrorCode): number {
  const row = EXIT_CODES.find((candidate) => candidate.code === code);
  return row === undefined ? 70 : row.status;
}

/** Turns anything thrown into a `MorayError`: what the system refuses is told apart from our own faults. */
export function errorFrom(error: unknown): MorayError {
  if (error instanceof MorayError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new MorayError(systemCodeOf(error), message === "" ? String(error) : message, error);
}

function systemCodeOf(error: unknown): ErrorCode {
  if (error instanceof Deno.errors.AddrInUse) return "portInUse";
  if (error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable) {
    return "permission";
  }
  if (error instanceof Error && /os error 28\b/.test(error.message)) return "diskFull";
  return "internal";
}
