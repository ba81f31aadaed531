/** How an error is printed: one line on stderr. @module */
import type { MorayError } from "../core/mod.ts";
import { type Paint, printable } from "./text_format.ts";

/** Formats an error for stderr: `moray: MESSAGE`, and at level `debug` the stack on the lines behind it. */
export function formatError(
  error: MorayError,
  { paint, debug }: { readonly paint: Paint; readonly debug: boolean },
): string {
  const advice = error.code === "internal"
    ? " (this is a bug: please report it, with what --log-level debug prints)"
    : "";
  const line = `${paint("red", "moray:")} ${printable(error.message)}${advice}`;
  return debug ? `${line}\n${stackOf(error)}` : line;
}

function stackOf(error: Error): string {
  const own = error.stack ?? String(error);
  if (error.cause === undefined) return own;
  const cause = error.cause instanceof Error ? stackOf(error.cause) : String(error.cause);
  return `${own}\nCaused by: ${cause}`;
}
