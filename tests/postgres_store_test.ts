import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { PostgresStore } from "../discovery/store/postgres_store.ts";
import { parsePostgresUrl, type PostgresUrl } from "../discovery/store/postgres_url.ts";
import type { StoreEvent } from "../discovery/store/store.ts";
import { agent, colony, key } from "../discovery/testing/nodes.ts";
import { testStore } from "../discovery/testing/store_contract.ts";
import { unmet } from "./support/needs.ts";
import { PostgresServer } from "./support/postgres.ts";
import { say } from "./support/say.ts";
import { eventually, within } from "./support/scope.ts";

const NOW = 1_700_000_000_000;
const OPTIONS = { now: NOW, ttlMs: 300_000 };
const LOG = { log: (): void => {} };

let server: PostgresServer;
const reason = unmet(["full", "postgres"]);

function test(behaviour: string, fn: () => Promise<void>): void {
  Deno.test({ name: `PostgresStore ${behaviour}`, ignore: reason !== undefined, fn });
}

if (reason === undefined) {
  Deno.test.beforeAll(async () => {
    server = await PostgresServer.start();
  });
  Deno.test.afterAll(() => server[Symbol.asyncDispose]());
  testStore(
    "PostgresStore",
    async (limits) => await PostgresStore.open(await freshUrl(), { ...LOG, ...limits }),
  );
} else say(`skipped: PostgresStore: ${reason}`);

async function freshUrl(): Promise<PostgresUrl> {
  return asUrl(await server.createDatabase());
}

function asUrl(text: string): PostgresUrl {
  const url = parsePostgresUrl(text);
  assert(url !== undefined, text);
  return url;
}

/** A replica of a store, and what it is told. */
class Replica implements AsyncDisposable {
  readonly store: PostgresStore;
  readonly told: string[] = [];

  private constructor(store: PostgresStore) {
    this.store = store;
    store.listen((event) => this.told.push(shown(event)));
  }

  static async open(url: PostgresUrl): Promise<Replica> {
    return new Replica(await PostgresStore.open(url, LOG));
  }

  async heard(text: string): Promise<void> {
    await eventually(
      `to hear ${text}; heard ${this.told}`,
      () => this.told.includes(text) || undefined,
      { everyMs: 10 },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store.close();
  }
}

function shown(event: StoreEvent): string {
  if (event.kind === "gap") return "gap";
  if (event.kind === "said") return `said ${event.text}`;
  return `${event.kind} ${atob(event.change.publicKey).charCodeAt(0)}`;
}

test("shows a replica what another one registers and removes, and tells it, in the same order", async () => {
  const url = await freshUrl();
  await using a = await Replica.open(url);
  await using b = await Replica.open(url);
  await a.store.register(colony(), OPTIONS);
  await b.store.register(agent(2), OPTIONS);
  assertEquals((await b.store.colony("reef", NOW))?.publicKey, key(1));
  assertEquals((await a.store.agents("reef", NOW)).map((r) => r.publicKey), [key(2)]);
  await b.store.remove({ meshId: "reef", publicKey: key(1) }, "colony");
  await a.store.say("end");
  for (const replica of [a, b]) {
    await replica.heard("said end");
    assertEquals(replica.told, ["upserted 1", "upserted 2", "removed 1", "said end"]);
  }
});

test("lets one of two replicas that register different colonies at once have the mesh", async () => {
  const url = await freshUrl();
  await using a = await Replica.open(url);
  await using b = await Replica.open(url);
  for (let round = 0; round < 20; round++) {
    const meshId = `m${round}`;
    const outcomes = await Promise.all([
      a.store.register(colony({ meshId }), OPTIONS),
      b.store.register(colony({ meshId, publicKey: key(9) }), OPTIONS),
    ]);
    assertEquals(outcomes.map(({ kind }) => kind).sort(), ["held", "registered"]);
  }
});

test("keeps the limit of a mesh when replicas fill it together", async () => {
  const url = await freshUrl();
  const limits = { ...LOG, nodesPerMeshMax: 10 };
  await using a = await PostgresStore.open(url, limits).then(disposable);
  await using b = await PostgresStore.open(url, limits).then(disposable);
  const outcomes = await Promise.all(
    Array.from(
      { length: 30 },
      (_, i) => (i % 2 === 0 ? a : b).store.register(agent(i + 2), OPTIONS),
    ),
  );
  assertEquals(outcomes.filter(({ kind }) => kind === "registered").length, 10);
  assertEquals((await a.store.agents("reef", NOW)).length, 10);
});

test("sweeps each expired registration once, whichever replica is faster", async () => {
  const url = await freshUrl();
  await using a = await Replica.open(url);
  await using b = await Replica.open(url);
  for (let seed = 2; seed < 102; seed++) await a.store.register(agent(seed), OPTIONS);
  const late = NOW + OPTIONS.ttlMs;
  const swept = (await Promise.all([a.store.sweep(late, 500), b.store.sweep(late, 500)])).flat();
  assertEquals(swept.length, 100);
  await a.store.say("end");
  await b.heard("said end");
  assertEquals(b.told.filter((text) => text.startsWith("removed")).length, 100);
});

test("keeps registrations over a restart of the database, and says that something may be missed", async () => {
  const url = await freshUrl();
  await using a = await Replica.open(url);
  await a.store.register(colony(), OPTIONS);
  // synchronous_commit is off: what was written is on its way to the disk for a moment.
  await server.query(url.secret, "CHECKPOINT");
  await server.stop();
  await assertRejects(a.store.colony("reef", NOW), {
    code: "unreachable",
    message: shownOnly(url),
  });
  await server.resume();
  const found = await eventually(
    "the database to be back",
    () => a.store.colony("reef", NOW).catch(() => undefined),
  );
  assertEquals(found.publicKey, key(1));
  await a.heard("gap");
  await a.store.register(agent(2), OPTIONS);
  await a.heard("upserted 2");
});

/** Columns, rows and version of everything in a database, as text. */
async function contents(url: PostgresUrl): Promise<string> {
  const rows = await server.query(
    url.secret,
    `SELECT table_name, column_name, data_type FROM information_schema.columns
      WHERE table_schema = 'public' ORDER BY 1, 2`,
  );
  const schema = rows.some((row) => row["table_name"] === "moray_schema")
    ? await server.query(url.secret, "SELECT * FROM moray_schema")
    : [];
  return JSON.stringify([rows, schema]);
}

test("refuses a newer, a damaged and a foreign database in one line and leaves it untouched", async () => {
  const faults = [
    ["UPDATE moray_schema SET version = 99", /newer version \(schema 99, this program knows \d+\)/],
    ["DELETE FROM moray_schema", /is damaged \(it does not say its version\)/],
    ["ALTER TABLE nodes DROP COLUMN nat", /is damaged \(its tables are not those of schema \d+\)/],
    ["DROP TABLE peer_sessions", /is damaged \(its tables are not those of schema/],
    ["DROP TABLE moray_schema", /is not a Discovery database: it has a table nodes of its own/],
  ] as const;
  for (const [fault, message] of faults) {
    const url = await freshUrl();
    await (await PostgresStore.open(url, LOG)).close();
    await server.query(url.secret, fault);
    const before = await contents(url);
    await assertRejects(PostgresStore.open(url, LOG), (error: Error & { code?: string }) => {
      assertEquals(error.code, "corrupt");
      assert(message.test(error.message), error.message);
      assert(/; it was left untouched$/.test(error.message), error.message);
      assert(!/\n/.test(error.message) && shownOnly(url).test(error.message), error.message);
      return true;
    });
    assertEquals(await contents(url), before, fault);
  }
});

test("says what is wrong with the database in one line, without a secret", async () => {
  const url = await freshUrl();
  const faults = [
    [url.secret.replace("correct", "wrong"), "permission", /password authentication failed/],
    [url.secret.replace(/test\d+$/, "nowhere"), "usage", /database "nowhere" does not exist/],
    [url.secret.replace(`:${server.port}/`, ":1/"), "unreachable", /Cannot reach the database/],
  ] as const;
  for (const [text, code, message] of faults) {
    await assertRejects(
      PostgresStore.open(asUrl(text), LOG),
      (error: Error & { code?: string }) => {
        assertEquals(error.code, code, error.message);
        assert(message.test(error.message), error.message);
        assert(!/horse|\n/.test(error.message), error.message);
        return true;
      },
    );
  }
});

test("goes by the database's clock", async () => {
  const store = await PostgresStore.open(await freshUrl(), LOG);
  // The same machine: what is measured is the way to it.
  assert(Math.abs(store.clockAheadMs) < 1000, String(store.clockAheadMs));
  await within(2000, "close", store.close());
});

function disposable<T extends { close(): Promise<void> }>(
  store: T,
): { store: T } & AsyncDisposable {
  return { store, [Symbol.asyncDispose]: () => store.close() };
}

/** A message that names the database by what may be shown. */
function shownOnly({ shown }: PostgresUrl): RegExp {
  return new RegExp(shown.replaceAll(/[/.]/g, "\\$&"));
}
