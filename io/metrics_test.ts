import assert from "node:assert/strict";
import { formatMetrics } from "./metrics.ts";

Deno.test("formatMetrics tells gauges from counters and kinds of one counter together", () => {
  const text = formatMetrics({
    "refused:401": 3,
    "refused:437": 1,
    streamsHalfOpen: 2,
    malformed: 5,
  }, {
    prefix: "moray_relay",
    gauges: new Set(["streamsHalfOpen"]),
    help: { malformed: "What is none." },
  });
  assert.equal(
    text,
    `# HELP moray_relay_malformed_total What is none.
# TYPE moray_relay_malformed_total counter
moray_relay_malformed_total 5
# TYPE moray_relay_refused_total counter
moray_relay_refused_total{kind="401"} 3
moray_relay_refused_total{kind="437"} 1
# TYPE moray_relay_streams_half_open gauge
moray_relay_streams_half_open 2
`,
  );
});
