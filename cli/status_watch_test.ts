import { deepStrictEqual as assertEquals, rejects } from "node:assert/strict";
import type { NodeStatus } from "../agent/mod.ts";
import { MorayError } from "../core/mod.ts";
import { formatFrame, watchStatus } from "./status_watch.ts";

/** A status with a counter that moves and a name that does not. */
function statusOf(name: string, drops: number): NodeStatus {
  return { node: { name }, counters: { drops }, peers: [] } as unknown as NodeStatus;
}

/** Plays states, then ends as `end` says. Returns what was shown. */
async function play(
  states: readonly NodeStatus[],
  { steady, end }: { steady: boolean; end: "abort" | "closed" },
): Promise<NodeStatus[]> {
  const shown: NodeStatus[] = [];
  const stop = new AbortController();
  let at = 0;
  const next = (): Promise<NodeStatus> => {
    const state = states[at++];
    if (state !== undefined) return Promise.resolve(state);
    if (end === "closed") return Promise.reject(new MorayError("closed", "The node has ended"));
    stop.abort();
    return new Promise(() => {});
  };
  const show = (status: NodeStatus): void => void shown.push(status);
  await watchStatus({ status: next, nextStatus: next, show, steady, signal: stop.signal });
  return shown;
}

const [a1, a2, b2, a3] = [
  statusOf("a", 1),
  statusOf("a", 2),
  statusOf("b", 2),
  statusOf("a", 3),
];

Deno.test("a pipe gets what has changed, a terminal everything", async () => {
  const states = [a1, a2, b2, b2, a3];
  assertEquals(await play(states, { steady: true, end: "abort" }), [a1, b2, a3]);
  assertEquals(await play(states, { steady: false, end: "abort" }), states);
});

Deno.test("the end of the node is an error, that of the watcher is not", async () => {
  await rejects(play([a1], { steady: true, end: "closed" }), { code: "closed" });
  assertEquals(await play([], { steady: true, end: "abort" }), []);
});

const CUT = "\x1b[?7l";
const WRAP = "\x1b[?7h";

Deno.test("a frame writes over the one before and fits the terminal", () => {
  assertEquals(
    formatFrame("a\nb\n", 24, true),
    `${CUT}\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J${WRAP}`,
  );
  assertEquals(formatFrame("a\nb\nc\n", 3, false), `${CUT}\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J${WRAP}`);
});
