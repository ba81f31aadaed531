import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import type { DemoResult } from "./demo_run.ts";
import { formatDemoResult, formatDemoStep, formatDemoUse } from "./demo_view.ts";
import { painter } from "./text_format.ts";

const paint = painter(false);

const RESULT: DemoResult = {
  path: { kind: "direct", remote: "127.0.0.1:40112", relay: null, rttMs: 0.42, mtu: 1420 },
  page: "Hello\n\na longer line\n",
  url: "http://colony/",
  socks5: "127.0.0.1:1080",
  web: "127.0.0.1:3000",
  agentState: "/tmp/demo/agent",
  colonyState: "/tmp/demo/colony",
};

Deno.test("the steps of the demo align", () => {
  const lines = [
    { title: "Start Discovery with STUN", detail: "http://127.0.0.1:40001", ms: 0.38 },
    { title: "Start node colony, expose the page", detail: "10.42.0.1", ms: 1234 },
  ].map((step) => formatDemoStep(step, { paint }));
  for (const line of lines) {
    ok(/^ {2}✓ .* (0\.38 ms|1\.23 s)\n$/.test(line), line);
    assertEquals([...line].length, [...lines[0] ?? ""].length);
  }
});

Deno.test("the demo shows the path and frames the page that it fetched", () => {
  const text = formatDemoResult(RESULT, 512, { paint });
  ok(text.includes("The path:  direct 127.0.0.1:40112, round trip 0.42 ms\n"), text);
  ok(text.includes("│ Hello         │\n    │               │\n    │ a longer line │\n"), text);
  ok(text.includes("Done in 512 ms"), text);
});

Deno.test("a demo that is kept says how to use it", () => {
  const text = formatDemoUse(RESULT, { paint, program: "moray" });
  ok(text.includes("curl --socks5-hostname 127.0.0.1:1080 http://colony/\n"), text);
  ok(text.includes("moray status --state /tmp/demo/agent\n"), text);
  ok(text.includes("moray ping colony --state /tmp/demo/agent\n"), text);
});
