/** Results as pictures: SVG that is readable on light and dark pages, pure. @module */
import type { Axes, BenchmarkResult, CaseResult, Measure, Series } from "./result.ts";
import { formatSummary, type Summary } from "./statistics.ts";

const WIDTH = 820;
const LABEL_WIDTH = 250;
const VALUE_WIDTH = 150;
const MARGIN = 16;
const BAR_HEIGHT = 14;
const BAR_STEP = 19;
const HEAD_HEIGHT = 30;
const BLOCK_GAP = 14;
const CHART_HEIGHT = 260;
const TICKS = 5;

/** A background of its own, so that it does not matter what page the picture is on. */
const STYLE = `
  .page { fill: #ffffff } .text { fill: #1f2937; font: 12px system-ui, sans-serif }
  .head { fill: #111827; font: 600 13px system-ui, sans-serif } .ours { fill: #0d9488 }
  .theirs { fill: #9ca3af } .spread { stroke: #374151; stroke-width: 1.5 }
  .grid { stroke: #e5e7eb } .line { fill: none; stroke-width: 2 }
  .c0 { stroke: #0d9488; color: #0d9488 } .c1 { stroke: #2563eb; color: #2563eb }
  .c2 { stroke: #b45309; color: #b45309 } .c3 { stroke: #9333ea; color: #9333ea }
  .c4 { stroke: #be123c; color: #be123c } .c5 { stroke: #4b5563; color: #4b5563 }
  .key { fill: currentColor; font: 12px system-ui, sans-serif; stroke: none }
  @media (prefers-color-scheme: dark) {
    .page { fill: #111827 } .text { fill: #d1d5db } .head { fill: #f9fafb } .ours { fill: #2dd4bf }
    .theirs { fill: #6b7280 } .spread { stroke: #e5e7eb } .grid { stroke: #374151 }
    .c0 { stroke: #2dd4bf; color: #2dd4bf } .c1 { stroke: #60a5fa; color: #60a5fa }
    .c2 { stroke: #f59e0b; color: #f59e0b } .c3 { stroke: #c084fc; color: #c084fc }
    .c4 { stroke: #fb7185; color: #fb7185 } .c5 { stroke: #d1d5db; color: #d1d5db }
  }
`;
const COLOURS = 6;

/** One bar: a case in a measure. */
interface Bar {
  readonly label: string;
  readonly ours: boolean;
  readonly summary: Summary;
}

/**
 * Bars for every measure that has a group, with the spread of the runs as a line across their ends; the measures of a
 * group share a scale. `undefined` if there is nothing to show.
 */
export function barChart({ title, measures, cases }: BenchmarkResult): string | undefined {
  const shown = measures.filter(({ group }) => group !== undefined)
    .map((measure) => ({ measure, bars: barsOf(measure, cases) }))
    .filter(({ bars }) => bars.length > 0);
  if (shown.length === 0) return undefined;
  const parts: string[] = [];
  let y = MARGIN;
  for (const { measure, bars } of shown) {
    const scale = Math.max(
      ...shown.filter((other) => other.measure.group === measure.group)
        .flatMap((other) => other.bars.map(({ summary }) => summary.max)),
    );
    parts.push(text({ x: MARGIN, y: y + 14, style: "head", words: headOf(measure) }));
    y += HEAD_HEIGHT;
    for (const bar of bars) {
      parts.push(...drawBar(bar, { y, scale, digits: measure.digits }));
      y += BAR_STEP;
    }
    y += BLOCK_GAP;
  }
  return svg(title, { height: y, parts });
}

/** Lines, from zero up. `undefined` if there is nothing to show. */
export function lineChart(
  title: string,
  { series, axes }: { readonly series: readonly Series[]; readonly axes: Axes },
): string | undefined {
  const points = series.flatMap((one) => one.points);
  if (points.length === 0) return undefined;
  const maxX = Math.max(...points.map(([x]) => x)) || 1;
  const maxY = Math.max(...points.map(([, y]) => y)) || 1;
  const left = MARGIN + 44;
  const right = WIDTH - MARGIN;
  const top = MARGIN + 26;
  const bottom = top + CHART_HEIGHT;
  const at = ([x, y]: readonly [number, number]): string =>
    `${round(left + x / maxX * (right - left))},${round(bottom - y / maxY * (bottom - top))}`;
  const parts = [text({ x: MARGIN, y: MARGIN + 14, style: "head", words: `${title}, ${axes.y}` })];
  for (let i = 0; i <= TICKS; i++) {
    const y = round(bottom - (bottom - top) * i / TICKS);
    const x = round(left + (right - left) * i / TICKS);
    parts.push(`<line class="grid" x1="${left}" y1="${y}" x2="${right}" y2="${y}"/>`);
    parts.push(text({ x: MARGIN, y: y + 4, style: "text", words: (maxY * i / TICKS).toFixed(0) }));
    const words = `${(maxX * i / TICKS).toFixed(1)} ${axes.x}`;
    parts.push(text({ x: i === TICKS ? x - 44 : x, y: bottom + 18, style: "text", words }));
  }
  for (const [i, one] of series.entries()) {
    const colour = `c${i % COLOURS}`;
    parts.push(`<polyline class="line ${colour}" points="${one.points.map(at).join(" ")}"/>`);
    const y = bottom + 40 + 18 * i;
    parts.push(`<g class="${colour}">${text({ x: left, y, style: "key", words: one.title })}</g>`);
  }
  return svg(title, { height: bottom + 40 + 18 * series.length, parts });
}

function barsOf({ key }: Measure, cases: readonly CaseResult[]): readonly Bar[] {
  return cases.flatMap(({ title, ours, figures }) => {
    const summary = figures[key];
    return summary === undefined ? [] : [{ label: title, ours, summary }];
  });
}

function headOf({ title, unit, better }: Measure): string {
  const name = unit === "" ? title : `${title}, ${unit}`;
  return better === undefined ? name : `${name} (${better} is better)`;
}

function drawBar(
  { label, ours, summary }: Bar,
  { y, scale, digits }: { readonly y: number; readonly scale: number; readonly digits: number },
): readonly string[] {
  const left = MARGIN + LABEL_WIDTH;
  const room = WIDTH - left - VALUE_WIDTH - MARGIN;
  const x = (value: number): number =>
    round(left + (scale > 0 ? Math.max(0, value) / scale * room : 0));
  const middle = y + BAR_HEIGHT / 2;
  const style = ours ? "ours" : "theirs";
  const width = round(x(summary.median) - left);
  const spread = `x1="${x(summary.min)}" y1="${middle}" x2="${x(summary.max)}" y2="${middle}"`;
  return [
    text({ x: MARGIN, y: y + 11, style: "text", words: label }),
    `<rect class="${style}" x="${left}" y="${y}" width="${width}" height="${BAR_HEIGHT}"/>`,
    ...(summary.runs.length > 1 ? [`<line class="spread" ${spread}/>`] : []),
    text({
      x: x(Math.max(summary.max, summary.median)) + 8,
      y: y + 11,
      style: "text",
      words: formatSummary(summary, digits),
    }),
  ];
}

function svg(
  title: string,
  { height, parts }: { readonly height: number; readonly parts: readonly string[] },
): string {
  const size = `width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}"`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img">`,
    `<title>${escape(title)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect class="page" width="${WIDTH}" height="${height}" rx="8"/>`,
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

function text(
  { x, y, style, words }: {
    readonly x: number;
    readonly y: number;
    readonly style: string;
    readonly words: string;
  },
): string {
  return `<text class="${style}" x="${x}" y="${y}">${escape(words)}</text>`;
}

function escape(words: string): string {
  return words.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
