/** What the demo prints. @module */
import type { DemoResult, DemoStep } from "./demo_run.ts";
import { formatMs, padEnd, type Paint, printable, widthOf } from "./text_format.ts";

/** Colours, or none. */
export interface DemoStyle {
  /** The paint of stdout. */
  readonly paint: Paint;
}

/** Widths of a step's columns, in characters. */
const TITLE_WIDTH = 36;
const DETAIL_WIDTH = 42;
const TIME_WIDTH = 9;

/** Formats the first lines. */
export function formatDemoHeader(version: string, { paint }: DemoStyle): string {
  const title = paint("bold", `moray ${version} demo`);
  return `${title}: two nodes and one encrypted tunnel, all on this machine\n\n`;
}

/** Formats one finished step with its time. */
export function formatDemoStep({ title, detail, ms }: DemoStep, { paint }: DemoStyle): string {
  const time = formatMs(ms).padStart(TIME_WIDTH);
  const shown = printable(detail);
  return `  ${paint("green", "✓")} ${padEnd(title, TITLE_WIDTH)}${padEnd(shown, DETAIL_WIDTH)} ` +
    `${paint("dim", time)}\n`;
}

/** Formats the way the page took, the page itself and the time of everything. */
export function formatDemoResult(
  { path, page, socks5, web }: DemoResult,
  totalMs: number,
  { paint }: DemoStyle,
): string {
  const trip = path.rttMs === null ? "" : `, round trip ${formatMs(path.rttMs)}`;
  const way = path.relay === null ? path.remote ?? "unknown" : `via ${path.relay}`;
  return [
    "",
    `  The path:  ${paint("bold", path.kind)} ${printable(way)}${trip}`,
    "",
    `    fetch ─▶ SOCKS5 ${socks5} ─▶ agent`,
    paint("cyan", `      ║  WireGuard, encrypted end to end`),
    `    colony ─▶ web page ${web}`,
    "",
    "  What came through the tunnel:",
    "",
    ...framed(page.trimEnd().split("\n")).map((line) => `    ${line}`),
    "",
    `  Done in ${formatMs(totalMs)}; it needed no root and left the system's network alone.`,
    "",
  ].join("\n") + "\n";
}

/** Formats how to use a demo that keeps running. */
export function formatDemoUse(
  { socks5, url, agentState }: DemoResult,
  { paint, program }: DemoStyle & {
    /** How this program is called on a command line. */
    readonly program: string;
  },
): string {
  const commands = [
    `curl --socks5-hostname ${socks5} ${url}`,
    `${program} status --state ${agentState}`,
    `${program} ping colony --state ${agentState}`,
  ];
  return [
    "  It keeps running. In another terminal, try:",
    "",
    ...commands.map((line) => `    ${paint("bold", line)}`),
    "",
    "  Ctrl-C ends it and removes what it wrote.",
    "",
  ].join("\n") + "\n";
}

/** Draws a frame around lines. */
function framed(lines: readonly string[]): string[] {
  const safe = lines.map((line) => printable(line));
  const width = safe.reduce((most, line) => Math.max(most, widthOf(line)), 0);
  const rule = "─".repeat(width + 2);
  return [`┌${rule}┐`, ...safe.map((line) => `│ ${padEnd(line, width)} │`), `└${rule}┘`];
}
