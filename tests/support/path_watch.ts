/**
 * What a colony and an agent carry and which paths they take while something happens to the network between them.
 *
 * ```ts ignore
 * const watch = await PathWatch.start(scope, { lab, colony, agent, colonyHost: "c1", agentHost: "a1" });
 * await lab.ctl("a", "flush");
 * const resumed = await watch.resumed(wallMs(), { timeoutMs: 10_000 });   // milliseconds until each kind of traffic
 * ```
 *
 * @module
 */
import { messageOf } from "../../core/mod.ts";
import { Child } from "./child.ts";
import type { LabNode } from "./nat_mesh.ts";
import type { Lab } from "./natlab.ts";
import { ROOT } from "./needs.ts";
import { eventually, type Scope } from "./scope.ts";

/** One end of the watched path. */
export interface WatchedEnd {
  /** Its process. */
  readonly node: LabNode;
  /** What it calls the other end. */
  readonly peer: string;
}

/** A path at one end, as its status says it. */
export interface SeenPath {
  /** When it was first seen, wall clock in milliseconds. */
  readonly at: number;
  /** `KIND REMOTE`, or what went wrong when it was asked for. */
  readonly path: string;
}

/** Milliseconds from a moment until something arrived that left after it. */
export interface Resumed {
  /** An ICMP echo through the tunnel. */
  readonly ping: number;
  /** A message of the interactive TCP stream came back. */
  readonly interactive: number;
  /** The running transfer went on by more than what may have been under way at that moment. */
  readonly bulk: number;
}

const PROBE = `${ROOT}tests/support/stream_probe.ts`;
/** The mesh port of the colony that leads to the probe's server. */
const MESH_PORT = 7000;
const ASK_EVERY_MS = 100;
/** Round trips take 80 ms in the labs, and as much again in queues. */
const PING_MS_MAX = 500;
const FLOW_MS_MAX = 20_000;
/** More than the queues of a lab with narrow links hold. */
const UNDER_WAY_BYTES = 512 << 10;

/** Flags of a colony whose streams can be watched; `server` is the probe's. */
export function colonyFlags(server: string): readonly string[] {
  return ["--expose", `${MESH_PORT}:${server}`];
}

/** Flags of an agent whose streams can be watched. */
export const AGENT_FLAGS: readonly string[] = ["--forward", `127.0.0.1:0:colony:${MESH_PORT}`];

/** Starts the server of the streams on a host and returns its address. */
export async function startProbeServer(
  scope: Scope,
  { lab, host }: { readonly lab: Lab; readonly host: string },
): Promise<string> {
  const child = lab.spawn(host, [Deno.execPath(), "run", "-A", PROBE, "serve", "127.0.0.1:0"]);
  scope.use(child);
  return (await child.line(/^ready tcp=/)).slice("ready tcp=".length);
}

/** A running watch. */
export class PathWatch implements AsyncDisposable {
  /** What each end said of its path, a new entry for each change. */
  readonly paths: { readonly colony: SeenPath[]; readonly agent: SeenPath[] } = {
    colony: [],
    agent: [],
  };
  readonly #ends: { readonly colony: WatchedEnd; readonly agent: WatchedEnd };
  readonly #probe: Child;
  /** The pings that were answered. */
  readonly #pings: { readonly sentAt: number; readonly receivedAt: number }[] = [];
  readonly #running: Promise<void>[];
  #ended = false;

  private constructor(
    ends: { readonly colony: WatchedEnd; readonly agent: WatchedEnd },
    probe: Child,
  ) {
    this.#ends = ends;
    this.#probe = probe;
    this.#running = [
      this.#watchPath("colony"),
      this.#watchPath("agent"),
      this.#watchPings(),
    ];
  }

  /** Opens the streams from the agent's host and waits until both flow. */
  static async start(
    scope: Scope,
    { lab, agentHost, ...ends }: {
      readonly lab: Lab;
      readonly agentHost: string;
      readonly colony: WatchedEnd;
      readonly agent: WatchedEnd;
    },
  ): Promise<PathWatch> {
    const forward = ends.agent.node.process.address("forward");
    const probe = scope.use(
      lab.spawn(agentHost, [Deno.execPath(), "run", "-A", PROBE, "watch", forward]),
    );
    await probe.line(/^bulk /, FLOW_MS_MAX);
    await probe.line(/^echo /, FLOW_MS_MAX);
    const watch = scope.use(new PathWatch(ends, probe));
    await eventually(
      "both ends to say their paths",
      () => watch.paths.colony.length > 0 && watch.paths.agent.length > 0 ? true : undefined,
    );
    return watch;
  }

  /** Why a stream is over; `undefined` while both live. */
  get broken(): string | undefined {
    const line = this.#probe.log.split("\n").find((line) => line.startsWith("failed "));
    return line ?? (this.#probe.ended ? "the probe ended" : undefined);
  }

  /**
   * Waits until each kind of traffic that left after `since` has arrived; what has not when time is up is `Infinity`.
   */
  async resumed(since: number, { timeoutMs }: { readonly timeoutMs: number }): Promise<Resumed> {
    let seen = this.#seen(since);
    await eventually("traffic", () => {
      seen = this.#seen(since);
      const all = Math.max(seen.ping, seen.interactive, seen.bulk) < Infinity;
      return all || this.broken !== undefined ? true : undefined;
    }, { timeoutMs }).catch(() => {});
    return seen;
  }

  /** The longest time without a byte of the transfer between two moments, in milliseconds. */
  longestSilence(from: number, to: number): number {
    const times = this.#lines("bulk").map(([at = 0]) => at).filter((at) => at > from && at < to);
    return [...times, to].reduce(
      ({ last, longest }, at) => ({ last: at, longest: Math.max(longest, at - last) }),
      { last: from, longest: 0 },
    ).longest;
  }

  /** How often the remote address of an end's path changed after a moment; being without a path is no change. */
  changesSince(end: "colony" | "agent", since: number): number {
    const seen = this.paths[end].filter(({ path }) => path.startsWith("direct"));
    const before = seen.findLast(({ at }) => at <= since);
    const after = seen.filter(({ at }) => at > since);
    let current = before?.path;
    let changes = 0;
    for (const { path } of after) {
      if (path !== current) changes++;
      current = path;
    }
    return changes;
  }

  /** What happened after a moment, for people. */
  story(since: number): string {
    const seconds = (at: number): string => `${((at - since) / 1000).toFixed(1)} s`;
    return (["colony", "agent"] as const).map((end) => {
      const seen = this.paths[end];
      const start = Math.max(0, seen.findLastIndex(({ at }) => at <= since));
      return `${end}: ${
        seen.slice(start).map(({ at, path }) => `${seconds(at)} ${path}`).join(", ")
      }`;
    }).join("\n");
  }

  /** Ends the watch; the nodes go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    await Promise.all(this.#running);
  }

  #seen(since: number): Resumed {
    const bulk = this.#lines("bulk");
    const before = bulk.findLast(([at = 0]) => at <= since)?.[1] ?? 0;
    const first = (times: readonly number[]): number => (times[0] ?? Infinity) - since;
    return {
      ping: first(this.#pings.filter(({ sentAt }) => sentAt >= since).map((p) => p.receivedAt)),
      interactive: first(
        this.#lines("echo").filter(([sentAt = 0]) => sentAt >= since).map(([, at = 0]) => at),
      ),
      bulk: first(
        bulk.filter(([at = 0, bytes = 0]) => at > since && bytes >= before + UNDER_WAY_BYTES)
          .map(([at = 0]) => at),
      ),
    };
  }

  #lines(kind: "bulk" | "echo"): number[][] {
    return this.#probe.log.split("\n").filter((line) => line.startsWith(`${kind} `))
      .map((line) => line.split(" ").slice(1).map(Number));
  }

  async #watchPath(end: "colony" | "agent"): Promise<void> {
    const { node, peer } = this.#ends[end];
    const seen = this.paths[end];
    while (!this.#ended) {
      const path = await node.path(peer).then(
        (path) => path === undefined ? "unknown peer" : `${path.kind} ${path.remote ?? ""}`.trim(),
        (error) => `asked in vain: ${messageOf(error)}`,
      );
      if (seen.at(-1)?.path !== path) seen.push({ at: wallMs(), path });
      await pause(ASK_EVERY_MS);
    }
  }

  async #watchPings(): Promise<void> {
    const { node, peer } = this.#ends.agent;
    let own = await node.connect();
    while (!this.#ended) {
      const sentAt = wallMs();
      try {
        const { rttMs } = await own.ping(peer, { sequence: 1, timeoutMs: PING_MS_MAX });
        if (rttMs !== null) this.#pings.push({ sentAt, receivedAt: wallMs() });
      } catch {
        // A node that is stopped does not answer, and its connection is over then.
        own[Symbol.dispose]();
        own = await node.connect().catch(() => own);
      }
      await pause(ASK_EVERY_MS);
    }
    own[Symbol.dispose]();
  }
}

/** The wall clock in milliseconds, finer than `Date.now()`. */
export function wallMs(): number {
  return performance.timeOrigin + performance.now();
}

function pause(ms: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, ms));
}
