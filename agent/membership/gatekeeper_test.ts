import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { type DiscoveredPeer, openMembership, signAdmission } from "../../discovery/mod.ts";
import { identityOf } from "../../discovery/testing/identity.ts";
import { RecordedSurroundings } from "../testing/gate_surroundings.ts";
import { found } from "../testing/mesh_world.ts";
import { Gatekeeper, MEMBERS_FILE } from "./gatekeeper.ts";
import { parseInvite } from "./invite.ts";

const NOW = 1_700_000_000_000;
const DAY_MS = 86_400_000;
const MESH = "reef";
const COLONY = await identityOf(1);
const AGENT = await identityOf(2);
const OTHER = await identityOf(3);
type Keys = typeof AGENT;

/** A state directory, and the gates that were opened over it. */
class Gates implements AsyncDisposable {
  readonly state: string;
  readonly log: string[] = [];
  now = NOW;
  readonly #open: Gatekeeper[] = [];

  constructor(state: string) {
    this.state = state;
  }

  /** Opens a gate, which has asked Discovery what that has. */
  async open(
    { open = false, colony = COLONY }: { readonly open?: boolean; readonly colony?: Keys } = {},
  ): Promise<{ readonly gate: Gatekeeper; readonly around: RecordedSurroundings }> {
    const gate = await Gatekeeper.open({
      state: this.state,
      mesh: MESH,
      colonyKey: colony.text,
      signer: colony.signer,
      discovery: ["http://192.0.2.1:8080"],
      open,
      now: () => this.now,
      log: (level, message) => this.log.push(`${level} ${message}`),
    });
    this.#open.push(gate);
    const around = new RecordedSurroundings();
    gate.attach(around);
    return { gate, around };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const gate of this.#open) await gate.stop();
    await Deno.remove(this.state, { recursive: true });
  }
}

function test(name: string, body: (gates: Gates) => Promise<void>): void {
  Deno.test(name, async () => {
    await using gates = new Gates(await Deno.makeTempDir());
    await body(gates);
  });
}

/** How a node shows an invite. */
async function comes(
  node: Keys,
  { invite, now = NOW, ...part }:
    & { readonly invite?: string; readonly now?: number }
    & Partial<
      DiscoveredPeer
    > = {},
): Promise<DiscoveredPeer> {
  const { publicKey, text: agentId } = node;
  const record = { ...found(0, "agent"), publicKey: agentId, agentId, ...part };
  if (invite === undefined) return record;
  const { seed } = parseInvite(invite);
  const order = { meshId: MESH, agentId, publicKey, now, id: crypto.randomUUID() };
  return { ...record, admission: await signAdmission(seed, order) };
}

test("Gatekeeper: an invite lets one key in, which is on the disk and at Discovery", async (gates) => {
  const { gate, around } = await gates.open();
  gate.handleRevision(0);
  assertEquals([gate.isOpen, gate.admits(AGENT.text)], [false, false]);
  const { invite, published, expiresAt } = await gate.invite({ name: "laptop", lifeMs: DAY_MS });
  assertEquals([published, expiresAt], [true, NOW + DAY_MS]);
  assertEquals(around.published.at(-1)?.invites.length, 1);

  assertEquals(await gate.examine(await comes(AGENT)), false, "without the invite");
  assertEquals(await gate.examine(await comes(AGENT, { invite, meshId: "atoll" })), true);
  assertEquals([gate.admits(AGENT.text), gate.admits(OTHER.text)], [true, false]);
  assertEquals(await gate.examine(await comes(AGENT, { invite })), false, "it is in already");
  assertEquals(await gate.examine(await comes(OTHER, { invite })), false, "it was used");
  assertEquals(gate.counters(), { admissions: 1, admissionsRefused: 1 });

  const file = `${gates.state}/${MEMBERS_FILE}`;
  assertEquals(((await Deno.stat(file)).mode ?? 0) & 0o777, 0o600);
  await gate.stop();
  const last = around.published.at(-1);
  assertEquals(last?.invites, []);
  const [signed] = last?.members ?? [];
  assert(signed !== undefined);
  const said = await openMembership(signed, { meshId: MESH, colonyKey: COLONY.publicKey });
  assertEquals([said?.publicKey, said?.state, said?.name], [AGENT.text, "admitted", "laptop"]);
  assertEquals(said?.sequence, last?.revision);

  const again = await gates.open();
  assertEquals([again.gate.admits(AGENT.text), again.gate.admits(OTHER.text)], [true, false]);
  // What Discovery has is not said again.
  again.gate.handleRevision(last?.revision ?? 0);
  await again.gate.stop();
  assertEquals(again.around.published, []);
});

test("Gatekeeper: an invite for part of a millisecond, or for no name, leaves the allow-list readable", async (gates) => {
  const { gate } = await gates.open();
  const { invite, expiresAt } = await gate.invite({ lifeMs: 1000.5 });
  assertEquals([expiresAt, parseInvite(invite).expiresAt], [NOW + 1001, NOW + 1001]);
  await assertRejects(gate.invite({ name: "No Name", lifeMs: DAY_MS }), { code: "usage" });
  const { gate: next } = await gates.open();
  assertEquals((await next.members()).invites.length, 1);
});

test("Gatekeeper: a colony does not throw itself out, which Discovery would never take", async (gates) => {
  const { gate, around } = await gates.open();
  gate.handleRevision(0);
  await assertRejects(gate.revoke(COLONY.text), { code: "usage" });
  const { published } = await gate.revoke(OTHER.text);
  const said = around.published.flatMap(({ members }) => members);
  assertEquals([published, said.length], [true, 1]);
  assertEquals((await gate.members()).members.length, 1);
});

test("Gatekeeper: an admission for another key, mesh or time lets nobody in", async (gates) => {
  const { gate } = await gates.open();
  const { invite } = await gate.invite({ lifeMs: DAY_MS });
  const good = await comes(AGENT, { invite });
  for (
    const bad of [
      { ...good, publicKey: OTHER.text },
      { ...good, agentId: "another" },
      { ...good, admission: "a.b.c" },
      { ...good, publicKey: "no key" },
      await comes(AGENT, { invite, now: NOW - 10 * 60_000 }),
    ]
  ) assertEquals(await gate.examine(bad), false, JSON.stringify(bad).slice(0, 80));
  assertEquals(await gate.examine({ ...good, role: "colony" }), false);
  gates.now += DAY_MS;
  assertEquals(await gate.examine(await comes(AGENT, { invite, now: gates.now })), false, "ended");
  gates.now = NOW;
  assertEquals(await gate.examine(good), true);
});

test("Gatekeeper: who is thrown out stays out, whoever starts again, until there is a new invite", async (gates) => {
  const { gate, around } = await gates.open();
  gate.handleRevision(0);
  const { invite } = await gate.invite({ name: "laptop", lifeMs: DAY_MS });
  await gate.examine(await comes(AGENT, { invite }));
  await assertRejects(gate.revoke("nobody"), { code: "usage" });
  assertEquals(await gate.revoke("laptop"), { publicKey: AGENT.text, published: true });
  assertEquals([around.expelled, gate.admits(AGENT.text)], [[AGENT.text], false]);
  assertEquals(await gate.examine(await comes(AGENT, { invite })), false);
  const { gate: next } = await gates.open();
  assertEquals(next.admits(AGENT.text), false);
  assertEquals(await next.examine(await comes(AGENT, { invite })), false);
  // Nor by a key that followed.
  const earlierKeys = [AGENT.text];
  assertEquals(await next.examine(await comes(OTHER, { earlierKeys })), false);
  const fresh = await next.invite({ lifeMs: DAY_MS });
  assertEquals(await next.examine(await comes(AGENT, { invite: fresh.invite })), true);
  assertEquals(next.admits(AGENT.text), true);
});

test("Gatekeeper: a key that follows a member's takes its place", async (gates) => {
  const { gate, around } = await gates.open();
  const { invite } = await gate.invite({ name: "laptop", lifeMs: DAY_MS });
  await gate.examine(await comes(AGENT, { invite }));
  assertEquals(await gate.examine(await comes(OTHER, { earlierKeys: [AGENT.text] })), true);
  assertEquals([gate.admits(AGENT.text), gate.admits(OTHER.text)], [false, true]);
  assertEquals([around.expelled, around.successors], [[AGENT.text], [OTHER.text]]);
  const { members } = await gate.members();
  assertEquals(members.map(({ name, state }) => [name, state]), [
    ["laptop", "admitted"],
    ["laptop", "revoked"],
  ]);
});

test("Gatekeeper: an open mesh admits everybody who was not thrown out; who came by an invite is a member when it closes", async (gates) => {
  const { gate } = await gates.open({ open: true });
  const { invite } = await gate.invite({ lifeMs: DAY_MS });
  assertEquals([gate.admits(AGENT.text), gate.admits(OTHER.text)], [true, true]);
  assertEquals(await gate.examine(await comes(AGENT, { invite })), true);
  const third = await identityOf(4);
  await gate.revoke(third.text);
  assertEquals(gate.admits(third.text), false);
  await gate.stop();
  const { gate: closed } = await gates.open();
  assertEquals(
    [AGENT, OTHER, third].map(({ text }) => closed.admits(text)),
    [true, false, false],
  );
});

test("Gatekeeper: a decision counts though Discovery is away, and is published when it is back", async (gates) => {
  const { gate, around } = await gates.open();
  const early = await gate.invite({ lifeMs: DAY_MS });
  assertEquals(early.published, false, "Discovery was never asked");
  around.away = true;
  gate.handleRevision(0);
  const { published } = await gate.invite({ lifeMs: DAY_MS });
  assertEquals(published, false);
  assert(gates.log.includes("warn members are not published yet: Discovery is away"));
  assertEquals(await gate.examine(await comes(AGENT, { invite: early.invite })), true);
  around.away = false;
  gate.handleRevision(0);
  await gate.stop();
  const last = around.published.at(-1);
  assertEquals([last?.members.length, last?.invites.length], [1, 1]);
});

test("Gatekeeper: a Discovery that has a later list than the colony is told everything again", async (gates) => {
  const { gate, around } = await gates.open();
  const { invite } = await gate.invite({ lifeMs: DAY_MS });
  await gate.examine(await comes(AGENT, { invite }));
  // The colony was restored from a copy.
  gate.handleRevision(NOW + DAY_MS);
  await gate.stop();
  assertEquals(around.published.map(({ members }) => members.length), [1]);
});

test("Gatekeeper: a colony that goes on with another key signs its members anew", async (gates) => {
  const { gate } = await gates.open();
  const { invite } = await gate.invite({ name: "laptop", lifeMs: DAY_MS });
  await gate.examine(await comes(AGENT, { invite }));
  await gate.revoke(OTHER.text);
  await gate.stop();
  const colony = await identityOf(9);
  const { gate: next, around } = await gates.open({ colony });
  assertEquals([next.admits(AGENT.text), next.admits(OTHER.text)], [true, false]);
  next.handleRevision(0);
  await next.stop();
  const said = [];
  for (const signed of around.published.flatMap(({ members }) => members)) {
    const one = await openMembership(signed, { meshId: MESH, colonyKey: colony.publicKey });
    said.push([one?.publicKey, one?.state]);
  }
  assertEquals(said, [[AGENT.text, "admitted"], [OTHER.text, "revoked"]]);
});

test("Gatekeeper: an invite is taken back by its id; half an allow-list is an error that names the file", async (gates) => {
  const { gate } = await gates.open();
  const { invite, id } = await gate.invite({ lifeMs: DAY_MS });
  await assertRejects(gate.cancelInvite("none"), { code: "usage" });
  await gate.cancelInvite(id);
  assertEquals((await gate.members()).invites, []);
  assertEquals(await gate.examine(await comes(AGENT, { invite })), false);
  await gate.stop();
  const file = `${gates.state}/${MEMBERS_FILE}`;
  const text = await Deno.readTextFile(file);
  await Deno.writeTextFile(file, text.slice(0, -20));
  await assertRejects(gates.open(), (error: Error & { code?: string }) => {
    assertEquals(error.code, "corrupt");
    assertMatch(error.message, /members\.json is damaged or of another mesh/);
    return true;
  });
  assertEquals(await Deno.readTextFile(file), text.slice(0, -20), "it is left as it is");
});
