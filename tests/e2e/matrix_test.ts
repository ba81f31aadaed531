/**
 * Every pair of networks: real processes behind the NATs of one lab, all at once.
 *
 * Every pair connects: where a direct path exists (`matrix_cases.ts`) it must be found, and the others are relayed.
 */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { PathStatus, PeerStatus } from "../../agent/status.ts";
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
const RELAY_PORT = 3480;
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
  /** From the agent's start until both ends used the path that they must; `undefined` for never. */
  readonly reachedMs: number | undefined;
  /** What is wrong. */
  readonly remark: string;
  /** What the two programs wrote last. */
  readonly logs: string;
}

Deno.test("15 of the 16 classic pairs must be direct, 13 of them without guessing", () => {
  assertEquals(CLASSIC_PAIRS.length, 16);
  const direct = CLASSIC_PAIRS.filter(({ relayed }) => relayed !== true);
  assertEquals(direct.length, 15);
  assertEquals(direct.filter(({ guessed }) => guessed !== true).length, 13);
});

const ALL_PAIRS: readonly MatrixPair[] = [...CLASSIC_PAIRS, ...OTHER_PAIRS];
const RELAYED_PAIRS = ALL_PAIRS.filter(({ relayed }) => relayed === true);
const DIRECT_PAIRS = ALL_PAIRS.filter(({ relayed }) => relayed !== true);

e2e(
  `${DIRECT_PAIRS.length} of ${CLASSIC_PAIRS.length} pairs of fullcone, restricted, portrestricted and symmetric, and of ` +
    `${OTHER_PAIRS.length} other pairs of networks, connect directly, without a relay`,
  { needs: ["full", "natlab"], timeoutMs: 300_000 },
  async (scope) => {
    const lab = scope.use(await Lab.up("matrix", { sites: SITES }));
    const world = await startNatWorld(scope, { lab });
    await connectAll({ lab, world, pairs: DIRECT_PAIRS });
  },
);

e2e(
  `the ${RELAYED_PAIRS.length} other pairs, between which no direct path exists, connect over Discovery's relay`,
  { needs: ["full", "natlab"], timeoutMs: 120_000 },
  async (scope) => {
    const lab = scope.use(await Lab.up("relayed", { sites: SITES }));
    const world = await startNatWorld(scope, { lab, discoveryFlags: relayFlags(lab) });
    await connectAll({ lab, world, pairs: RELAYED_PAIRS });
  },
);

/** Connects every pair, and says what came of each. */
async function connectAll(
  options: {
    readonly lab: Lab;
    readonly world: NatWorld;
    readonly pairs: readonly MatrixPair[];
  },
): Promise<void> {
  const startedAt = performance.now();
  const outcomes = await runPairs(options);
  for (const outcome of outcomes) say(lineOf(outcome));
  const reached = outcomes.filter(({ reachedMs }) => reachedMs !== undefined).length;
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  say(`${reached} of ${outcomes.length} pairs are as they must be; all of it took ${seconds} s`);
  const wrong = outcomes.filter(({ reachedMs }) => reachedMs === undefined);
  for (const { pair, logs } of wrong) say(`--- ${pair.title}\n${logs}`);
  assertEquals(wrong.map(({ pair, remark }) => `${pair.title}: ${remark}`), []);
}

/** Discovery is a relay too, at its first addresses of both families. */
function relayFlags(lab: Lab): readonly string[] {
  const addresses = [lab.address("disco", 4), `[${lab.address("disco", 6)}]`];
  return ["--relay", ...addresses.flatMap((ip) => ["--relay-listen", `${ip}:${RELAY_PORT}`])];
}

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

/** What was well when it was first looked at must be so when all pairs have come to rest. */
async function stillSo(
  lab: Lab,
  { running, outcome }: { readonly running: RunningPair; readonly outcome: Outcome },
): Promise<Outcome> {
  if (outcome.reachedMs === undefined) return outcome;
  const fault = await faultOf(lab, running).catch(messageOf);
  if (fault === undefined) return outcome;
  return outcomeOf(running, `well at first, but then ${fault}`);
}

/** Asks both ends until they use the path that they must. Never rejects. */
async function watch(lab: Lab, running: RunningPair): Promise<Outcome> {
  const { pair, agent } = running;
  const end = agent.startedAt + (pair.guessed === true ? GUESSED_MS_MAX : DIRECT_MS_MAX);
  let wrong: string | undefined;
  try {
    do {
      wrong = await faultOf(lab, running);
      if (wrong !== undefined) await new Promise((wake) => setTimeout(wake, ASK_EVERY_MS));
    } while (wrong !== undefined && performance.now() < end);
  } catch (error) {
    return outcomeOf(running, messageOf(error));
  }
  if (wrong !== undefined) return outcomeOf(running, wrong);
  return { ...outcomeOf(running, ""), reachedMs: performance.now() - agent.startedAt };
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
    const fault = pair.relayed === true
      ? faultOfRelayed(status)
      : faultOfPath(status?.path, outerAddress(lab, { place, over }));
    if (fault === undefined) continue;
    return `to ${peer}: ${fault}${status?.reason ? ` (${status.reason})` : ""}`;
  }
  for (const { end, peer } of ends) {
    if (await end.echo(peer) === undefined) return `to ${peer}: no echo through the tunnel`;
  }
  return undefined;
}

/** A relayed peer is reached over the one relay there is, and is said to be relayed for a reason. */
function faultOfRelayed(peer: PeerStatus | undefined): string | undefined {
  if (peer === undefined) return "the peer is not known";
  const { path, reason } = peer;
  if (path.kind !== "relayed") return path.kind;
  return path.relay === "relay" && reason !== null ? undefined : `over ${path.relay}, ${reason}`;
}

function faultOfPath(path: PathStatus | undefined, wanted: string): string | undefined {
  if (path === undefined) return "the peer is not known";
  if (path.kind !== "direct") return path.kind;
  const remote = parseSocketAddress(path.remote ?? "")?.hostname;
  return remote === wanted ? undefined : `direct to ${path.remote} and not to ${wanted}`;
}

/** The address where others reach a place: its own, or that of the NAT in front. */
function outerAddress(
  lab: Lab,
  { place, over }: { readonly place: Place; readonly over: 4 | 6 | "lan" },
): string {
  const own = (): string => lab.address(hostOf(place), over === 6 ? 6 : 4);
  return over === 4 ? lab.publicAddress(place.site) ?? own() : own();
}

function outcomeOf({ pair, colony, agent }: RunningPair, remark: string): Outcome {
  const tail = ({ process }: LabNode): string => process.child.log.slice(-LOG_CHARACTERS);
  const logs = `colony:\n${tail(colony)}\nagent:\n${tail(agent)}`;
  return { pair, remark, logs, reachedMs: undefined };
}

function lineOf({ pair, reachedMs, remark }: Outcome): string {
  const title = pair.title.padEnd(48);
  if (reachedMs === undefined) return `${title} FAILED: ${remark}`;
  const how = pair.guessed === true ? ", by guessing" : "";
  const kind = pair.relayed === true ? "relayed" : "direct";
  return `${title} ${kind} after ${(reachedMs / 1000).toFixed(1)} s${how}`;
}
