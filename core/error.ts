/** The one error type of this project, for the caller's and the environment's mistakes. @module */

/**
 * What went wrong, for programs. Every code has an exit status in `cli/exit_codes.ts`.
 *
 * - `usage`: flags, environment or arguments that make no sense together
 * - `config`: a configuration file with a bad line (the message names file and line)
 * - `key`: a key file that is missing, unreadable, too open or no key
 * - `portInUse`: a port that another program holds
 * - `permission`: the system refuses
 * - `unreachable`: a service that does not answer
 * - `refused`: a service or peer that says no
 * - `timedOut`: no answer in time
 * - `corrupt`: a file of ours that is damaged
 * - `diskFull`: no space left
 * - `unsupported`: not on this system or version
 * - `closed`: the node or connection has ended
 * - `limit`: a documented limit is reached
 * - `internal`: our own fault
 */
export type ErrorCode =
  | "usage"
  | "config"
  | "key"
  | "portInUse"
  | "permission"
  | "unreachable"
  | "refused"
  | "timedOut"
  | "corrupt"
  | "diskFull"
  | "unsupported"
  | "closed"
  | "limit"
  | "internal";

/** An error with a code. The message is one line, says what to do, and never holds a secret. */
export class MorayError extends Error {
  /** What kind of error this is. */
  readonly code: ErrorCode;

  /** Creates an error; `cause` is the error beneath, if any. */
  constructor(code: ErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "MorayError";
    this.code = code;
  }
}

/** Returns the message of anything thrown, on one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replaceAll(/\s*\n\s*/g, "; ");
}

/** Throws if `condition` is false: the fault is ours, never the network's or the caller's. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new MorayError("internal", `Assertion failed: ${message}`);
}
