import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { isPostgresUrl, parsePostgresUrl } from "./postgres_url.ts";

Deno.test("parsePostgresUrl shows neither user nor password nor parameters", () => {
  const secret = "postgres://anna:hunter2@db.example.com:5433/reef?sslmode=require&password=other";
  assertEquals(parsePostgresUrl(secret), { secret, shown: "postgres://db.example.com:5433/reef" });
  const short = "postgresql://[::1]/reef";
  assertEquals(parsePostgresUrl(short), { secret: short, shown: "postgres://[::1]/reef" });
});

Deno.test("parsePostgresUrl refuses what names no database", () => {
  for (
    const text of [
      "postgres://",
      "postgres:///reef",
      "postgres://host",
      "postgres://host/",
      "postgres:reef",
    ]
  ) {
    assertEquals([parsePostgresUrl(text), isPostgresUrl(text)], [undefined, true], text);
  }
  for (const text of ["mysql://host/db", "postgres.sqlite", ":memory:"]) {
    assertEquals([parsePostgresUrl(text), isPostgresUrl(text)], [undefined, false], text);
  }
});
