/** Why a port cannot be opened, in our words. @module */
import { messageOf, MorayError } from "../../core/mod.ts";

/** Returns the error of a listener that could not be opened; `what` is its first half: "Cannot listen on 0.0.0.0:80". */
export function listenError(error: unknown, what: string): MorayError {
  const code = error instanceof MorayError ? error.code : undefined;
  if (error instanceof Deno.errors.AddrInUse || code === "portInUse") {
    return new MorayError("portInUse", `${what}: address is in use`, error);
  }
  const isDenied = error instanceof Deno.errors.PermissionDenied ||
    error instanceof Deno.errors.NotCapable;
  if (isDenied || code === "permission") {
    return new MorayError("permission", `${what}: permission denied`, error);
  }
  if (error instanceof Deno.errors.AddrNotAvailable || code === "usage") {
    return new MorayError("usage", `${what}: this machine does not have the address`, error);
  }
  return new MorayError("internal", `${what}: ${messageOf(error)}`, error);
}
