import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { postgresSql, tablesOf } from "./dialect.ts";
import { MIGRATIONS } from "./mod.ts";

Deno.test("postgresSql gives every column a type of PostgreSQL", () => {
  const sql = "CREATE TABLE t (\n  a TEXT NOT NULL,\n  b INTEGER,\n  c BLOB\n) STRICT;";
  const expected = 'CREATE TABLE t (\n  a TEXT COLLATE "C" NOT NULL,\n  b BIGINT,\n  c BYTEA\n);';
  assertEquals(postgresSql(sql), expected);
});

Deno.test("tablesOf finds the tables of every migration", () => {
  const tables = MIGRATIONS.flatMap(({ sql }) => tablesOf(sql));
  assertEquals(tables.slice(0, 2), ["nodes", "peer_sessions"]);
  const created = MIGRATIONS.flatMap(({ sql }) => sql.match(/CREATE\s+TABLE/gi) ?? []);
  assertEquals(tables.length, created.length);
});
