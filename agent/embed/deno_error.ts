/** Our errors as Deno's own network functions throw them, for code that was written for these. @module */
import { type ErrorCode, MorayError } from "../../core/mod.ts";

const CLASSES: Partial<Record<ErrorCode, new (message: string, options: ErrorOptions) => Error>> = {
  refused: Deno.errors.ConnectionRefused,
  timedOut: Deno.errors.TimedOut,
  unreachable: Deno.errors.NetworkUnreachable,
  portInUse: Deno.errors.AddrInUse,
  permission: Deno.errors.PermissionDenied,
  // The connection ended, and not by us: a peer's reset, or the end of the node.
  closed: Deno.errors.ConnectionReset,
};

/**
 * Returns the error of `Deno.errors` that stands for a `MorayError`, which is its `cause`: `ConnectionRefused`, `TimedOut`,
 * `NetworkUnreachable`, `AddrInUse`, `PermissionDenied` or `ConnectionReset`. Anything else, as an abort's reason, is returned
 * as it is.
 */
export function denoError(error: unknown): unknown {
  if (!(error instanceof MorayError)) return error;
  const DenoError = CLASSES[error.code];
  return DenoError === undefined ? error : new DenoError(error.message, { cause: error });
}
