import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { cleanMappings, IdleMemory } from "./memory.ts";

/** An entry as the kernel writes it, shortened to what stands around the lines that count. */
function entry(
  range: string,
  flags: string,
  own: { anonymous?: number; swap?: number } = {},
): string {
  return [
    `${range} ${flags} 00000000 fe:00 9978991                    /opt/a+b/moray`,
    "Rss:               18680 kB",
    `Anonymous:      ${own.anonymous ?? 0} kB`,
    "AnonHugePages:         0 kB",
    `Swap:                  ${own.swap ?? 0} kB`,
    "SwapPss:               0 kB",
    "VmFlags: rd mr mw me",
    "",
  ].join("\n");
}

const HEAP =
  "55bf623e2000-55bf627d8000 rw-p 00000000 00:00 0     [heap]\nAnonymous: 0 kB\nSwap: 0 kB\nVmFlags: rd\n";

Deno.test("cleanMappings finds code and constants of the program, and nothing else", () => {
  const smaps = HEAP + entry("5584aeb82000-5584b1135000", "r--p") +
    entry("5584b1136000-5584b45fa000", "r-xp") + HEAP +
    entry("5584b47e2000-5584b47f2000", "rw-p") + entry("5584b47f2000-5584b47f3000", "r--s");
  assertEquals(cleanMappings(smaps, "/opt/a+b/moray"), [
    { address: 0x5584aeb82000n, bytes: 0x25b3000n },
    { address: 0x5584b1136000n, bytes: 0x34c4000n },
  ]);
  assertEquals(cleanMappings(smaps, "/opt/a+b/mora"), []);
  assertEquals(cleanMappings(smaps, "/opt/aab/moray"), []);
});

Deno.test("cleanMappings leaves alone what the linker has written to, in memory or swapped out", () => {
  const relocated = entry("5584b45fa000-5584b47e2000", "r--p", { anonymous: 4 }) +
    entry("5584b45fa000-5584b47e2000", "r--p", { swap: 4 });
  assertEquals(cleanMappings(relocated, "/opt/a+b/moray"), []);
});

Deno.test("cleanMappings leaves alone what V8 maps for a thread and takes away with it", () => {
  const smaps = entry("5584b1136000-5584b45fa000", "r-xp") +
    entry("7f1ce4c00000-7f1ce4e19000", "r-xp");
  assertEquals(cleanMappings(smaps, "/opt/a+b/moray").length, 1);
});

Deno.test("cleanMappings leaves alone what the kernel says nothing of", () => {
  const silent = entry("5584b45fa000-5584b47e2000", "r--p").replace(/^Swap:.*\n/m, "");
  assertEquals(cleanMappings(silent, "/opt/a+b/moray"), []);
});

Deno.test({
  name: "IdleMemory gives back pages of the running program, which goes on",
  ignore: Deno.build.os !== "linux",
  fn: () => {
    // The third word: resident pages of files.
    const fromFile = (): number => Number(Deno.readTextFileSync("/proc/self/statm").split(" ")[2]);
    using memory = IdleMemory.find();
    // A system without glibc has none.
    if (memory === undefined) return;
    const before = fromFile();
    memory.release();
    const after = fromFile();
    assert(after < before / 2, `${before} pages before, ${after} after`);
    memory.release();
    assertEquals([..."abc"].map((letter) => letter.toUpperCase()).join(""), "ABC");
  },
});
