/** The NAT laboratory measured with coturn's tools: a test behind a NAT means something only if the NAT is exact. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { run } from "./child.ts";
import { ROOT } from "./needs.ts";
import { e2e } from "./scope.ts";

for (
  const [phase, what] of [
    ["types", "every site type maps, filters and blocks as its name says"],
    ["behave", "timeouts, hairpins, fragments, ICMP, roams and moves are exact"],
  ] as const
) {
  e2e(
    `natlab: ${what}`,
    { needs: ["full", "natlab", "turnserver"], timeoutMs: 150_000 },
    async () => {
      const { code, stdout, stderr } = await run(
        ["python3", `${ROOT}tests/natlab/verify.py`, phase],
        { timeoutMs: 140_000 },
      );
      assertEquals(code, 0, stdout + stderr);
      assert(stdout.split("\n").filter((line) => /^ {2}ok /.test(line)).length > 15, stdout);
    },
  );
}
