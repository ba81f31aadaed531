/**
 * What happens to networks, with real processes behind NATs: a transfer and an interactive TCP stream run on, and the time
 * until traffic flows again is measured by what arrives.
 */
import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { LabNode } from "../support/nat_mesh.ts";
import type { Lab } from "../support/natlab.ts";
import type { Need } from "../support/needs.ts";
import { wallMs } from "../support/path_watch.ts";
import { logsOf, openScene, type Scene } from "../support/scene.ts";
import { say } from "../support/say.ts";
import { e2e, type Scope } from "../support/scope.ts";

interface Fault {
  /** What happens. */
  readonly title: string;
  /** Type and settings of the site of each end. */
  readonly colony: string;
  readonly agent: string;
  /** Further sites, `SITE=TYPE`. @default [] */
  readonly sites?: readonly string[];
  /** Does it, and returns when the network could carry traffic again, by the wall clock. */
  readonly strike: (scene: Scene) => Promise<number>;
  /** How long traffic may take from then on. @default 6_500 */
  readonly resumeMsMax?: number;
  /** Takes longer than a push can wait for. @default false */
  readonly long?: boolean;
}

const RESUME_MS_MAX = 6_500;
const SLEEP_RESUME_MS_MAX = 30_000;
/** How much longer than allowed is waited, to tell late from never. */
const PATIENCE = 2;
/** After traffic flows again, how long the path is watched for changing once more. */
const CALM_MS = 4_000;
const LINK = "delay=10ms,rate=20mbit";
const PLAIN = `portrestricted,${LINK}`;
/** A NAT whose ports after a reboot are not those before it. */
const NEW_PORTS = `portrestricted,alloc=random,${LINK}`;
const DUAL = `portrestricted,v6=on,${LINK}`;

const FAULTS: readonly Fault[] = [
  {
    title: "the agent's NAT reboots and gives the same port again",
    colony: PLAIN,
    agent: PLAIN,
    strike: ({ lab }) => done(lab.ctl("a", "flush")),
  },
  {
    title: "the agent's NAT reboots and gives another port",
    colony: PLAIN,
    agent: NEW_PORTS,
    strike: ({ lab }) => done(lab.ctl("a", "flush")),
  },
  {
    title: "the colony's NAT reboots and gives another port",
    colony: NEW_PORTS,
    agent: PLAIN,
    strike: ({ lab }) => done(lab.ctl("c", "flush")),
  },
  {
    title: "the agent's NAT gets a new public address",
    colony: PLAIN,
    agent: PLAIN,
    strike: ({ lab }) => done(lab.natlab("roam", "a")),
  },
  {
    title: "the colony's NAT gets a new public address",
    colony: PLAIN,
    agent: PLAIN,
    strike: ({ lab }) => done(lab.natlab("roam", "c")),
  },
  {
    title: "the agent moves to another network",
    colony: PLAIN,
    agent: PLAIN,
    sites: [`b=${PLAIN}`],
    strike: ({ lab }) => done(lab.natlab("move", "a1", "b")),
  },
  {
    title: "the agent's link is out for 5 s",
    colony: PLAIN,
    agent: PLAIN,
    strike: ({ lab }) => outage(lab, 5_000),
  },
  {
    title: "the agent's link is out for 60 s",
    colony: PLAIN,
    agent: PLAIN,
    strike: ({ lab }) => outage(lab, 60_000),
    long: true,
  },
  {
    title: "nothing from the agent arrives for 5 s",
    colony: PLAIN,
    agent: PLAIN,
    strike: async ({ lab }) => {
      await lab.ctl("a", "set up.loss=100%");
      await lasting(5_000);
      return done(lab.ctl("a", "set up.loss=0%"));
    },
  },
  {
    title: "of two ways one becomes a black hole in one direction",
    colony: DUAL,
    agent: DUAL,
    strike: ({ lab, agent }) => oneWayBlackHole(lab, agent),
  },
  {
    title: "the agent sleeps for 10 s",
    colony: PLAIN,
    agent: PLAIN,
    strike: ({ agent }) => sleep(agent, 10_000),
    resumeMsMax: SLEEP_RESUME_MS_MAX,
  },
  {
    title: "the agent sleeps for 90 s, longer than its NAT remembers",
    colony: PLAIN,
    agent: NEW_PORTS,
    strike: ({ agent }) => sleep(agent, 90_000),
    resumeMsMax: SLEEP_RESUME_MS_MAX,
    long: true,
  },
];

for (const fault of FAULTS) {
  const { title, long = false, resumeMsMax = RESUME_MS_MAX } = fault;
  const needs: Need[] = ["full", "natlab", ...(long ? ["long" as const] : [])];
  e2e(
    `${title}: traffic flows within ${resumeMsMax / 1000} s, streams survive, nothing flaps`,
    { needs, timeoutMs: long ? 300_000 : 150_000 },
    (scope) => suffer(scope, fault),
  );
}

async function suffer(scope: Scope, fault: Fault): Promise<void> {
  const { title, resumeMsMax = RESUME_MS_MAX } = fault;
  const scene = await openScene(scope, fault);
  const { watch } = scene;
  const struckAt = wallMs();
  const ableAt = await fault.strike(scene);
  const resumed = await watch.resumed(ableAt, { timeoutMs: PATIENCE * resumeMsMax });
  await lasting(CALM_MS);
  const found = Object.entries(resumed).filter(([, ms]) => ms > resumeMsMax)
    .map(([kind, ms]) => `${kind} after ${ms === Infinity ? "more" : shown(ms)}`);
  if (watch.broken !== undefined) found.push(watch.broken);
  for (const end of ["colony", "agent"] as const) {
    const changes = watch.changesSince(end, struckAt);
    if (changes > 1) found.push(`${changes} changes of the ${end}'s path`);
  }
  const { ping, interactive, bulk } = resumed;
  const times = `ping ${shown(ping)}, interactive ${shown(interactive)}, bulk ${shown(bulk)}`;
  say(`${title}: ${times}\n${watch.story(struckAt)}`);
  if (found.length > 0) say(logsOf(scene));
  assertEquals(found, []);
}

/** When an action was done. */
async function done(action: Promise<unknown>): Promise<number> {
  await action;
  return wallMs();
}

/** Lets a fault last: a length that belongs to it, not a guess at how long something takes. */
function lasting(ms: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, ms));
}

async function outage(lab: Lab, ms: number): Promise<number> {
  await lab.ctl("a", "set down=1");
  await lasting(ms);
  return await done(lab.ctl("a", "set down=0"));
}

async function sleep({ process: { child } }: LabNode, ms: number): Promise<number> {
  child.signal("SIGSTOP");
  await lasting(ms);
  child.signal("SIGCONT");
  return wallMs();
}

/** Lets nothing through from the colony to the agent by the family that they use. */
async function oneWayBlackHole(lab: Lab, agent: LabNode): Promise<number> {
  const remote = (await agent.path("colony"))?.remote ?? "";
  const family = remote.startsWith("[") ? 6 : 4;
  const outer = (site: string): string =>
    (family === 4 ? lab.publicAddress(site) : undefined) ?? lab.address(`${site}1`, family);
  const rule = ["from", outer("c"), "to", outer("a"), "blackhole"];
  const { code, stderr } = await lab.exec("inet", ["ip", `-${family}`, "rule", "add", ...rule]);
  assertEquals(code, 0, stderr);
  return wallMs();
}

function shown(ms: number): string {
  return ms === Infinity ? "never" : `${(ms / 1000).toFixed(1)} s`;
}
