import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import { type ErrorCode, MorayError } from "../core/mod.ts";
import { errorFrom, EXIT_CODES, exitStatusOf } from "./exit_codes.ts";

/** The contract: programs test these numbers. */
const CONTRACT: Readonly<Record<ErrorCode, number>> = {
  usage: 2,
  config: 3,
  key: 4,
  portInUse: 5,
  permission: 6,
  unreachable: 7,
  refused: 8,
  timedOut: 9,
  corrupt: 10,
  diskFull: 11,
  unsupported: 12,
  limit: 13,
  closed: 14,
  internal: 70,
};

Deno.test("every error code has its exit status, and no two share one", () => {
  for (const [code, status] of Object.entries(CONTRACT)) {
    assertEquals(exitStatusOf(code as ErrorCode), status, code);
  }
  const statuses = EXIT_CODES.map((row) => row.status);
  assertEquals(statuses, [...new Set(statuses)].sort((a, b) => a - b));
  assertEquals(statuses.length, Object.keys(CONTRACT).length + 1);
  for (const row of EXIT_CODES) ok(row.meaning.endsWith("."), row.meaning);
});

Deno.test("errorFrom tells the system's refusals from our own faults", () => {
  const own = new MorayError("key", "no key");
  assertEquals(errorFrom(own), own);
  assertEquals(errorFrom(new Deno.errors.AddrInUse("in use")).code, "portInUse");
  assertEquals(errorFrom(new Deno.errors.PermissionDenied("no")).code, "permission");
  assertEquals(
    errorFrom(new Error("No space left on device (os error 28)")).code,
    "diskFull",
  );
  assertEquals(errorFrom(new TypeError("x is not a function")).code, "internal");
  assertEquals(errorFrom("odd").message, "odd");
});
