/** A service's counters for Prometheus, on a listener of their own. @module */
import { formatSocketAddress, type SocketAddress } from "../core/mod.ts";
import { fromSystem } from "./errors.ts";

/** What counters are called. */
export interface MetricNames {
  /** What every name begins with: `moray_relay`. */
  readonly prefix: string;
  /** Counters that go up and down; every other only grows. */
  readonly gauges: ReadonlySet<string>;
  /** What counters mean, by name without a kind, each on one line. @default none is explained */
  readonly help?: Readonly<Record<string, string>>;
}

/** A metrics endpoint. */
export interface MetricsServer {
  /** Where it listens, with the port that the system chose. */
  readonly address: SocketAddress;
  /** Closes it. */
  close(): Promise<void>;
}

/** Serves `GET /metrics`. Throws `portInUse`, `permission` or `usage`. */
export function serveMetrics(
  listen: SocketAddress,
  { counters, ...names }: MetricNames & {
    /** The counters by name. */
    readonly counters: () => Readonly<Record<string, number>>;
  },
): MetricsServer {
  try {
    const server = Deno.serve({ ...listen, onListen: () => {} }, (request) => {
      if (new URL(request.url).pathname !== "/metrics") {
        return new Response("not found\n", { status: 404 });
      }
      const headers = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
      return new Response(formatMetrics(counters(), names), { headers });
    });
    return {
      address: { ...listen, port: server.addr.port },
      close: () => server.shutdown(),
    };
  } catch (error) {
    throw fromSystem(error, `listen on TCP ${formatSocketAddress(listen)}`);
  }
}

/**
 * Formats counters as Prometheus reads them: `refused:401` becomes `moray_relay_refused_total{kind="401"}`. Names are ours, so nothing
 * in them needs escaping.
 */
export function formatMetrics(
  counters: Readonly<Record<string, number>>,
  { prefix, gauges, help = {} }: MetricNames,
): string {
  const families = new Map<string, string[]>();
  for (const [name, value] of Object.entries(counters).sort(([a], [b]) => a < b ? -1 : 1)) {
    const [family = "", kind] = name.split(":");
    const isGauge = gauges.has(family);
    const words = family.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const metric = `${prefix}_${words}${isGauge ? "" : "_total"}`;
    const meaning = help[family];
    const lines = families.get(metric) ?? [
      ...meaning === undefined ? [] : [`# HELP ${metric} ${meaning}`],
      `# TYPE ${metric} ${isGauge ? "gauge" : "counter"}`,
    ];
    lines.push(`${metric}${kind === undefined ? "" : `{kind="${kind}"}`} ${value}`);
    families.set(metric, lines);
  }
  return [...families.values()].flat().map((line) => `${line}\n`).join("");
}
