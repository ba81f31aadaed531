/** Databases as earlier versions left them: brought forward with all their rows, or refused byte for byte as they were. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
  throws as assertThrows,
} from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { EARLIER, LATER, NOW, type Row, rowsUpTo } from "../testing/earlier_rows.ts";
import { agent, colony, key } from "../testing/nodes.ts";
import { MIGRATIONS, SCHEMA_VERSION } from "./migrations/mod.ts";
import { SqliteStore } from "./sqlite_store.ts";

/** Makes a database as the program of that schema did. Returns its rows by table. */
function leaveBehind(path: string, version: number): ReadonlyMap<string, readonly Row[]> {
  using database = new DatabaseSync(path);
  for (const step of MIGRATIONS) if (step.version <= version) database.exec(step.sql);
  database.exec("PRAGMA application_id = 0x6d6f7279");
  database.exec(`PRAGMA user_version = ${version}`);
  for (const [table, row] of rowsUpTo(version)) {
    const names = Object.keys(row);
    const marks = names.map(() => "?").join(", ");
    database.prepare(`INSERT INTO ${table} (${names.join(", ")}) VALUES (${marks})`)
      .run(...Object.values(row));
  }
  return contents(database);
}

function contents(database: DatabaseSync): ReadonlyMap<string, readonly Row[]> {
  const tables = database.prepare(
    "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name",
  );
  return new Map(
    tables.all().map(({ name }) => [
      String(name),
      database.prepare(`SELECT * FROM ${name} ORDER BY 1, 2`).all() as Row[],
    ]),
  );
}

async function inFolder(body: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(`${folder}/discovery.db`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("every schema but the last has rows here", () => {
  for (const version of EARLIER) {
    const before = EARLIER.filter((it) => it < version).at(-1) ?? 0;
    assert(rowsUpTo(version).length > rowsUpTo(before).length, `schema ${version}`);
  }
});

for (const version of EARLIER) {
  Deno.test(`SqliteStore brings a database of schema ${version} forward with every row`, () =>
    inFolder(async (path) => {
      const before = leaveBehind(path, version);
      const store = SqliteStore.open(path);
      assertEquals((await store.colony("reef", NOW))?.publicKey, key(1));
      const agents = await store.agents("reef", NOW);
      assertEquals(agents.length, (before.get("nodes")?.length ?? 0) - 1);
      const [first] = agents;
      assertEquals(first?.metadata, { site: "home" });
      assertEquals(await store.sessionCount(NOW), version >= 5 ? 1 : 0);
      if (version >= 6) {
        const kept = await store.secret("proof", new Uint8Array(32).fill(6));
        assertEquals(kept, new Uint8Array(32).fill(5));
        assertEquals(await store.spend("proof x", LATER), "reused");
      }
      const registered = await store.register(agent(20), { now: NOW, ttlMs: 300_000 });
      assertEquals(registered.kind, "registered");
      await store.remove({ meshId: "reef", publicKey: key(20) }, "agent");
      await store.close();

      // Every row is there with every value; columns and tables may have been added.
      using database = new DatabaseSync(path, { readOnly: true });
      const after = contents(database);
      for (const [table, rows] of before) {
        const found = after.get(table) ?? [];
        const old = found.map((row) =>
          Object.fromEntries(Object.keys(rows[0] ?? {}).map((name) => [name, row[name]]))
        );
        assertEquals(old, rows.map((row) => ({ ...row })), table);
      }
      assertEquals({ ...database.prepare("PRAGMA user_version").get() }, {
        user_version: SCHEMA_VERSION,
      });
    }));
}

Deno.test("SqliteStore leaves what it refuses byte for byte as it was", () =>
  inFolder(async (path) => {
    const store = SqliteStore.open(path);
    await store.register(colony(), { now: NOW, ttlMs: 300_000 });
    for (let seed = 2; seed < 100; seed++) {
      await store.register(agent(seed), { now: NOW, ttlMs: 300_000 });
    }
    await store.close();
    const sound = await Deno.readFile(path);
    const newer = sound.slice();
    new DataView(newer.buffer).setUint32(60, SCHEMA_VERSION + 1);
    const foreign = sound.slice();
    new DataView(foreign.buffer).setUint32(68, 0);
    const damaged = sound.slice();
    damaged.fill(0x5a, 4096, 4096 * 3);
    const faults: readonly (readonly [Uint8Array, RegExp])[] = [
      [newer, /is of a newer version \(schema \d+, this program knows \d+\)/],
      [foreign, /is not a Discovery database/],
      [damaged, /is damaged/],
      [sound.slice(0, 4096 * 3 + 100), /is damaged/],
      [sound.slice(0, 4096), /is damaged/],
    ];
    for (const [bytes, message] of faults) {
      await Deno.writeFile(path, bytes);
      assertThrows(() => SqliteStore.open(path), (error: Error & { code?: string }) => {
        assertEquals(error.code, "corrupt");
        assertMatch(error.message, message);
        assertMatch(error.message, /; it was left untouched$/);
        assert(!error.message.includes("\n"), error.message);
        return true;
      });
      assertEquals(await Deno.readFile(path), bytes);
      // Readers of a WAL database leave its log behind: with nothing in it.
      assertEquals((await Deno.stat(`${path}-wal`)).size, 0);
      for (const suffix of ["-wal", "-shm"]) await Deno.remove(path + suffix);
    }
    await Deno.writeFile(path, sound);
    const again = SqliteStore.open(path);
    assertEquals((await again.agents("reef", NOW)).length, 98);
    await again.close();
  }));
