import { deepStrictEqual as assertEquals, ok, throws } from "node:assert/strict";
import { resolveSettings } from "./settings.ts";
import { DISCOVERY_SERVICE } from "./parameters.ts";
import { STORE } from "./store_value.ts";

Deno.test("STORE takes files, :memory: and PostgreSQL databases", () => {
  const good = [
    ":memory:",
    "a.sqlite",
    "/var/lib/moray/db",
    "postgres://u:p@h/db",
    "postgresql://h:1/d?sslmode=require",
  ];
  for (const text of good) assertEquals(STORE.parse(text), text);
  for (
    const text of ["", " ", "postgres://", "postgres://h", "postgres:db", "postgres://u:p@h:x/db"]
  ) {
    assertEquals(STORE.parse(text), undefined, text);
  }
});

Deno.test("a bad --store is an error that does not repeat its password", () => {
  const { store } = DISCOVERY_SERVICE;
  const flags = { store: "postgres://anna:hunter2@db" };
  throws(
    () => resolveSettings({ store }, { flags, env: () => undefined }),
    ({ message }: Error) => {
      ok(message.startsWith("--store: "), message);
      ok(!message.includes("hunter2"), message);
      return true;
    },
  );
});
