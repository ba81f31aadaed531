/** Agents that start behind NATs again and again, and how soon each has a path to its colony. @module */
import { messageOf } from "../../core/mod.ts";
import type { NodeHandle } from "../../agent/status.ts";
import { connectLocalApi } from "../../agent/local_api.ts";
import { Child, type Output, run } from "../../tests/support/child.ts";
import { startWebServer } from "../../tests/support/http.ts";
import { type NatWorld, nodeArguments, startNatWorld } from "../../tests/support/nat_mesh.ts";
import { Lab } from "../../tests/support/natlab.ts";
import type { Program } from "../../tests/support/moray.ts";
import type { Scope } from "../../tests/support/scope.ts";
import { built } from "../peers/cache.ts";
import { nativeProgram } from "../peers/programs.ts";

/** Types of the colony's and the agent's NAT, in natlab's words. */
export type NatPair = readonly [colony: string, agent: string];

/** What became of one start. */
export interface Trial {
  /** From the start of the agent's process to the first byte of an answer through the tunnel; `undefined` for never. */
  readonly firstByteMs: number | undefined;
  /** From the agent's first word about itself, when it has no path, to one of the kind that is waited for; `undefined` for never. */
  readonly pathMs: number | undefined;
}

/** A lab in which agents can start. */
export interface TrialLab {
  /** Starts an agent that has never been there before, and watches it until all is measured or time is up. */
  trial(pair: NatPair): Promise<Trial>;
}

/** A way from an agent to its colony that a trial waits for. */
export type Way = "direct" | "relayed";

/** When a trial is over, come what may. */
export const TRIAL_MS_MAX = 15_000;
/** One-way delay of each site's link. */
const DELAY = "20ms";
const WEB_PORT = 8080;
const RELAY_PORT = 3480;
/** Every agent's, in a namespace that only one uses at a time. */
const FORWARD_PORT = 18_080;
/** How often a question is repeated: what the times are exact to. */
const ASK_EVERY_MS = 5;

/** Builds a lab with a colony behind each type of NAT that a pair wants. */
export async function openTrials(
  scope: Scope,
  { program, pairs, way = "direct" }: {
    readonly program: Program;
    readonly pairs: readonly NatPair[];
    /** What to wait for; `relayed` gives Discovery a relay. @default "direct" */
    readonly way?: Way;
  },
): Promise<TrialLab> {
  const colonies = [...new Set(pairs.map(([colony]) => colony))];
  const agents = [...new Set(pairs.map(([, agent]) => agent))];
  const sites = [
    ...colonies.map((type) => `c${type.slice(0, 8)}=${type},delay=${DELAY}`),
    ...agents.map((type) => `a${type.slice(0, 8)}=${type},delay=${DELAY}`),
  ];
  const lab = scope.use(await Lab.up("trials", { sites }));
  const world = await startNatWorld(scope, {
    lab,
    program,
    discoveryFlags: way === "relayed" ? relayFlags(lab.address("disco", 4)) : [],
  });
  for (const type of colonies) await openColony(scope, { lab, world, type });
  const watch = await built(await nativeProgram("start_time"));
  return { trial: (pair) => tryOnce({ lab, program, watch, pair, way }) };
}

function relayFlags(address: string): readonly string[] {
  return ["--relay", "--relay-listen", `${address}:${RELAY_PORT}`, "--relay-external-ip", address];
}

async function openColony(
  scope: Scope,
  { lab, world, type }: {
    readonly lab: Lab;
    readonly world: NatWorld;
    readonly type: string;
  },
): Promise<void> {
  const host = `c${type.slice(0, 8)}1`;
  const web = await startWebServer(scope, { namespace: lab.namespace(host) });
  const flags = ["--expose", `${WEB_PORT}:${web}`];
  await world.start("colony", { mesh: type, host, flags });
}

async function tryOnce(
  { lab, program, watch, pair: [colony, agent], way }: {
    readonly lab: Lab;
    readonly program: Program;
    /** Path of the native program that waits for a byte. */
    readonly watch: string;
    readonly pair: NatPair;
    readonly way: Way;
  },
): Promise<Trial> {
  const host = `a${agent.slice(0, 8)}1`;
  const namespace = lab.namespace(host);
  const state = await Deno.makeTempDir({ prefix: "moray-trial-" });
  const flags = ["--forward", `127.0.0.1:${FORWARD_PORT}:colony:${WEB_PORT}`];
  const args = nodeArguments(lab, { role: "agent", mesh: colony, name: "walker", state, flags });
  const byte = run([watch, "byte", `${FORWARD_PORT}`], { namespace, timeoutMs: TRIAL_MS_MAX })
    .catch(() => undefined);
  const startedAt = performance.timeOrigin + performance.now();
  try {
    await using child = new Child([...program.command, ...args], { ...program.options, namespace });
    const [output, pathMs] = await Promise.all([byte, untilPath(child, state, way)]);
    const atMs = atMsOf(output);
    return { firstByteMs: atMs === undefined ? undefined : atMs - startedAt, pathMs };
  } finally {
    await byte;
    await Deno.remove(state, { recursive: true });
  }
}

function atMsOf(output: Output | undefined): number | undefined {
  return output?.code === 0 ? (JSON.parse(output.stdout) as { atMs: number }).atMs : undefined;
}

/** From the first status to the first one with a path of that kind. */
async function untilPath(child: Child, state: string, way: Way): Promise<number | undefined> {
  const end = performance.now() + TRIAL_MS_MAX;
  let api: (NodeHandle & Disposable) | undefined;
  let firstAt: number | undefined;
  let last = "its local API was never there";
  try {
    while (performance.now() < end) {
      if (child.ended) throw new Error(`The agent has ended:\n${child.log.slice(-500)}`);
      try {
        api ??= await connectLocalApi(state);
        const { peers } = await api.status();
        firstAt ??= performance.now();
        if (peers.some(({ path }) => path.kind === way)) return performance.now() - firstAt;
      } catch (error) {
        // It has only just started.
        last = messageOf(error);
        api?.[Symbol.dispose]();
        api = undefined;
      }
      await new Promise((wake) => setTimeout(wake, ASK_EVERY_MS));
    }
    if (firstAt === undefined) throw new Error(`The agent says nothing: ${last}`);
    return undefined;
  } finally {
    api?.[Symbol.dispose]();
  }
}
