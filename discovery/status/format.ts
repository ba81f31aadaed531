/** Numbers and words of the status page. Pure. @module */
import { type Html, markup } from "./html.ts";

/** What kinds of NAT are called, by NatHint. */
export const NAT_WORDS = ["unknown", "cone", "restricted", "symmetric"] as const;
/** What mapping and filtering are called, by NatBehavior. */
export const BEHAVIOR_WORDS = [
  "unknown",
  "any destination",
  "by address",
  "by address and port",
] as const;

/** The start of a key: enough to find it, short enough to read. */
export function shortKey(publicKey: string): string {
  return publicKey === "" ? "" : `${publicKey.slice(0, 8)}…`;
}

/** A count with thin groups: `12 345`. */
export function count(value: number): string {
  return String(Math.round(value)).replaceAll(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** Bytes in a unit that fits: `1.5 MB`. */
export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A time span in its largest two units: `2 d 3 h`. */
export function span(seconds: number): string {
  const parts = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]] as const;
  let rest = Math.max(0, Math.floor(seconds));
  const said: string[] = [];
  for (const [unit, size] of parts) {
    const value = Math.floor(rest / size);
    rest -= value * size;
    if (value > 0) said.push(`${value} ${unit}`);
  }
  return said.slice(0, 2).join(" ") || "0 s";
}

/** A time of day in UTC, with the whole date for programs. */
export function time(at: number): Html {
  const iso = new Date(at).toISOString();
  return markup`<time datetime="${iso}">${iso.slice(11, 19)}</time>`;
}

/** A round trip: `0.4 ms`, `120 ms`. */
export function roundTrip(us: number): string {
  if (us === 0) return "";
  return us < 10_000 ? `${(us / 1000).toFixed(1)} ms` : `${Math.round(us / 1000)} ms`;
}

/** A counter's name as words: `watchOverflows` is `watch overflows`. */
export function words(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace(":", ": ");
}
