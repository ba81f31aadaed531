import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { MorayError } from "../core/mod.ts";
import { formatError } from "./error_line.ts";
import { createLog } from "./log.ts";
import { columns, formatAge, formatBytes, formatMs, painter, printable } from "./text_format.ts";

const plain = painter(false);

Deno.test("printable leaves nothing that a terminal obeys, on one line", () => {
  assertEquals(printable("a\n  b\r\nc"), "a; b; c");
  assertEquals(printable("\x1b[31mred\x07\u202e\u2028"), "?[31mred???");
  assertEquals(printable("réef ✓"), "réef ✓");
});

Deno.test("columns align by what is seen, not by colour", () => {
  const paint = painter(true);
  assertEquals(columns([["A", "B"], [paint("red", "long"), "x"], ["b", ""]]), [
    "A     B",
    `${paint("red", "long")}  x`,
    "b",
  ]);
});

Deno.test("sizes, times and ages have one form each", () => {
  const bytes = [0, 1023, 1024, 1536, 67108864, 1024 ** 2 - 1, 5e18].map(formatBytes);
  assertEquals(bytes, [
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.5 KiB",
    "64.0 MiB",
    "1.0 MiB",
    "4440.9 PiB",
  ]);
  const times = [0, 0.4, 9.994, 9.999, 12.34, 99.96, 340.2, 999.4, 999.9, 2500].map(formatMs);
  assertEquals(times, [
    "0.00 ms",
    "0.40 ms",
    "9.99 ms",
    "10.0 ms",
    "12.3 ms",
    "100 ms",
    "340 ms",
    "999 ms",
    "1.00 s",
    "2.50 s",
  ]);
  const ages = [0, 1000, 119_000, 120_000, 7_199_000, 7_200_000, 172_800_000].map(formatAge);
  assertEquals(ages, [
    "now",
    "1 s ago",
    "119 s ago",
    "2 min ago",
    "119 min ago",
    "2 h ago",
    "2 d ago",
  ]);
});

Deno.test("an error is one line, and its stack follows at debug", () => {
  const cause = new Error("beneath");
  const error = new MorayError("portInUse", "Cannot bind UDP port 1:\n  in use", cause);
  assertEquals(
    formatError(error, { paint: plain, debug: false }),
    "moray: Cannot bind UDP port 1:; in use",
  );
  assertEquals(
    formatError(error, { paint: painter(true), debug: false }),
    "\x1b[31mmoray:\x1b[0m Cannot bind UDP port 1:; in use",
  );
  const [first, ...stack] = formatError(error, { paint: plain, debug: true }).split("\n");
  assertEquals(first, "moray: Cannot bind UDP port 1:; in use");
  assertEquals(stack.some((line) => line.includes("text_format_test.ts")), true);
  assertEquals(stack.some((line) => line.startsWith("Caused by: Error: beneath")), true);
});

Deno.test("an internal error says that it is a bug", () => {
  const line = formatError(new MorayError("internal", "x"), { paint: plain, debug: false });
  assertEquals(/^moray: x \(this is a bug: please report it.*\)$/.test(line), true, line);
});

Deno.test("a log line has time, level, message and fields, whatever they hold", () => {
  const lines: string[] = [];
  const now = () => new Date(2025, 0, 2, 3, 4, 5);
  const log = createLog("info", { write: (line) => void lines.push(line), paint: plain, now });
  log("debug", "unseen");
  log("info", "peer up", { name: "colony", rtt: 1.5, relayed: false, relay: null });
  log("error", "bad\nline", { text: 'a "b"\n=c', empty: "" });
  assertEquals(lines, [
    "03:04:05 info peer up name=colony rtt=1.5 relayed=false relay=null",
    '03:04:05 error bad; line text="a \\"b\\"; =c" empty=""',
  ]);
});
