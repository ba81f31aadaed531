/** Where a Discovery keeps its registrations, as a flag says it. @module */
import type { Value } from "./values.ts";

/** A SQLite file, `:memory:`, or a PostgreSQL database, whose URL may hold a password. */
export const STORE: Value<string> = {
  metavar: "STORE",
  expected: "a file, :memory:, or a URL like postgres://USER:PASSWORD@db.example.com/moray",
  secret: true,
  completes: "file",
  parse(input): string | undefined {
    if (input.trim() === "") return undefined;
    if (!/^postgres(ql)?:/i.test(input)) return input;
    const url = /^postgres(ql)?:\/\//i.test(input) ? URL.parse(input) : null;
    return url !== null && url.hostname !== "" && /^\/[^/]+$/.test(url.pathname)
      ? input
      : undefined;
  },
};
