/** Nodes that want no relay, where there is one and nothing else would connect: real processes behind NATs. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { type LabNode, type NatWorld, startNatWorld } from "../support/nat_mesh.ts";
import { Lab } from "../support/natlab.ts";
import { e2e, eventually } from "../support/scope.ts";

const CONNECT_MS_MAX = 20_000;

/** A pair of nodes in a mesh of their own. */
interface Pair {
  readonly colony: LabNode;
  readonly agent: LabNode;
}

async function startPair(
  world: NatWorld,
  { mesh, hosts, colonyFlags = [], agentFlags = [] }: {
    readonly mesh: string;
    readonly hosts: readonly [colony: string, agent: string];
    readonly colonyFlags?: readonly string[];
    readonly agentFlags?: readonly string[];
  },
): Promise<Pair> {
  const [colonyHost, agentHost] = hosts;
  const colony = await world.start("colony", { mesh, host: colonyHost, flags: colonyFlags });
  const flags = agentFlags;
  const agent = await world.start("agent", { mesh, host: agentHost, name: "walker", flags });
  return { colony, agent };
}

e2e(
  "behind symmetric NATs a node that wants no relay is reached over none, whichever side it is",
  { needs: ["full", "natlab"], timeoutMs: 180_000 },
  async (scope) => {
    const sites = ["c=symmetric", "a=symmetric"];
    const lab = scope.use(await Lab.up("norelay", { sites }));
    const world = await startNatWorld(scope, {
      lab,
      discoveryFlags: ["--relay", "--relay-listen", `${lab.address("disco", 4)}:3480`],
    });
    const hosts = ["c1", "a1"] as const;

    const pair = await startPair(world, { mesh: "reef", hosts });
    await eventually("an echo", () => pair.agent.echo("colony"), { timeoutMs: CONNECT_MS_MAX });
    const path = await pair.agent.path("colony");
    assertEquals([path?.kind, path?.relay], ["relayed", "relay"]);
    const seen = await pair.colony.peer("walker");
    assertEquals(seen?.path.kind, "relayed");
    const { relays = [], relayReason } = await pair.agent.status();
    assertEquals(relays.map(({ id, state, transport }) => [id, state, transport]), [
      ["relay", "ready", "udp"],
    ]);
    assertEquals(relayReason, null);
    const candidates = (await pair.agent.peer("colony"))?.candidates ?? [];
    assert(candidates.some((one) => one.kind === "relayed"), "the colony's relay is known");

    // The colony wants none, so its agent neither asks for one nor uses it.
    const unwilling = await startPair(world, { mesh: "dry", hosts, colonyFlags: ["--no-relay"] });
    await eventually("the agent to give its relay back", async () => {
      const { relays = [], relayReason } = await unwilling.agent.status();
      return relays.length === 0 && relayReason === "the colony wants no relay" ? true : undefined;
    }, { timeoutMs: CONNECT_MS_MAX });
    const none = await unwilling.agent.peer("colony");
    assertEquals(none?.path.kind, "none");
    assertMatch(none?.reason ?? "", /\w/);
    assert(!(none?.candidates ?? []).some((one) => one.kind === "relayed"));
    const agentsOwn = await startPair(world, { mesh: "drier", hosts, agentFlags: ["--no-relay"] });
    await eventually("the colony to know the agent", async () => {
      const peer = await agentsOwn.colony.peer("walker");
      return peer === undefined || peer.candidates.length === 0 ? undefined : true;
    }, { timeoutMs: CONNECT_MS_MAX });
    assertEquals(await agentsOwn.agent.echo("colony"), undefined);
    const shy = await agentsOwn.colony.peer("walker");
    assertEquals([shy?.path.kind, shy?.candidates.some((one) => one.kind === "relayed")], [
      "none",
      false,
    ]);
    assertEquals((await agentsOwn.agent.status()).relayReason, "relays are switched off here");
  },
);
