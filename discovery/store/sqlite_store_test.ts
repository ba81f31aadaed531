import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
  throws as assertThrows,
} from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { agent, colony, key } from "../testing/nodes.ts";
import { testStore } from "../testing/store_contract.ts";
import { MIGRATIONS, SCHEMA_VERSION } from "./migrations/mod.ts";
import { SqliteStore } from "./sqlite_store.ts";

const NOW = 1_700_000_000_000;
const OPTIONS = { now: NOW, ttlMs: 300_000 };

testStore("SqliteStore in memory", (limits) => SqliteStore.open(":memory:", limits));
testStore("SqliteStore in a file", async (limits) => {
  const folder = await Deno.makeTempDir();
  const store = SqliteStore.open(`${folder}/discovery.db`, limits);
  const close = store.close.bind(store);
  let removed = false;
  store.close = async () => {
    await close();
    if (!removed) await Deno.remove(folder, { recursive: true });
    removed = true;
  };
  return store;
});

function fileTest(behaviour: string, body: (path: string) => Promise<void>): void {
  Deno.test(`SqliteStore ${behaviour}`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      await body(`${folder}/discovery.db`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

fileTest("keeps registrations across a restart, in a file for its owner only", async (path) => {
  const first = SqliteStore.open(path);
  await first.register(colony(), OPTIONS);
  await first.close();
  if (Deno.build.os !== "windows") assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
  const second = SqliteStore.open(path);
  assertEquals((await second.colony("reef", NOW))?.publicKey, key(1));
  await second.close();
});

fileTest("brings a database of schema 1 forward with all that is in it", async (path) => {
  const [first] = MIGRATIONS;
  const old = new DatabaseSync(path);
  old.exec(first?.sql ?? "");
  old.exec("PRAGMA application_id = 0x6d6f7279");
  old.exec("PRAGMA user_version = 1");
  const { publicKey } = colony();
  old.prepare(`INSERT INTO nodes VALUES (${"?, ".repeat(17)}?)`).run(
    ...["reef", publicKey, 1, "", "colony", '["192.0.2.1:51820"]', "[]", 1, "10.42.0.1", ""],
    ...[9000, 0, "", "{}", NOW, NOW, NOW + 300_000, NOW],
  );
  old.close();
  const store = SqliteStore.open(path);
  const found = await store.colony("reef", NOW);
  assertEquals([found?.publicKey, found?.noRelay, found?.generation], [publicKey, false, NOW]);
  const request = { meshId: "reef", publicKey, agentKey: "", colonyKey: publicKey };
  const opened = await store.openSession({ ...request, sessionId: "s", relayId: "eu" }, OPTIONS);
  assertEquals(opened.kind, "opened");
  await store.close();

  // And what was written stays after the next start.
  const again = SqliteStore.open(path);
  assertEquals(await again.sessionCount(NOW), 1);
  await again.close();
});

fileTest("survives the loss of its process in mid-write", async (path) => {
  const first = SqliteStore.open(path);
  await first.register(colony(), OPTIONS);
  // The files as they lie on disk while the store is open are what kill -9 leaves.
  const copy = `${path}.copy`;
  for (const suffix of ["", "-wal"]) await Deno.copyFile(path + suffix, copy + suffix);
  await first.close();
  const second = SqliteStore.open(copy);
  assertEquals((await second.colony("reef", NOW))?.publicKey, key(1));
  await second.close();
});

fileTest("is one process's alone", async (path) => {
  const first = SqliteStore.open(path);
  await first.register(colony(), OPTIONS);
  assertThrows(() => SqliteStore.open(path), {
    code: "refused",
    message: `The database ${path} is in use by another process`,
  });
  await first.close();
});

fileTest("refuses a file that is no database and leaves it untouched", async (path) => {
  const text = "not a database, but long enough to look like one\n".repeat(100);
  await Deno.writeTextFile(path, text);
  assertThrows(() => SqliteStore.open(path), { code: "corrupt", message: /left untouched/ });
  assertEquals(await Deno.readTextFile(path), text);
});

fileTest("refuses a damaged database and leaves it untouched", async (path) => {
  const store = SqliteStore.open(path);
  for (let seed = 2; seed < 200; seed++) await store.register(agent(seed), OPTIONS);
  await store.close();
  const bytes = await Deno.readFile(path);
  bytes.fill(0x5a, 4096 * 2, 4096 * 4);
  await Deno.writeFile(path, bytes);
  assertThrows(() => SqliteStore.open(path), { code: "corrupt", message: /damaged.*untouched/ });
  assertEquals(await Deno.readFile(path), bytes);
});

fileTest("refuses a cut-off database", async (path) => {
  const store = SqliteStore.open(path);
  for (let seed = 2; seed < 200; seed++) await store.register(agent(seed), OPTIONS);
  await store.close();
  await Deno.truncate(path, 4096 * 3 + 100);
  assertThrows(() => SqliteStore.open(path), { code: "corrupt", message: /untouched/ });
});

fileTest("refuses a newer database and somebody else's", async (path) => {
  await SqliteStore.open(path).close();
  const database = new DatabaseSync(path);
  database.exec("PRAGMA user_version = 99");
  database.close();
  const before = await Deno.readFile(path);
  assertThrows(() => SqliteStore.open(path), {
    code: "corrupt",
    message: new RegExp(
      `newer version \\(schema 99, this program knows ${SCHEMA_VERSION}\\); it was left untouched`,
    ),
  });
  assertEquals(await Deno.readFile(path), before);

  const other = new DatabaseSync(`${path}.other`);
  other.exec("CREATE TABLE bookmarks (url TEXT)");
  other.close();
  assertThrows(() => SqliteStore.open(`${path}.other`), {
    code: "corrupt",
    message: /is not a Discovery database; it was left untouched/,
  });
});

fileTest("says what is wrong with the path", async (path) => {
  assertThrows(() => SqliteStore.open(`${path}/none/x.db`), {
    code: "usage",
    message: /the folder .* does not exist/,
  });
  await Deno.mkdir(path);
  assertThrows(() => SqliteStore.open(path), { code: "usage", message: /not a file/ });
});

fileTest("opens an empty file as a new database", async (path) => {
  await Deno.writeTextFile(path, "");
  const store = SqliteStore.open(path);
  await store.register(colony(), OPTIONS);
  await store.close();
});

fileTest(
  "loses no refresh or id that it took together with others when the disk is full",
  async (path) => {
    const store = SqliteStore.open(path, { bytesMax: 160 * 1024 });
    await store.register(colony(), OPTIONS);
    const ids = Array.from({ length: 4000 }, (_, i) => `${i} ${"x".repeat(60)}`);
    const outcomes = await Promise.allSettled(ids.map((id) => store.spend(id, NOW + 1)));
    const failed = outcomes.filter(({ status }) => status === "rejected");
    assert(failed.length > 0);
    for (const one of failed) {
      assertEquals((one as PromiseRejectedResult).reason.code, "diskFull");
    }
    const kept = ids.filter((_, i) => outcomes[i]?.status === "fulfilled");
    await store.register(colony(), { ...OPTIONS, now: NOW + 1000 });
    await store.close();
    const again = SqliteStore.open(path);
    assertEquals((await again.colony("reef", NOW + 1000))?.lastSeenAt, NOW + 1000);
    for (const id of kept) assertEquals(await again.spend(id, NOW + 1), "reused");
    await again.close();
  },
);

fileTest("says that the disk is full, loses nothing, and goes on", async (path) => {
  const store = SqliteStore.open(path, { bytesMax: 128 * 1024 });
  await store.register(colony(), OPTIONS);
  let stored = 0;
  await assertRejects(async () => {
    for (let seed = 2; seed < 250; seed++) {
      await store.register(agent(seed, { metadata: { filler: "x".repeat(1000) } }), OPTIONS);
      stored++;
    }
  }, { code: "diskFull", message: `Cannot write the database ${path}: disk is full` });
  assert(stored > 5 && stored < 100);
  assertEquals((await store.agents("reef", NOW)).length, stored);
  assertEquals((await store.colony("reef", NOW))?.publicKey, key(1));
  for (let seed = 2; seed < 6; seed++) {
    await store.remove({ meshId: "reef", publicKey: key(seed) }, "agent");
  }
  await store.register(agent(251), OPTIONS);
  await store.close();
  const again = SqliteStore.open(path);
  assertEquals((await again.agents("reef", NOW)).length, stored - 3);
  await again.close();
});
