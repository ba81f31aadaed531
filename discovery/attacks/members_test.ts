/** Attacks on closed meshes: coming in without an invite, with another's, or again; seeing in; speaking for the colony. Real HTTP. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { formatBase64, formatHex } from "../../core/mod.ts";
import { SignedStatementSchema } from "../../proto/mod.ts";
import { RecordBook } from "../client/record_book.ts";
import {
  inviteKeyOf,
  type Membership,
  type MembershipList,
  signAdmission,
  signMembership,
} from "../mod.ts";
import { identityOf } from "../testing/identity.ts";
import { MESH, type Node, outcome, World } from "../testing/world.ts";

const SEED = new Uint8Array(32).fill(77);
const DAY_MS = 86_400_000;
const NOT_INVITED = "the invite is not for this mesh and key, or the clock is wrong";

/** A closed mesh with its colony (key 1), and one member, who came with an invite (key 2). */
class Closed implements AsyncDisposable {
  readonly world: World;
  readonly colony: Node;
  readonly member: Node;
  #sequence = 0;

  private constructor(world: World, colony: Node, member: Node) {
    this.world = world;
    this.colony = colony;
    this.member = member;
  }

  static async start(): Promise<Closed> {
    const world = await World.start();
    const closed = new Closed(world, await world.node(1, "colony"), await world.node(2));
    assertEquals(await closed.colony.register({ open: false }), "ok");
    assertEquals(await closed.publish([await closed.signed(closed.member, "admitted")]), "ok");
    assertEquals(await closed.member.register(), "ok");
    return closed;
  }

  /** What the colony signs about a node. */
  async signed(
    node: Node,
    state: "admitted" | "revoked",
    { by = 1, meshId = MESH, sequence = ++this.#sequence } = {},
  ): Promise<MembershipList["members"][number]> {
    const { signer } = await identityOf(by);
    const { publicKey } = node;
    return await signMembership(signer, { meshId, publicKey, state, sequence, name: "" });
  }

  /** Publishes members and invites, in the colony's name unless another says so. */
  publish(
    members: MembershipList["members"],
    { invites = [], as = this.colony, of = this.colony, meshId = MESH }: {
      readonly invites?: MembershipList["invites"];
      readonly as?: Node;
      readonly of?: Node;
      readonly meshId?: string;
    } = {},
  ): Promise<string> {
    const { publicKey } = of;
    const news = { meshId, publicKey, members, invites, revision: 1 };
    return outcome(as.client().publishMembership(news));
  }

  /** Opens the invite of {@linkcode SEED}. */
  async invite(expiresAt = this.world.now + DAY_MS): Promise<void> {
    const invites = [{ key: await inviteKeyOf(SEED), expiresAt }];
    assertEquals(await this.publish([], { invites }), "ok");
  }

  /** What a node signs with the invite, for the key of `seed`. */
  async admission(seed: number, { meshId = MESH, of = SEED } = {}): Promise<string> {
    const { publicKey, text: agentId } = await identityOf(seed);
    const id = formatHex(crypto.getRandomValues(new Uint8Array(8)));
    return await signAdmission(of, { meshId, agentId, publicKey, now: this.world.now, id });
  }

  /** Nothing was lost: the colony and its member see each other. */
  async assertWhole(): Promise<void> {
    assertEquals(await this.world.colonyAt(this.member), "192.0.2.1");
    const { publicKey } = this.member;
    const found = await this.colony.client().lookupAgent({ meshId: MESH, publicKey });
    assertEquals(found?.publicKey, publicKey);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.world[Symbol.asyncDispose]();
  }
}

Deno.test("attack: come into a closed mesh without an invite", async () => {
  await using closed = await Closed.start();
  const stranger = await closed.world.node(3);
  assertEquals(
    await stranger.register(),
    `refused: mesh ${MESH} is closed: an invite of its colony is needed`,
  );
  for (const admission of ["x", "a.b.c", "x".repeat(5000)]) {
    assert((await stranger.register({ admission })).startsWith("refused: "), admission.slice(0, 9));
  }
  // With an invite that nobody has issued.
  const made = await closed.admission(3, { of: new Uint8Array(32).fill(78) });
  assertEquals(
    await stranger.register({ admission: made }),
    "refused: the invite was used, has ended or was taken back: ask for another one",
  );
  // The long one is not looked at.
  assertEquals(closed.world.counters()["admissionsRefused"], 4);
  await closed.assertWhole();
});

Deno.test("attack: have Discovery verify signatures without end for a mesh that is not one's own", async () => {
  await using closed = await Closed.start();
  const { world } = closed;
  const stranger = await world.node(3);
  const signed = async (count: number): Promise<MembershipList["members"]> => {
    const { signer } = await identityOf(3);
    return await Promise.all(Array.from({ length: count }, (_, i) => {
      const publicKey = formatBase64(new Uint8Array(32).fill(i + 9));
      const state = "admitted";
      return signMembership(signer, { meshId: MESH, publicKey, state, sequence: 1, name: "" });
    }));
  };
  const many = await signed(51);
  const calls = await Promise.all(
    Array.from({ length: 150 }, () => closed.publish(many, { as: stranger, of: stranger })),
  );
  const limited = calls.filter((one) => one.includes("too many members")).length;
  assertEquals(limited, 150 - 128);
  assert((world.counters()["membershipsLimited"] ?? 0) >= limited, "a client asks again");
  const few = many.slice(0, 50);
  const again = await closed.publish(few, { as: stranger, of: stranger });
  assert(again.includes("not found"), again);
  await closed.assertWhole();
});

Deno.test("attack: use an invite twice", async () => {
  await using closed = await Closed.start();
  await closed.invite();
  const [first, second] = [await closed.world.node(3), await closed.world.node(4)];
  assertEquals(await first.register({ admission: await closed.admission(3) }), "ok");
  assertEquals(
    await second.register({ admission: await closed.admission(4) }),
    "refused: the invite was used already: ask for another one",
  );
  // Whoever took it may come again, as a registration ends: another may not, however late.
  closed.world.now += 10 * 60_000;
  assertEquals(await closed.colony.register({ open: false }), "ok");
  assertEquals(await closed.member.register(), "ok");
  assertEquals(await first.register({ admission: await closed.admission(3) }), "ok");
  assertEquals(
    await second.register({ admission: await closed.admission(4) }),
    "refused: the invite was used already: ask for another one",
  );
  await closed.assertWhole();
});

Deno.test("attack: use an invite after its end, or after it was taken back", async () => {
  await using closed = await Closed.start();
  const ended = "refused: the invite was used, has ended or was taken back: ask for another one";
  const stranger = await closed.world.node(3);
  await closed.invite(closed.world.now + 60_000);
  closed.world.now += 60_000;
  assertEquals(await stranger.register({ admission: await closed.admission(3) }), ended);
  await closed.invite();
  assertEquals(await closed.publish([], { invites: [] }), "ok");
  assertEquals(await stranger.register({ admission: await closed.admission(3) }), ended);
  await closed.assertWhole();
});

Deno.test("attack: an invite's word for another mesh, another key, or of another time", async () => {
  await using closed = await Closed.start();
  await closed.invite();
  const stranger = await closed.world.node(3);
  const [early, elsewhere, anothers] = [
    await closed.admission(3),
    await closed.admission(3, { meshId: "atoll" }),
    await closed.admission(4),
  ];
  for (const admission of [elsewhere, anothers]) {
    assertEquals(await stranger.register({ admission }), `refused: ${NOT_INVITED}`);
  }
  closed.world.now += 3 * 60_000;
  assertEquals(await stranger.register({ admission: early }), `refused: ${NOT_INVITED}`);
  // The invite is still good for who was meant.
  assertEquals(await stranger.register({ admission: await closed.admission(3) }), "ok");
  await closed.assertWhole();
});

Deno.test("attack: steal an admission that was overheard, as Discovery itself could", async () => {
  await using closed = await Closed.start();
  await closed.invite();
  const [invited, thief] = [await closed.world.node(3), await closed.world.node(4)];
  const admission = await closed.admission(3);
  assertEquals(await thief.register({ admission }), `refused: ${NOT_INVITED}`);
  // In the other's name, without the other's key.
  const inAnothersName = thief.registration({ publicKey: invited.publicKey, admission });
  assertEquals(
    (await outcome(thief.client().register(inAnothersName))).split(":")[0],
    "refused",
  );
  const unproven = invited.client({ proves: false }).register(invited.registration({ admission }));
  assertEquals((await outcome(unproven)).split(":")[0], "refused");
  assertEquals(await invited.register({ admission }), "ok");
  await closed.assertWhole();
});

Deno.test("attack: come back after having been thrown out", async () => {
  await using closed = await Closed.start();
  await closed.invite();
  const node = await closed.world.node(3);
  assertEquals(await node.register({ admission: await closed.admission(3) }), "ok");
  const ended = new AbortController();
  const connected = Promise.withResolvers<void>();
  const watching = node.client().watch({
    meshId: MESH,
    publicKey: node.publicKey,
    onEvent: () => {},
    onState: (state) => state.connected ? connected.resolve() : ended.abort(),
    signal: ended.signal,
  });
  await connected.promise;
  assertEquals(await closed.publish([await closed.signed(node, "revoked")]), "ok");
  // The stream ends at once, not with the registration.
  await watching;
  assertEquals(await closed.world.colonyAt(node), undefined);
  const out = `refused: mesh ${MESH} has thrown this node out`;
  assertEquals(await node.register(), out);
  assertEquals(await node.register({ admission: await closed.admission(3) }), out);
  // An older word of the colony's, said again by who kept it, changes nothing.
  const old = await closed.signed(node, "admitted", { sequence: 1 });
  assertEquals(await closed.publish([old]), "ok");
  assertEquals(await node.register(), out);
  await closed.assertWhole();
});

Deno.test("attack: look into a closed mesh: it is as if there were none", async () => {
  await using closed = await Closed.start();
  const stranger = await closed.world.node(3);
  // Registered in a mesh of its own, so that it is a node like any other.
  assertEquals(await stranger.register({ meshId: "atoll" }), "ok");
  const client = stranger.client();
  const { publicKey: member } = closed.member;
  const from = stranger.publicKey;
  const asked = async (meshId: string): Promise<unknown[]> => [
    await client.lookupColony(meshId),
    await client.lookupAgent({ meshId, publicKey: member }),
    await client.lookupAgent({ meshId, agentId: member }),
    await outcome(client.initiatePunch({ meshId, from, to: member })),
    await outcome(client.bootstrapToken({ meshId, agentId: member })),
    await outcome(client.deregister({ meshId, publicKey: from, role: "agent" })),
  ];
  const [there, nowhere] = [await asked(MESH), await asked("nowhere")];
  const named = (answer: unknown): unknown =>
    typeof answer === "string" ? answer.replaceAll("nowhere", MESH) : answer;
  assertEquals(there, nowhere.map(named));
  assertEquals(there.slice(0, 3), [undefined, undefined, undefined]);
  assert((closed.world.counters()["hiddenFromStrangers"] ?? 0) > 0);
  await closed.assertWhole();
});

Deno.test("attack: speak for a mesh that is another's", async () => {
  await using closed = await Closed.start();
  const { member, world } = closed;
  const [stranger, friend] = [await world.node(3), await world.node(4)];
  const invites = [{ key: await inviteKeyOf(SEED), expiresAt: world.now + DAY_MS }];
  const none = `refused: colony ${MESH} not found`;
  for (const as of [stranger, member]) {
    // In its own name: it is not the colony.
    const signed = await closed.signed(friend, "admitted", { by: as === stranger ? 3 : 2 });
    assertEquals(await closed.publish([signed], { as, of: as, invites }), none);
    // In the colony's name, with its own proof.
    const forColony = await closed.publish([signed], { as, invites });
    assertEquals(forColony.split(":")[0], "refused");
  }
  // The colony cannot be made to publish what it has not signed, nor what it signed for another mesh.
  for (const other of [{ by: 3 }, { meshId: "atoll" }]) {
    assertEquals(
      await closed.publish([await closed.signed(friend, "admitted", other)]),
      "refused: members holds what the colony has not signed for this mesh",
    );
  }
  assertEquals((await friend.register()).split(":")[0], "refused");
  assertEquals(
    (await friend.register({ admission: await closed.admission(4) })).split(":")[0],
    "refused",
  );
  assertEquals(world.counters()["membershipsRefused"], 6);
  await closed.assertWhole();
});

Deno.test("attack: go on in a mesh that has thrown one out: it knows at once, whoever is asked", async () => {
  await using closed = await Closed.start();
  const { world, member, colony } = closed;
  await closed.invite();
  const node = await world.node(3);
  assertEquals(await node.register({ admission: await closed.admission(3) }), "ok");
  const client = member.client();
  // The colony's key is known from its record.
  assertEquals((await client.lookupColony(MESH))?.publicKey, colony.publicKey);
  const ended = new AbortController();
  const connected = Promise.withResolvers<void>();
  const told = Promise.withResolvers<Membership>();
  const back = Promise.withResolvers<Membership>();
  const watching = client.watch({
    meshId: MESH,
    publicKey: member.publicKey,
    onEvent: ({ kind }) => kind === "synchronized" ? connected.resolve() : undefined,
    onMembership: (membership) =>
      (membership.state === "revoked" ? told : back).resolve(membership),
    signal: ended.signal,
  });
  await connected.promise;
  const signed = await closed.signed(node, "revoked");
  assertEquals(await closed.publish([signed]), "ok");
  const { publicKey, state, sequence } = await told.promise;
  assertEquals([publicKey, state], [node.publicKey, "revoked"]);
  // Who was away reads it; nothing is told twice, and of oneself what holds.
  const news = await client.membershipNews({ meshId: MESH, since: 0 });
  const about = (list: readonly Membership[]): string[][] =>
    list.map(({ publicKey, state }) => [publicKey, state]).sort();
  const own = [member.publicKey, "admitted"];
  assertEquals(about(news), [own, [node.publicKey, "revoked"]].sort());
  assertEquals(about(await client.membershipNews({ meshId: MESH, since: sequence })), [own]);
  // Nobody else reads it, nor is the one who is out let near anybody.
  const out = node.client();
  assertEquals(await world.colonyAt(node), undefined);
  assertEquals(await out.lookupAgent({ meshId: MESH, publicKey: member.publicKey }), undefined);
  const punch = { meshId: MESH, from: node.publicKey, to: member.publicKey };
  for (
    const call of [
      out.membershipNews({ meshId: MESH, since: 0 }),
      out.initiatePunch(punch),
      out.bootstrapToken({ meshId: MESH, agentId: node.publicKey }),
    ]
  ) assertEquals((await outcome(call)).split(":")[0], "refused");
  // Once it is let in again everybody knows that too, who was away as well.
  assertEquals(await closed.publish([await closed.signed(node, "admitted")]), "ok");
  const { publicKey: returned, sequence: later } = await back.promise;
  assertEquals([returned, later > sequence], [node.publicKey, true]);
  const since = await client.membershipNews({ meshId: MESH, since: sequence });
  assertEquals(about(since), [own, [node.publicKey, "admitted"]].sort());
  ended.abort();
  await watching;
  await closed.assertWhole();
});

Deno.test("attack: throw a node out in the colony's name: what it has not signed is not believed", async () => {
  await using closed = await Closed.start();
  const { member, world } = closed;
  const rival = await identityOf(9);
  const forged = await signMembership(rival.signer, {
    meshId: MESH,
    publicKey: member.publicKey,
    state: "revoked",
    sequence: 99,
    name: "",
  });
  // A Discovery that lies hands it out.
  const book = new RecordBook({ mayBeUnsigned: () => false, now: () => world.now, log: () => {} });
  const { statement, signature } = forged;
  const signed = create(SignedStatementSchema, { statement, signature });
  assertEquals(await book.openMembership(MESH, signed), undefined, "no colony is known");
  book.pinColony(MESH, closed.colony.publicKey);
  assertEquals(await book.openMembership(MESH, signed), undefined);
  assertEquals(book.counters(), { recordsMembershipForged: 1 });
  const good = create(SignedStatementSchema, await closed.signed(member, "admitted"));
  assertEquals((await book.openMembership(MESH, good))?.state, "admitted");
  assertEquals(await book.openMembership("atoll", good), undefined);
  await closed.assertWhole();
});
