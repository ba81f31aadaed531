/**
 * A day of Discovery in a process of its own, whose memory is the service's: prints what each hour left, then the report, as JSON.
 *
 * `deno run -A --v8-flags=--expose-gc tests/support/discovery_life_main.ts '{"store":":memory:","nodes":100,...}'`
 *
 * @module
 */
import { type LifeOptions, live } from "./discovery_life.ts";
import { say } from "./say.ts";

/** Bytes that JavaScript holds, after the garbage has gone, and what it holds outside its heap. */
function heldBytes(): number {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

if (import.meta.main) {
  const options = JSON.parse(Deno.args[0] ?? "{}") as Omit<LifeOptions, "onHour">;
  const report = await live({
    ...options,
    onHour: (hour) =>
      say(JSON.stringify({ hour, held: heldBytes(), resident: Deno.memoryUsage().rss })),
  });
  say(JSON.stringify(report));
}
