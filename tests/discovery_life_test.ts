/** A day of Discovery, compressed: what the store holds when everybody has left. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { HOUR_MS, live } from "./support/discovery_life.ts";
import { say } from "./support/say.ts";
import { e2e } from "./support/scope.ts";

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
    restartMs: 3 * HOUR_MS,
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
