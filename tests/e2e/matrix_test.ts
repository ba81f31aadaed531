/**
 * Every pair of networks: real processes behind the NATs of one lab, all at once.
 *
 * A pair that waits for something (`matrix_cases.ts`) may stay without a connection, but then its agent must say why. One that is
 * direct all the same is marked wrongly, and fails.
 */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { PathStatus } from "../../agent/status.ts";
import { messageOf, parseSocketAddress } from "../../core/mod.ts";
import { inParallel, type LabNode, type NatWorld, startNatWorld } from "../support/nat_mesh.ts";
import { Lab } from "../support/natlab.ts";
import { say } from "../support/say.ts";
import { e2e } from "../support/scope.ts";
import {
  CLASSIC_PAIRS,
  hostOf,
  type MatrixPair,
  OTHER_PAIRS,
  type Place,
  SITES,
} from "./matrix_cases.ts";

/** Programs that start at the same time. */
const STARTS_AT_ONCE = 4;
/** How long a pair may take from the agent's start, on processors that all the other pairs share. */
const DIRECT_MS_MAX = 30_000;
/** The same where ports are guessed: an attempt in twenty may fail, and the next ones come after a while. */
const GUESSED_MS_MAX = 90_000;
const ASK_EVERY_MS = 500;
const LOG_CHARACTERS = 1_500;

/** A pair whose processes run. */
interface RunningPair {
  readonly pair: MatrixPair;
  readonly colony: LabNode;
  readonly agent: LabNode;
  /** The agent's name. */
  readonly name: string;
}

interface Outcome {
  readonly pair: MatrixPair;
  /** From the agent's start until both ends used the direct path that they must; `undefined` for never. */
  readonly directMs: number | undefined;
  /** What is wrong, or what the agent says of why there is no direct path. */
  readonly remark: string;
  /** Whether it is as it must be. */
  readonly right: boolean;
  /** What the two programs wrote last. */
  readonly logs: string;
}

Deno.test("a pair that is direct although it is marked as waiting fails by its mark", () => {
  const [first] = CLASSIC_PAIRS;
  assert(first !== undefined);
  assertEquals(staleMark(first), undefined);
  const marked = staleMark({ ...first, waitsFor: "relay" });
  assertEquals(marked?.includes("waiting for relay"), true);
});

Deno.test("15 of the 16 classic pairs must be direct, 13 of them without guessing", () => {
  assertEquals(CLASSIC_PAIRS.length, 16);
  const direct = CLASSIC_PAIRS.filter(({ waitsFor }) => waitsFor === undefined);
  assertEquals(direct.length, 15);
  assertEquals(direct.filter(({ guessed }) => guessed !== true).length, 13);
});

e2e(
  `all ${CLASSIC_PAIRS.length} pairs of fullcone, restricted, portrestricted and symmetric, and ` +
    `${OTHER_PAIRS.length} other pairs of networks, connect as they must`,
  { needs: ["full", "natlab"], timeoutMs: 300_000 },
  async (scope) => {
    const startedAt = performance.now();
    const lab = scope.use(await Lab.up("matrix", { sites: SITES }));
    const world = await startNatWorld(scope, { lab });
    const outcomes = await runPairs({ lab, world, pairs: [...CLASSIC_PAIRS, ...OTHER_PAIRS] });
    for (const outcome of outcomes) say(lineOf(outcome));
    const direct = outcomes.filter(({ directMs }) => directMs !== undefined).length;
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    say(`${direct} of ${outcomes.length} pairs are direct; all of it took ${seconds} s`);
    const wrong = outcomes.filter(({ right }) => !right);
    for (const { pair, logs } of wrong) say(`--- ${pair.title}\n${logs}`);
    assertEquals(wrong.map(({ pair, remark }) => `${pair.title}: ${remark}`), []);
  },
);

/** Starts every colony, then every agent, and watches each pair from its start on. */
async function runPairs(
  { lab, world, pairs }: {
    readonly lab: Lab;
    readonly world: NatWorld;
    readonly pairs: readonly MatrixPair[];
  },
): Promise<readonly Outcome[]> {
  const places = new Map(pairs.map(({ colony }) => [hostOf(colony), colony]));
  const colonies = new Map(
    await inParallel(STARTS_AT_ONCE, [...places], async ([host, { family }]) => {
      const place = { mesh: host, host, ...(family && { family }) };
      return [host, await world.start("colony", place)] as const;
    }),
  );
  const watched = await inParallel(STARTS_AT_ONCE, pairs, async (pair, index) => {
    const mesh = hostOf(pair.colony);
    const colony = colonies.get(mesh);
    assert(colony !== undefined);
    const { family } = pair.agent;
    const name = `agent${index}`;
    const place = { mesh, host: hostOf(pair.agent), name, ...(family && { family }) };
    const agent = await world.start("agent", place);
    const running = { pair, colony, agent, name };
    return { running, outcome: watch(lab, running) };
  });
  const outcomes = await Promise.all(
    watched.map(async ({ running, outcome }) => [running, await outcome] as const),
  );
  return await Promise.all(
    outcomes.map(([running, outcome]) => stillSo(lab, { running, outcome })),
  );
}

/** What was direct when it was first looked at must be so when all pairs have come to rest. */
async function stillSo(
  lab: Lab,
  { running, outcome }: { readonly running: RunningPair; readonly outcome: Outcome },
): Promise<Outcome> {
  if (outcome.directMs === undefined) return outcome;
  const fault = await faultOf(lab, running).catch(messageOf);
  if (fault === undefined) return outcome;
  return outcomeOf(running, { remark: `direct at first, but then ${fault}`, right: false });
}

/** Asks both ends until they use the path that they must. Never rejects. */
async function watch(lab: Lab, running: RunningPair): Promise<Outcome> {
  const { pair, colony, agent, name } = running;
  const end = agent.startedAt + (pair.guessed === true ? GUESSED_MS_MAX : DIRECT_MS_MAX);
  let wrong: string | undefined;
  try {
    do {
      wrong = await faultOf(lab, running);
      if (wrong !== undefined) await new Promise((wake) => setTimeout(wake, ASK_EVERY_MS));
    } while (wrong !== undefined && performance.now() < end);
  } catch (error) {
    return outcomeOf(running, { remark: messageOf(error), right: false });
  }
  if (wrong === undefined) {
    const directMs = performance.now() - agent.startedAt;
    const remark = staleMark(pair);
    return {
      ...outcomeOf(running, { remark: remark ?? "", right: remark === undefined }),
      directMs,
    };
  }
  if (pair.waitsFor === undefined) return outcomeOf(running, { remark: wrong, right: false });
  const { path, reason } = await agent.peer("colony") ?? {};
  const told = `${path?.kind ?? "unknown peer"}, ${reason ?? "without a reason"}`;
  const seen = await colony.peer(name);
  const excused = path?.kind !== "direct" && seen?.path.kind !== "direct";
  return outcomeOf(running, { remark: told, right: excused && reason !== null });
}

/** What is wrong with the mark of a pair that is direct; `undefined` for nothing. */
function staleMark({ waitsFor }: MatrixPair): string | undefined {
  return waitsFor && `direct, although it is marked as waiting for ${waitsFor}: take the mark away`;
}

/** What is not as it must be in a pair right now; `undefined` for nothing. */
async function faultOf(
  lab: Lab,
  { pair, colony, agent, name }: RunningPair,
): Promise<string | undefined> {
  const { over = 4 } = pair;
  const ends = [
    { end: agent, peer: "colony", place: pair.colony },
    { end: colony, peer: name, place: pair.agent },
  ];
  for (const { end, peer, place } of ends) {
    const status = await end.peer(peer);
    // Where no direct path exists, no address is the right one.
    const wanted = pair.waitsFor === "relay" ? undefined : outerAddress(lab, { place, over });
    const fault = faultOfPath(status?.path, wanted);
    if (fault === undefined) continue;
    return `to ${peer}: ${fault}${status?.reason ? ` (${status.reason})` : ""}`;
  }
  for (const { end, peer } of ends) {
    if (await end.echo(peer) === undefined) return `to ${peer}: no echo through the tunnel`;
  }
  return undefined;
}

function faultOfPath(
  path: PathStatus | undefined,
  wanted: string | undefined,
): string | undefined {
  if (path === undefined) return "the peer is not known";
  if (path.kind !== "direct") return path.kind;
  const remote = parseSocketAddress(path.remote ?? "")?.hostname;
  return remote === wanted || wanted === undefined
    ? undefined
    : `direct to ${path.remote} and not to ${wanted}`;
}

/** The address where others reach a place: its own, or that of the NAT in front. */
function outerAddress(
  lab: Lab,
  { place, over }: { readonly place: Place; readonly over: 4 | 6 | "lan" },
): string {
  const own = (): string => lab.address(hostOf(place), over === 6 ? 6 : 4);
  return over === 4 ? lab.publicAddress(place.site) ?? own() : own();
}

function outcomeOf(
  { pair, colony, agent }: RunningPair,
  { remark, right }: { readonly remark: string; readonly right: boolean },
): Outcome {
  const tail = ({ process }: LabNode): string => process.child.log.slice(-LOG_CHARACTERS);
  const logs = `colony:\n${tail(colony)}\nagent:\n${tail(agent)}`;
  return { pair, remark, right, logs, directMs: undefined };
}

function lineOf({ pair, directMs, remark, right }: Outcome): string {
  const title = pair.title.padEnd(48);
  const waits = pair.waitsFor === undefined ? "" : `waits for ${pair.waitsFor}`;
  const how = pair.guessed === true ? ", by guessing" : "";
  if (directMs !== undefined) {
    const failed = right ? "" : ` FAILED: ${remark}`;
    return `${title} direct after ${(directMs / 1000).toFixed(1)} s${how}${failed}`;
  }
  return `${title} ${right ? waits : "FAILED"}: ${remark}`;
}
