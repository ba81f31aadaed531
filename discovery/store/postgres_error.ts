/** Naming PostgreSQL's errors in our words, without the secrets of its URL. @module */
import { messageOf, MorayError } from "../../core/mod.ts";

/** What the driver and the system call connections that cannot be had, or are gone. */
const CONNECTION =
  /^(CONNECTION_|CONNECT_TIMEOUT|ECONN|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_|EPIPE|ETIMEDOUT)/;

/** The SQLSTATE of an error of the server, or the driver's word; empty for none. */
export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : "";
}

/** Whether a transaction may succeed if it is run again: it met another one. */
export function isConflict(error: unknown): boolean {
  const code = codeOf(error);
  return code === "40001" || code === "40P01";
}

/** Turns what the driver throws into a `MorayError`. `shown` names the database. */
export function postgresError(error: unknown, shown: string): MorayError {
  if (error instanceof MorayError) return error;
  const code = codeOf(error);
  const text = messageOf(error);
  if (CONNECTION.test(code)) {
    // The driver's text for a connection that ended is "write CONNECTION_CLOSED host:port".
    const reason = /^write CONNECTION_/.test(text) ? "the connection was closed" : text;
    return new MorayError("unreachable", `Cannot reach the database ${shown}: ${reason}`, error);
  }
  switch (code.slice(0, 2)) {
    case "28":
    case "42":
      // 42501 alone is about rights; the rest of 42 is a schema that is not ours.
      if (code.startsWith("42") && code !== "42501") break;
      return new MorayError("permission", `The database ${shown} refuses: ${text}`, error);
    case "3D":
      return new MorayError("usage", `Cannot open the database ${shown}: ${text}`, error);
    case "53":
      return code === "53100"
        ? new MorayError("diskFull", `Cannot write the database ${shown}: disk is full`, error)
        : new MorayError("unreachable", `The database ${shown} has no room: ${text}`, error);
    case "57":
      return new MorayError("unreachable", `Cannot reach the database ${shown}: ${text}`, error);
    case "XX":
      return new MorayError("corrupt", `The database ${shown} is damaged: ${text}`, error);
    default:
  }
  return new MorayError("internal", `The database ${shown} failed: ${text}`, error);
}
