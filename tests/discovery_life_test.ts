/** A day of Discovery, compressed: what the store holds when everybody has left, and what the service held meanwhile. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { must } from "./support/child.ts";
import { HOUR_MS, type LifeReport, live } from "./support/discovery_life.ts";
import { type Need, ROOT } from "./support/needs.ts";
import { PostgresServer } from "./support/postgres.ts";
import { say } from "./support/say.ts";
import { e2e, type Scope } from "./support/scope.ts";

const NODES = 50;
/** The plateau: nonces are spent and forgotten, and the first expiries are over. */
const SETTLED_HOURS = 8;

e2e("after a day of churn, expiry and restarts the store is empty, and its file has not grown", {
  timeoutMs: 120_000,
}, async (scope) => {
  const store = `${scope.directory()}/discovery.db`;
  const pages: number[] = [];
  const report = await live({
    store,
    nodes: NODES,
    hours: 24,
    ttlMs: HOUR_MS / 2,
    churn: 0.05,
    restartHours: [3, 6, 9, 12, 15, 18, 21],
    onHour: () => void pages.push(pagesOf(store)),
  });
  say(`${report.calls} calls of ${report.nodes} nodes, ${report.starts} starts`);
  assert(report.nodes > 2 * NODES, `${report.nodes} nodes`);
  assert(report.starts >= 8, `${report.starts} starts`);
  using database = new DatabaseSync(store, { readOnly: true });
  const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all();
  const rows: Record<string, number> = {};
  for (const { name } of tables) {
    const { n } = database.prepare(`SELECT count(*) AS n FROM "${name}"`).get() as { n: number };
    if (n > 0) rows[String(name)] = n;
  }
  // The server keeps its key.
  assertEquals(rows, { secrets: 1 });
  const early = Math.max(...pages.slice(0, SETTLED_HOURS));
  const last = Math.max(...pages.slice(SETTLED_HOURS));
  assert(last <= early * 1.05, `the database grew from ${early} to ${last} pages`);
});

/** A day in a process of its own. */
interface Day {
  readonly title: string;
  readonly nodes: number;
  readonly ttlMs: number;
  readonly needs: readonly Need[];
  readonly timeoutMs: number;
}

const DAYS: readonly Day[] = [
  {
    title: "of 200 nodes",
    nodes: 200,
    ttlMs: 2 * HOUR_MS,
    needs: ["full"],
    timeoutMs: 180_000,
  },
  {
    title: "of 10,000 nodes",
    nodes: 10_000,
    ttlMs: 6 * HOUR_MS,
    needs: ["full", "long"],
    timeoutMs: 3_000_000,
  },
];

/** The service is started again early in a day only: a start gives back what has been lost until then. */
const RESTART_HOURS = [1, 2, 3];
/** Hours whose memory is the measure for those after them: all that is bounded by time is full by then. */
const EARLY = { from: 8, to: 15 };
/** How much more may be held later. */
const GROWTH = 1.05;

for (const day of DAYS) {
  const { title, needs, timeoutMs } = day;
  e2e(`a day ${title} on SQLite leaves no row, and the service's memory flat`, {
    needs,
    timeoutMs,
  }, async (scope) => {
    const store = `${scope.directory()}/discovery.db`;
    await liveAlone(scope, store, day);
    using database = new DatabaseSync(store, { readOnly: true });
    const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all();
    const rows = tables.map(({ name }) => {
      const { n } = database.prepare(`SELECT count(*) AS n FROM "${name}"`).get() as { n: number };
      return [String(name), n] as const;
    });
    assertEquals(Object.fromEntries(rows.filter(([, n]) => n > 0)), { secrets: 1 });
  });
  e2e(`a day ${title} on PostgreSQL leaves no row, and the service's memory flat`, {
    needs: [...needs, "postgres"],
    timeoutMs,
  }, async (scope) => {
    const server = scope.use(await PostgresServer.start());
    const store = await server.createDatabase();
    await liveAlone(scope, store, day);
    const name = store.slice(store.lastIndexOf("/") + 1);
    const counted = await server.query(
      name,
      `SELECT table_name AS name, (xpath('/row/n/text()', query_to_xml(
          format('SELECT count(*) AS n FROM %I', table_name), true, true, '')))[1]::text::int AS n
        FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name`,
    );
    const rows = counted.map(({ name, n }) => [String(name), Number(n)] as const);
    assertEquals(Object.fromEntries(rows.filter(([, n]) => n > 0)), {
      moray_schema: 1,
      secrets: 1,
    });
  });
}

/** Lives a day, and holds the memory of it to its bound. */
async function liveAlone(scope: Scope, store: string, day: Day): Promise<void> {
  const { nodes, ttlMs, timeoutMs } = day;
  const options = { store, nodes, ttlMs, restartHours: RESTART_HOURS, hours: 24, churn: 0.05 };
  const script = `${ROOT}tests/support/discovery_life_main.ts`;
  const command = [Deno.execPath(), "run", "-A", "--v8-flags=--expose-gc", script];
  const output = await must([...command, JSON.stringify(options)], { cwd: ROOT, timeoutMs });
  scope.explain(() => Promise.resolve(output));
  const lines = output.trim().split("\n").map((line) => JSON.parse(line));
  const report = lines.pop() as LifeReport;
  const held = (lines as { held: number; resident: number }[]).map(({ held }) => held / 2 ** 20);
  // The last line is of a day later, when nobody is left.
  const early = Math.max(...held.slice(EARLY.from, EARLY.to));
  const late = Math.max(...held.slice(EARLY.to, -1));
  const [from, to, end] = [early, late, held.at(-1) ?? NaN].map((mib) => mib.toFixed(1));
  const { calls, starts } = report;
  say(`${calls} calls of ${report.nodes} nodes, ${starts} starts: ${from} MiB, then ${to} MiB`);
  say(`${end} MiB when all have left`);
  assert(report.nodes > nodes, `${report.nodes} nodes`);
  assert(late <= early * GROWTH, `memory grew from ${from} to ${to} MiB`);
}

/**
 * Pages of the database as it is now, those in its log too: how long the file is says only when the log was last written into it. The
 * service has the file for itself, so a copy is read.
 */
function pagesOf(store: string): number {
  const copy = `${store}.copy`;
  Deno.copyFileSync(store, copy);
  Deno.copyFileSync(`${store}-wal`, `${copy}-wal`);
  try {
    using database = new DatabaseSync(copy);
    return Number(database.prepare("PRAGMA page_count").get()?.["page_count"]);
  } finally {
    // Its log went when it was closed.
    Deno.removeSync(copy);
  }
}
