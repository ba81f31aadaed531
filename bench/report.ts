/**
 * `deno task bench:report`: writes the tables and pictures of `docs/performance.md` from the results in `bench/results/`,
 * and keeps those results beside the pictures. A benchmark without a result keeps its part as it is.
 *
 * @module
 */
import { ROOT } from "../tests/support/needs.ts";
import { say } from "../tests/support/say.ts";
import { replacePart, section } from "./page.ts";
import { barChart, lineChart } from "./plot.ts";
import type { BenchmarkResult } from "./result.ts";

/** Every benchmark of the page, in the order of the page and of `deno task bench:all`. */
export const BENCHMARKS = [
  "tunnel",
  "profile",
  "udp",
  "links",
  "untuned",
  "fairness",
  "stun",
  "discovery",
  "relay",
  "start",
  "soak",
  "paths",
] as const;

const PAGE = `${ROOT}docs/performance.md`;
/** Beside the page. */
const FOLDER = "benchmarks";

/** Rewrites the page and returns the names of the benchmarks that had a result. */
export async function writeReport(): Promise<readonly string[]> {
  let page = await Deno.readTextFile(PAGE);
  await Deno.mkdir(`${ROOT}docs/${FOLDER}`, { recursive: true });
  const written: string[] = [];
  for (const name of BENCHMARKS) {
    const text = await readIfThere(`${ROOT}bench/results/${name}.json`);
    if (text === undefined) continue;
    const result = JSON.parse(text) as BenchmarkResult;
    const paths = await draw(result);
    const data = `${FOLDER}/${name}.json`;
    await Deno.writeTextFile(`${ROOT}docs/${data}`, text);
    page = replacePart(page, name, section(result, { paths, data }));
    written.push(name);
  }
  await Deno.writeTextFile(PAGE, page);
  return written;
}

async function draw(result: BenchmarkResult): Promise<readonly string[]> {
  const { benchmark, title, series, axes = { x: "min", y: "MiB" } } = result;
  const pictures = [
    { path: `${FOLDER}/${benchmark}-time.svg`, svg: lineChart(title, { series, axes }) },
    { path: `${FOLDER}/${benchmark}.svg`, svg: barChart(result) },
  ];
  const paths: string[] = [];
  for (const { path, svg } of pictures) {
    if (svg === undefined) continue;
    await Deno.writeTextFile(`${ROOT}docs/${path}`, svg);
    paths.push(path);
  }
  return paths;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

if (import.meta.main) {
  const written = await writeReport();
  say(written.length === 0 ? "There are no results" : `docs/performance.md: ${written.join(", ")}`);
}
