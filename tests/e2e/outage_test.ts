/** Discovery that goes away and comes back, and nodes that were stopped: real processes on 127.0.0.1, without root. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { startMesh, urlOf } from "../support/mesh.ts";
import type { Mesh } from "../support/mesh.ts";
import { Moray, SOURCE } from "../support/moray.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";
import { LOOPBACK } from "./loopback.ts";

/** Ends Discovery as a crash would. */
async function crash(mesh: Mesh): Promise<void> {
  mesh.discovery.child.signal("SIGKILL");
  await mesh.discovery.child.exited;
}

/** Starts an empty Discovery where the old one was. */
async function startAgain(scope: Scope, mesh: Mesh): Promise<Moray> {
  const { host } = new URL(urlOf(mesh.discovery));
  const stun = mesh.discovery.address("stun");
  const args = ["--listen", host, "--stun-listen", stun, "--store", ":memory:"];
  return scope.use(await Moray.start(["discovery", ...args], { program: SOURCE }));
}

/** Whether bytes cross from the agent's forwarded port to the web server behind the colony. */
async function crosses(mesh: Mesh): Promise<boolean> {
  const response = await fetch(`http://${mesh.agent.address("forward")}/bytes?mib=1`, {
    signal: AbortSignal.timeout(5000),
  }).catch(() => undefined);
  const bytes = await response?.bytes().catch(() => undefined);
  return bytes?.length === 1 << 20;
}

e2e(
  "Discovery killed and started empty: the tunnel goes on, both nodes come back, a new agent finds the colony",
  {
    timeoutMs: 120_000,
  },
  async (scope) => {
    const mesh = await startMesh(scope, { ...LOOPBACK, program: SOURCE });
    assert(await crosses(mesh), "the mesh works");
    await crash(mesh);
    await eventually("the agent to say that Discovery is away", async () => {
      const { discovery } = await mesh.status("agent");
      return discovery?.connected === false ? true : undefined;
    }, { timeoutMs: 20_000 });
    assert(await crosses(mesh), "the tunnel goes on without Discovery");
    const again = await startAgain(scope, mesh);
    for (const node of ["colony", "agent"] as const) {
      await eventually(`the ${node} to be back at Discovery`, async () => {
        const { discovery } = await mesh.status(node);
        return discovery?.connected === true ? true : undefined;
      }, { timeoutMs: 40_000, everyMs: 500 });
    }
    assertEquals((await mesh.status("agent")).peers[0]?.path.kind, "direct");
    const late = scope.use(
      await Moray.start([
        "agent",
        ...["--mesh", mesh.name, "--discovery", urlOf(again), "--state", scope.directory()],
        ...["--name", "late", "--forward", "127.0.0.1:0:colony:8080"],
      ], { program: SOURCE }),
    );
    assert(
      await eventually(
        "the new agent to reach the colony",
        async () => await crosses({ ...mesh, agent: late }) || undefined,
        { timeoutMs: 20_000 },
      ),
    );
  },
);

e2e("an agent that starts while Discovery is away finds the colony where it was last", {
  timeoutMs: 120_000,
}, async (scope) => {
  const mesh = await startMesh(scope, { ...LOOPBACK, program: SOURCE });
  assert(await crosses(mesh), "the mesh works");
  await crash(mesh);
  assertEquals(await mesh.agent.stop(), 0);
  const start = (state: string): Promise<Moray> =>
    Moray.start([
      "agent",
      ...["--mesh", mesh.name, "--discovery", urlOf(mesh.discovery), "--state", state],
      ...["--name", "walker", "--forward", "127.0.0.1:0:colony:8080"],
    ], { program: SOURCE });
  const back = scope.use(await start(mesh.state.agent));
  assert(/starting with the peers of the last run/.test(back.child.log), back.child.log);
  assert(
    await eventually(
      "the agent to reach the colony without Discovery",
      async () => await crosses({ ...mesh, agent: back }) || undefined,
      { timeoutMs: 20_000 },
    ),
  );
  // Where it knows nobody, the same start is an error that says what is wrong.
  const failed = await start(scope.directory()).then(
    () => "it started",
    (error: Error) => error.message,
  );
  assert(/Cannot reach Discovery/.test(failed), failed);
});

e2e("an agent that was stopped for ten seconds says so and carries bytes again", {
  timeoutMs: 120_000,
}, async (scope) => {
  const mesh = await startMesh(scope, { ...LOOPBACK, program: SOURCE });
  assert(await crosses(mesh), "the mesh works");
  mesh.agent.child.signal("SIGSTOP");
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  const awake = mesh.agent.child.line(/awake again after \d+ s/, 10_000);
  mesh.agent.child.signal("SIGCONT");
  await awake;
  assert(
    await eventually("bytes to cross again", async () => await crosses(mesh) || undefined, {
      timeoutMs: 20_000,
    }),
  );
});
