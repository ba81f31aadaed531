/** The log: one line each on stderr, `HH:MM:SS level message key=value`. @module */
import type { Log } from "../agent/mod.ts";
import { type Colour, type Paint, printable } from "./text_format.ts";

/** Levels from the most to the least talkative. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;

/** How much the log says. */
export type LogLevel = typeof LOG_LEVELS[number];

/** One entry of the log. */
export interface LogEntry {
  /** When, in local time. */
  readonly at: Date;
  /** How important. */
  readonly level: LogLevel;
  /** What happened. */
  readonly message: string;
  /** Details in order. */
  readonly fields: Readonly<Record<string, string | number | boolean | null>>;
}

const LEVEL_COLOURS: Readonly<Record<LogLevel, Colour>> = {
  debug: "dim",
  info: "cyan",
  warn: "yellow",
  error: "red",
};

/** Formats one entry as one line, whatever the message and fields hold. */
export function formatLogEntry({ at, level, message, fields }: LogEntry, paint: Paint): string {
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()]
    .map((part) => String(part).padStart(2, "0")).join(":");
  const details = Object.entries(fields).map(([key, value]) => ` ${key}=${formatField(value)}`);
  const head = `${paint("dim", time)} ${paint(LEVEL_COLOURS[level], level)}`;
  return `${head} ${printable(message)}${details.join("")}`;
}

/** Returns a log that writes the entries of `level` and above. */
export function createLog(
  level: LogLevel,
  { write, paint, now }: {
    /** Writes one line. */
    readonly write: (line: string) => void;
    readonly paint: Paint;
    readonly now: () => Date;
  },
): Log {
  const lowest = LOG_LEVELS.indexOf(level);
  return (entryLevel, message, fields = {}) => {
    if (LOG_LEVELS.indexOf(entryLevel) < lowest) return;
    write(formatLogEntry({ at: now(), level: entryLevel, message, fields }, paint));
  };
}

function formatField(value: string | number | boolean | null): string {
  if (typeof value !== "string") return String(value);
  const safe = printable(value);
  return /[\s"=]/.test(safe) || safe === "" ? JSON.stringify(safe) : safe;
}
