/**
 * Text for people: tables, sizes, ages, and what came from a network made safe to print.
 *
 * @module
 */

/** Paints a text, or returns it as it is where the output takes no colour. */
export type Paint = (colour: Colour, text: string) => string;

/** The colours in use. */
export type Colour = "red" | "green" | "yellow" | "cyan" | "bold" | "dim";

const SGR: Readonly<Record<Colour, number>> = {
  red: 31,
  green: 32,
  yellow: 33,
  cyan: 36,
  bold: 1,
  dim: 2,
};

/** Returns the paint for an output: colours only if `enabled`. */
export function painter(enabled: boolean): Paint {
  return (colour, text) => enabled ? `\x1b[${SGR[colour]}m${text}\x1b[0m` : text;
}

/** Returns `text` on one line with nothing that a terminal would obey: control characters come out as `?`. */
export function printable(text: string): string {
  return text.replaceAll(/\s*[\r\n]+\s*/g, "; ").replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
}

/** Width of a text on a terminal; paint takes none. */
export function widthOf(text: string): number {
  // deno-lint-ignore no-control-regex
  return [...text.replaceAll(/\x1b\[\d+m/g, "")].length;
}

/** Fills a text with blanks to a width. */
export function padEnd(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - widthOf(text)));
}

/** Aligns rows in columns with two blanks between them; no blank at the end of a line. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, widthOf(cell));
  }
  return rows.map((row) => row.map((cell, i) => padEnd(cell, widths[i] ?? 0)).join("  ").trimEnd());
}

/** Formats a count of bytes in binary units: `512 B`, `1.5 KiB`, `64.0 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"] as const;
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}

/** Formats milliseconds: `0.42 ms`, `12.3 ms`, `340 ms`, `2.50 s`. */
export function formatMs(ms: number): string {
  if (ms < 9.995) return `${ms.toFixed(2)} ms`;
  if (ms < 99.95) return `${ms.toFixed(1)} ms`;
  return ms < 999.5 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** Formats how long ago something was: `now`, `42 s ago`, `3 min ago`, `5 h ago`, `2 d ago`. */
export function formatAge(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return "now";
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}
