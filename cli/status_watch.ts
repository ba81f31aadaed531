/** `moray status --watch`: the state of a node for as long as somebody looks. Pure but for what it is given. @module */
import type { NodeStatus } from "../agent/mod.ts";

/** How long a state is shown at most before it is asked for again: counters move, paths are told at once. */
const REFRESH_MS = 1000;
/** Home, and nothing below: what is there is written over, so that it does not flicker. */
const HOME = "\x1b[H";
const CLEAR_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";
const CLEAR = "\x1b[2J";
/** Long lines are cut at the right edge, so that a frame has as many rows as lines. */
const CUT = "\x1b[?7l";
const WRAP = "\x1b[?7h";

/** What {@linkcode watchStatus} needs. */
export interface WatchOptions {
  /** The state now. */
  readonly status: () => Promise<NodeStatus>;
  /** The state when a path has changed, or after as many milliseconds. */
  readonly nextStatus: (timeoutMs: number) => Promise<NodeStatus>;
  /** Shows a state, which differs from the one before in more than what only counts where `steady`. */
  readonly show: (status: NodeStatus) => void;
  /** Whether only what changed is shown: for pipes and for programs. */
  readonly steady: boolean;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** Shows the state of a node until `signal`. Rejects as `status` does, with `closed` when the node ends. */
export async function watchStatus(
  { status, nextStatus, show, steady, signal }: WatchOptions,
): Promise<void> {
  let shown: string | undefined;
  const aborted = new Promise<undefined>((resolve) => {
    if (signal.aborted) resolve(undefined);
    signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
  for (let asked = status();; asked = nextStatus(REFRESH_MS)) {
    const now = await Promise.race([asked, aborted]);
    if (now === undefined) {
      // Its answer is for nobody.
      asked.catch(() => {});
      return;
    }
    const text = steadyText(now);
    if (steady && text === shown) continue;
    shown = text;
    show(now);
  }
}

/** A status as a frame that takes the whole terminal, cut to its size. */
export function formatFrame(text: string, rows: number, first: boolean): string {
  const lines = text.trimEnd().split("\n").slice(0, Math.max(1, rows - 1));
  const body = lines.map((line) => `${line}${CLEAR_LINE}\n`).join("");
  return `${CUT}${first ? CLEAR : ""}${HOME}${body}${CLEAR_BELOW}${WRAP}`;
}

/** What of a status changes all the time. */
const MOVING: ReadonlySet<string> = new Set([
  "rxBytes",
  "txBytes",
  "rttMs",
  "lastHandshakeAt",
  "lifetimeSeconds",
  "counters",
  "refused",
]);

function steadyText(status: NodeStatus): string {
  return JSON.stringify(status, (key, value: unknown) => MOVING.has(key) ? undefined : value);
}
