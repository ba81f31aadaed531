/** A colony and an agent behind NATs, connected, with streams between them: what faults happen to. @module */
import { type LabNode, type NatWorld, startNatWorld } from "./nat_mesh.ts";
import { Lab } from "./natlab.ts";
import { AGENT_FLAGS, colonyFlags, PathWatch, startProbeServer } from "./path_watch.ts";
import { eventually, type Scope } from "./scope.ts";

/** What a fault is done to. */
export interface Scene {
  /** The lab: the colony is on host `c1`, the agent on `a1`. */
  readonly lab: Lab;
  /** Discovery, and a way to start more nodes. */
  readonly world: NatWorld;
  /** Mesh `reef`, host `c1`. */
  readonly colony: LabNode;
  /** Named `walker`, host `a1`. */
  readonly agent: LabNode;
  /** Both paths, and the streams. */
  readonly watch: PathWatch;
}

/** Where the two are. */
export interface SceneOptions {
  /** Type and settings of the colony's site `c`. */
  readonly colony: string;
  /** Type and settings of the agent's site `a`. */
  readonly agent: string;
  /** Further sites, `SITE=TYPE`. @default [] */
  readonly sites?: readonly string[];
  /** Further servers. @default [] */
  readonly servers?: readonly string[];
  /** Called when the lab is up and nothing runs in it yet. */
  readonly prepare?: (lab: Lab) => Promise<void>;
}

const CONNECT_MS_MAX = 30_000;
const LOG_CHARACTERS = 4_000;

/** A colony and an agent that are connected, with streams between them. */
export async function openScene(
  scope: Scope,
  { colony: colonySite, agent: agentSite, sites = [], servers = [], prepare }: SceneOptions,
): Promise<Scene> {
  const lab = scope.use(
    await Lab.up("fault", {
      servers: ["disco:2", ...servers],
      sites: [`c=${colonySite}`, `a=${agentSite}`, ...sites],
    }),
  );
  await prepare?.(lab);
  const world = await startNatWorld(scope, { lab });
  const server = await startProbeServer(scope, { lab, host: "c1" });
  const debug = ["--log-level", "debug"];
  const colony = await world.start("colony", {
    mesh: "reef",
    host: "c1",
    flags: [...colonyFlags(server), ...debug],
  });
  const agent = await world.start("agent", {
    mesh: "reef",
    host: "a1",
    name: "walker",
    flags: [...AGENT_FLAGS, ...debug],
  });
  scope.explain(() => Promise.resolve(logsOf({ colony, agent })));
  await eventually(
    "a direct path",
    async () => (await agent.path("colony"))?.kind === "direct" ? true : undefined,
    { timeoutMs: CONNECT_MS_MAX },
  );
  const watch = await PathWatch.start(scope, {
    lab,
    agentHost: "a1",
    colony: { node: colony, peer: "walker" },
    agent: { node: agent, peer: "colony" },
  });
  return { lab, world, colony, agent, watch };
}

/** What the two nodes wrote last. */
export function logsOf({ colony, agent }: Pick<Scene, "colony" | "agent">): string {
  const tail = ({ process }: LabNode): string => process.child.log.slice(-LOG_CHARACTERS);
  return `--- colony\n${tail(colony)}\n--- agent\n${tail(agent)}`;
}
