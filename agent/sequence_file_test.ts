import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { openSequences, SEQUENCE_FILE } from "./sequence_file.ts";

Deno.test("the sequence of a node's record is kept in a private file, whose absence or damage is no error", async () => {
  const state = await Deno.makeTempDir();
  try {
    const warnings: string[] = [];
    const log = (level: string, message: string): void =>
      void (level === "warn" && warnings.push(message));
    const first = await openSequences({ state, log });
    assertEquals(first.last, 0);
    await first.keep(1_800_000_000_001);
    await first.keep(1_800_000_000_002);
    assertEquals((await openSequences({ state, log })).last, 1_800_000_000_002);
    const path = `${state}/${SEQUENCE_FILE}`;
    const { mode } = await Deno.stat(path);
    if (Deno.build.os !== "windows") assertEquals((mode ?? 0) & 0o777, 0o600);
    assertEquals(warnings, []);
    for (const text of ["", "x", "-1", "1.5", "9".repeat(16), "1\n2", "7".repeat(100)]) {
      warnings.length = 0;
      await Deno.writeTextFile(path, text);
      assertEquals((await openSequences({ state, log })).last, 0, text);
    }
    assertEquals(warnings.length, 0, "too long to be read is as absent");
    await (await openSequences({ state: `${state}/absent`, log })).keep(1);
    assertEquals(warnings.length, 1);
  } finally {
    await Deno.remove(state, { recursive: true });
  }
});
