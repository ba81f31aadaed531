import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { countTests, formatCounts } from "./junit.ts";

Deno.test("countTests tells passed, failed and skipped apart, whatever stands in a message", () => {
  const report = `<testsuites><testsuite name="./a_test.ts" tests="5" disabled="1" failures="2">
    <testcase name="ok" time="0.024" line="1">
    </testcase>
    <testcase name="short"/>
    <testcase name="skip"><skipped/></testcase>
    <testcase name="bad"><failure message="Uncaught">at &lt;testcase&gt; <![CDATA[x]]></failure>
    </testcase>
    <testcase name="worse"><error message="leak"/></testcase>
    </testsuite></testsuites>`;
  assertEquals(countTests(report), { passed: 2, failed: 2, skipped: 1 });
  assertEquals(formatCounts(countTests(report)), "2 passed, 2 failed, 1 skipped");
  assertEquals(countTests(""), { passed: 0, failed: 0, skipped: 0 });
});
