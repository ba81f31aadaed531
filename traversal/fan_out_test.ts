import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { FanOut } from "./fan_out.ts";

Deno.test("FanOut repeats an initiation as often as it may, and makes fresh ones ever more slowly", () => {
  const fanOut = new FanOut(at(0));
  fanOut.start(at(0));
  const sent = run(fanOut, 0, 12_000);
  assertEquals(sent.map(({ at }) => at), [0, 200, 500, 1000, 2000, 7000, 12_000]);
  assertEquals(sent.map(({ fresh }) => fresh), [true, false, true, false, true, true, true]);
});

Deno.test("FanOut gives every initiation of a window the time of two round trips", () => {
  const fanOut = new FanOut(at(0));
  fanOut.punch(at(0), 30_000);
  const fresh = run(fanOut, 0, 30_000).filter(({ fresh }) => fresh).map(({ at }) => at);
  assertEquals(fresh.slice(0, 6), [0, 500, 1500, 3500, 7500, 11_500]);
});

Deno.test("FanOut lets every second fresh initiation of a window go past the neighbours, with its repetitions, and no other", () => {
  const fanOut = new FanOut(at(0));
  fanOut.start(at(0));
  assertEquals(run(fanOut, 0, 12_000).filter(({ past }) => past), []);
  fanOut.rest();
  fanOut.punch(at(20_000), 4_000);
  const sent = run(fanOut, 20_000, 24_000).filter(({ past }) => past).map(({ at }) => at);
  assertEquals(sent, [20_500, 20_750, 21_000, 21_250, 23_500, 23_750, 24_000]);
});

Deno.test("FanOut begins afresh when it is started again", () => {
  const fanOut = new FanOut(at(0));
  fanOut.start(at(0));
  run(fanOut, 0, 20_000);
  fanOut.start(at(20_100));
  assertEquals(run(fanOut, 20_100, 20_700).map(({ fresh }) => fresh), [true, false, true]);
});

Deno.test("FanOut lets one fresh initiation in two seconds go out beside the schedule", () => {
  const fanOut = new FanOut(at(0));
  assertEquals(fanOut.beside(at(0)), true);
  assertEquals(fanOut.beside(at(1999)), false);
  assertEquals(fanOut.beside(at(2000)), true);
  fanOut.start(at(2010));
  assertEquals(run(fanOut, 2010, 2060), [{ at: 2050, fresh: true, past: false }]);
});

Deno.test("FanOut and a guess make fresh initiations in turns, and FanOut goes on alone if the guess makes none", () => {
  const fanOut = new FanOut(at(0));
  fanOut.share(true);
  fanOut.punch(at(0), 12_000);
  const sent = run(fanOut, 0, 900);
  assertEquals(sent.map(({ fresh }) => fresh), [true, false, false, false]);
  assertEquals(fanOut.beside(at(999)), false);
  assertEquals(fanOut.beside(at(1_000)), true, "a second after the other's");
  assertEquals(fanOut.beside(at(2_500)), false, "it is not its turn");
  const next = run(fanOut, 1_250, 12_000).filter(({ fresh }) => fresh).map(({ at }) => at);
  assertEquals(next, [1_500, 5_500, 9_500]);
  fanOut.share(false);
  assertEquals(fanOut.beside(at(11_400)), false, "as without a guess under way");
});

Deno.test("FanOut rests for good, or lets an open window run on", () => {
  const fanOut = new FanOut(at(0));
  fanOut.start(at(0));
  fanOut.punch(at(0), 600);
  fanOut.calm();
  assertEquals(run(fanOut, 0, 9_000).map(({ at }) => at), [0, 250, 500]);
  fanOut.start(at(9_000));
  fanOut.rest();
  assertEquals([run(fanOut, 9_000, 99_000), fanOut.running], [[], false]);
});

Deno.test("FanOut grants ten restarts at once and one in 6 s, and counts the others", () => {
  const fanOut = new FanOut(at(0));
  let granted = 0;
  for (let ms = 0; ms < 60_000; ms += 100) if (fanOut.restart(at(ms))) granted++;
  assertEquals([granted, fanOut.refused], [19, 581]);
});

function run(
  fanOut: FanOut,
  from: number,
  until: number,
): { at: number; fresh: boolean; past: boolean }[] {
  const sent: { at: number; fresh: boolean; past: boolean }[] = [];
  for (let now = from; now <= until;) {
    fanOut.handleTimeout(at(now));
    const due = fanOut.poll();
    if (due !== undefined) sent.push({ at: now, ...due });
    const next = fanOut.dueAt();
    if (next === undefined) break;
    now = next;
  }
  return sent;
}

function at(ms: number): Instant {
  return ms as Instant;
}
