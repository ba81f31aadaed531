/** The system's errors in our words. @module */
import { type ErrorCode, messageOf, MorayError } from "../core/mod.ts";

/** What a system error means: our code, and the words behind the colon. */
type Meaning = readonly [code: ErrorCode, words: string];

/** By `error.code`, which Deno takes from errno. */
const BY_ERRNO: Readonly<Record<string, Meaning>> = {
  EACCES: ["permission", "permission denied"],
  EADDRINUSE: ["portInUse", "address is in use"],
  EADDRNOTAVAIL: ["usage", "this host has no such address"],
  EAFNOSUPPORT: ["unsupported", "this host does not speak that address family"],
  ECONNABORTED: ["closed", "connection aborted"],
  ECONNREFUSED: ["refused", "connection refused"],
  ECONNRESET: ["closed", "connection reset"],
  EHOSTUNREACH: ["unreachable", "no route to host"],
  EISDIR: ["usage", "it is a directory"],
  EMFILE: ["limit", "too many open files"],
  ENETUNREACH: ["unreachable", "network is unreachable"],
  ENFILE: ["limit", "too many open files in the system"],
  ENOENT: ["usage", "no such file"],
  ENOTDIR: ["usage", "part of the path is not a directory"],
  EPERM: ["permission", "operation not permitted"],
  EPIPE: ["closed", "connection closed"],
  EROFS: ["permission", "the file system is read-only"],
  ETIMEDOUT: ["timedOut", "no answer in time"],
};

/** By `error.name`, where the runtime made the error itself. */
const BY_NAME: Readonly<Record<string, Meaning>> = {
  AbortError: ["closed", "cancelled"],
  AddrInUse: ["portInUse", "address is in use"],
  AddrNotAvailable: ["usage", "this host has no such address"],
  BadResource: ["closed", "already closed"],
  BrokenPipe: ["closed", "connection closed"],
  ConnectionAborted: ["closed", "connection aborted"],
  ConnectionRefused: ["refused", "connection refused"],
  ConnectionReset: ["closed", "connection reset"],
  Interrupted: ["closed", "cancelled"],
  InvalidData: ["corrupt", "invalid data"],
  NotCapable: ["permission", "this process was started without the permission"],
  NotConnected: ["closed", "not connected"],
  NotFound: ["usage", "no such file"],
  NotSupported: ["unsupported", "not supported here"],
  PermissionDenied: ["permission", "permission denied"],
  TimedOut: ["timedOut", "no answer in time"],
  TimeoutError: ["timedOut", "no answer in time"],
  UnexpectedEof: ["closed", "connection closed"],
};

/**
 * Returns what the system threw as a {@linkcode MorayError}; a `MorayError` comes back as it is.
 *
 * `what` finishes the sentence "Cannot ...": `fromSystem(error, "bind UDP port 51820")` says
 * "Cannot bind UDP port 51820: address is in use". A full disk reads "No space left to ...".
 */
export function fromSystem(error: unknown, what: string): MorayError {
  if (error instanceof MorayError) return error;
  const name = error instanceof Error || error instanceof DOMException ? error.name : "";
  const errno = errnoOf(error);
  if (errno === "ENOSPC" || errno === "EDQUOT") {
    return new MorayError("diskFull", `No space left to ${what}`, error);
  }
  // Deno gives a failed name look-up neither a class nor an errno.
  if (name === "Error" && messageOf(error).startsWith("failed to lookup address")) {
    return new MorayError("unreachable", `Cannot ${what}: no such host name`, error);
  }
  const meaning = own(BY_ERRNO, errno) ?? own(BY_NAME, name);
  if (meaning === undefined) {
    return new MorayError("internal", `Cannot ${what}: ${messageOf(error)}`, error);
  }
  return new MorayError(meaning[0], `Cannot ${what}: ${meaning[1]}`, error);
}

function errnoOf(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}

function own(table: Readonly<Record<string, Meaning>>, key: string): Meaning | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
