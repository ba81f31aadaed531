/** Many network interfaces that lead nowhere: they cost a node nothing that anybody notices. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { NodeStatus } from "../../agent/status.ts";
import { HOST_CANDIDATES_MAX, UNROUTED_CANDIDATES_MAX } from "../../traversal/mod.ts";
import { must } from "../support/child.ts";
import { GatewayLab } from "../support/gateway_lab.ts";
import { urlOf } from "../support/mesh.ts";
import { Moray, moray } from "../support/moray.ts";
import { say } from "../support/say.ts";
import { e2e, type Scope } from "../support/scope.ts";

const BOGUS = 32;
/** Starts with and without them, in turn. */
const STARTS = 3;
/** What the start of a process differs by on a machine that does other things as well. */
const NOISE_MS = 1_000;

/** Makes interfaces that are up, have an address of each family, and lead nowhere. Their names sort before `eth0`. */
function addBogus(scope: Scope, namespace: string): Promise<void> {
  return ipBatch(scope, namespace, (i) => [
    `link add bogus${i} type veth peer name veth${i}`,
    `addr add 10.200.${i}.1/24 dev bogus${i}`,
    `addr add fd00:200:${i}::1/64 dev bogus${i} nodad`,
    `link set bogus${i} up`,
    `link set veth${i} up`,
  ]);
}

function removeBogus(scope: Scope, namespace: string): Promise<void> {
  return ipBatch(scope, namespace, (i) => [`link del bogus${i}`]);
}

/** Gives `ip` all lines at once: thirty processes would take longer than what is measured. */
async function ipBatch(
  scope: Scope,
  namespace: string,
  linesOf: (i: number) => readonly string[],
): Promise<void> {
  const file = `${scope.directory()}/batch`;
  const lines = Array.from({ length: BOGUS }, (_, i) => linesOf(i)).flat();
  await Deno.writeTextFile(file, `${lines.join("\n")}\n`);
  await must(["ip", "-batch", file], { namespace });
}

/** Starts an agent, waits until it has reached its colony, and ends it. Returns how long that took, and what it was. */
async function connect(
  scope: Scope,
  lab: GatewayLab,
  url: string,
): Promise<{ ms: number; status: NodeStatus }> {
  const state = scope.directory();
  const startedAt = performance.now();
  await using agent = await Moray.start(
    ["agent", "--mesh", "reef", "--discovery", url, "--state", state, "--name", "walker"],
    { namespace: lab.host },
  );
  await agent.child.line(/connected to colony/);
  const ms = performance.now() - startedAt;
  const { stdout } = await moray(["status", "--json", "--state", state], { namespace: lab.host });
  return { ms, status: JSON.parse(stdout) as NodeStatus };
}

e2e(
  `${BOGUS} interfaces that lead nowhere do not slow an agent's way to its colony`,
  { needs: ["full", "gateway"], timeoutMs: 240_000 },
  async (scope) => {
    const lab = scope.use(await GatewayLab.up());
    const { outside: namespace, outsideIp } = lab;
    const discovery = scope.use(
      await Moray.start([
        ...["discovery", "--listen", `${outsideIp}:8080`, "--stun-listen", `${outsideIp}:3478`],
        ...["--store", ":memory:"],
      ], { namespace }),
    );
    const url = urlOf(discovery);
    const colony = scope.use(
      await Moray.start(
        ["colony", "--open", "--mesh", "reef", "--discovery", url, "--state", scope.directory()],
        { namespace },
      ),
    );
    scope.explain(() => Promise.resolve(colony.child.log.slice(-3000)));
    const tookMs: Record<"with" | "without", number[]> = { with: [], without: [] };
    for (let i = 0; i < STARTS; i++) {
      const without = await connect(scope, lab, url);
      tookMs.without.push(without.ms);
      await addBogus(scope, lab.host);
      const { ms, status } = await connect(scope, lab, url);
      await removeBogus(scope, lab.host);
      tookMs.with.push(ms);
      const { endpoints } = status.node;
      const real = endpoints.filter((endpoint) => !/^(10\.200\.|\[fd00:200:)/.test(endpoint));
      assert(real.some((endpoint) => endpoint.startsWith("192.168.77.2:")), endpoints.join(" "));
      assertEquals(endpoints[0], real[0], "the best is a real one");
      assertEquals(endpoints.length - real.length, UNROUTED_CANDIDATES_MAX);
      assert(endpoints.length <= HOST_CANDIDATES_MAX);
      assertEquals(status.peers[0]?.path.kind, "direct");
    }
    const [bogus, plain] = [median(tookMs.with), median(tookMs.without)];
    say(
      `connected after ${Math.round(plain)} ms, with ${BOGUS} interfaces more ${
        Math.round(bogus)
      } ms`,
    );
    assert(bogus < plain + NOISE_MS, JSON.stringify(tookMs));
  },
);

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? NaN;
}
