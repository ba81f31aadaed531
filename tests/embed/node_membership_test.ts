/** A closed mesh inside a program: invites, who comes by them, and who is thrown out. */
import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { startDiscovery } from "../../discovery/mod.ts";
import { Node, type NodeOptions } from "../../mod.ts";
import { eventually as whenever } from "../support/scope.ts";

/** How long a node that was thrown out may still reach somebody. */
const CUT_OFF_MS = 5000;

/** Resolves once something holds; rejects after 20 s. */
function eventually(what: string, holds: () => Promise<boolean>): Promise<true> {
  return whenever(what, async () => await holds() || undefined, { timeoutMs: 20_000 });
}

/** A Discovery and what nodes there are started with. */
interface Stage extends AsyncDisposable {
  /** Starts a node; it ends with the stage. */
  readonly start: (options: Partial<NodeOptions>) => Promise<Node>;
}

/** Starts a Discovery. */
async function startStage(): Promise<Stage> {
  await using stack = new AsyncDisposableStack();
  const local = { hostname: "127.0.0.1", port: 0 };
  const discovery = stack.use(
    await startDiscovery({ listen: local, stunListen: [local], store: ":memory:", log: () => {} }),
  );
  const common = { mesh: "reef", discovery: discovery.url, portMapping: false };
  const kept = stack.use(new AsyncDisposableStack());
  const start = async (options: Partial<NodeOptions>): Promise<Node> =>
    kept.use(await Node.start({ ...common, ...options }));
  const all = stack.move();
  return { start, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Starts a colony that serves a page. */
async function startColony(
  { start }: Stage,
  options: Partial<NodeOptions> = {},
): Promise<Node> {
  const colony = await start({ role: "colony", ...options });
  colony.serve({ port: 80 }, () => new Response("inside"));
  return colony;
}

Deno.test("a program's colony invites, knows its members, and throws them out", async (t) => {
  await using stage = await startStage();
  const { start: join } = stage;
  const colony = await startColony(stage);
  const { invite, published } = await colony.invite({ name: "walker" });
  assert(published, "Discovery knows of it");
  const agent = await join({ name: "walker", join: invite });

  await t.step("who comes by an invite is a member", async () => {
    assertEquals(await (await agent.fetch("http://colony/")).text(), "inside");
    const { open, members, invites } = await colony.members();
    assertEquals([open, invites], [false, []]);
    assertEquals(members.map(({ name, state }) => [name, state]), [["walker", "admitted"]]);
  });

  await t.step("nobody comes without one, or by one that was used", async () => {
    await assertRejects(join({}), { code: "refused" });
    await assertRejects(join({ join: invite }), { code: "refused" });
  });

  await t.step("who is thrown out reaches nobody any more", async () => {
    const { node: { publicKey } } = await agent.status();
    const revoked = await colony.revoke("walker");
    const from = performance.now();
    assertEquals(revoked, { publicKey, published: true });
    for (;;) {
      const signal = AbortSignal.timeout(500);
      const reached = await agent.fetch("http://colony/", { signal })
        .then(async (response) => [await response.text()], () => []);
      if (reached.length === 0) break;
      assert(performance.now() - from < CUT_OFF_MS, "cut off within 5 s");
    }
    assertEquals(await colony.peers(), []);
    const { members } = await colony.members();
    assertEquals(members.map(({ name, state }) => [name, state]), [["walker", "revoked"]]);
  });

  await t.step("what makes no sense is said", async () => {
    await assertRejects(colony.revoke("walker"), { code: "usage" });
    await assertRejects(colony.invite({ name: "No Label" }), { code: "usage" });
    await assertRejects(colony.invite({ lifeMs: 0.5 }), RangeError);
    for (const ask of [agent.invite(), agent.revoke("walker"), agent.members()]) {
      await assertRejects(ask, { code: "unsupported" });
    }
  });
});

Deno.test("who came into an open mesh by an invite is a member when it closes, and who came without one is not", async () => {
  await using stage = await startStage();
  const state = await Deno.makeTempDir();
  try {
    const open = await startColony(stage, { state, open: true });
    const { invite } = await open.invite({ name: "invited" });
    const invited = await stage.start({ name: "invited", join: invite });
    const guest = await stage.start({ name: "guest" });
    for (const one of [invited, guest]) {
      assertEquals(await (await one.fetch("http://colony/")).text(), "inside");
    }
    const members = async (): Promise<readonly string[]> =>
      (await open.members()).members.map(({ name, state }) => `${name} ${state}`);
    await eventually("the colony to let it in", async () => (await members()).length > 0);
    assertEquals(await members(), ["invited admitted"]);
    await open.stop();
    const closed = await startColony(stage, { state });
    // Over a session of the closed colony's: the one before is gone with it.
    const names = async (): Promise<readonly string[]> =>
      (await closed.peers()).filter(({ path }) => path.kind !== "none").map(({ name }) => name);
    await eventually("the member to come back", async () => (await names()).includes("invited"));
    assertEquals(await (await invited.fetch("http://colony/")).text(), "inside");
    const signal = AbortSignal.timeout(2000);
    await assertRejects(guest.fetch("http://colony/", { signal }));
    assertEquals(await names(), ["invited"]);
  } finally {
    await stage[Symbol.asyncDispose]();
    await Deno.remove(state, { recursive: true });
  }
});
