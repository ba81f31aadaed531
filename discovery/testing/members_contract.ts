/** What every store must do about closed meshes: a part of the suite that runs against each. @module */
import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { MemberRow, MembershipNews } from "../store/members.ts";
import type { RegisterOutcome, Store } from "../store/store.ts";
import { agent, colony, key } from "./nodes.ts";

const NOW = 1_700_000_000_000;
const OPTIONS = { now: NOW, ttlMs: 300_000 };
const INVITE = "A".repeat(43);
const OTHER = "B".repeat(42) + "A";
const OWNER = colony({ proven: true });

const member = (seed: number, part: Partial<MemberRow> = {}): MemberRow => ({
  publicKey: key(seed),
  state: "admitted",
  sequence: 1,
  statement: `statement ${seed}`,
  ...part,
});

const news = (part: Partial<MembershipNews> = {}): MembershipNews => ({
  meshId: "reef",
  colonyKey: key(1),
  members: [],
  invites: [],
  revision: 0,
  ...part,
});

const whyOf = (outcome: RegisterOutcome): string =>
  outcome.kind === "barred" ? outcome.why : outcome.kind;

/** Registers the tests. `test` registers one, with an empty store that takes three members. */
export function testMembers(
  test: (behaviour: string, body: (store: Store) => Promise<void>) => void,
): void {
  test("lets only members into a closed mesh", async (store) => {
    await store.register(OWNER, { ...OPTIONS, open: false });
    assertEquals(whyOf(await store.register(agent(2), OPTIONS)), "closed");
    const published = await store.publishMembers(news({ members: [member(2)] }));
    assertEquals(published, { kind: "published", admitted: [key(2)], readmitted: [], revoked: [] });
    assertEquals(whyOf(await store.register(agent(2), OPTIONS)), "registered");
    assertEquals(whyOf(await store.register(agent(3), OPTIONS)), "closed");
    // Whether the colony lives or not.
    await store.remove({ meshId: "reef", publicKey: key(1) }, "colony");
    assertEquals(whyOf(await store.register(agent(3), OPTIONS)), "closed");
    await store.register(OWNER, { ...OPTIONS, open: true });
    assertEquals(whyOf(await store.register(agent(3), OPTIONS)), "registered");
  });

  test("has a member stay one under the key that follows, and not under the old one", async (store) => {
    const rotation = { meshId: "reef", oldKey: key(2), newKey: key(12), sequence: 1 };
    const next = agent(12, { agentId: "a2" });
    await store.register(OWNER, { ...OPTIONS, open: false });
    await store.publishMembers(news({ members: [member(2), member(3, { state: "revoked" })] }));
    // Not registered at the moment.
    assertEquals(await store.rotate(rotation, NOW), { kind: "rotated" });
    assertEquals(whyOf(await store.register(agent(2), OPTIONS)), "retired");
    assertEquals(whyOf(await store.register(next, OPTIONS)), "registered");
    // A colony's key takes the mesh with it, and its members.
    const colonys = { meshId: "reef", oldKey: key(1), newKey: key(11), sequence: 1 };
    assertEquals(await store.rotate({ ...colonys, newKey: key(12) }, NOW), { kind: "taken" });
    assertEquals(await store.rotate(colonys, NOW), { kind: "rotated" });
    assertEquals(whyOf(await store.register(next, OPTIONS)), "registered");
    assertEquals(whyOf(await store.register(agent(4), OPTIONS)), "closed");
    // Who was revoked stays it.
    const away = { meshId: "reef", oldKey: key(3), newKey: key(13), sequence: 1 };
    assertEquals(await store.rotate(away, NOW), { kind: "rotated" });
    assertEquals(whyOf(await store.register(agent(13), OPTIONS)), "revoked");
  });

  test("leaves a mesh as it is for a colony that does not say, or proves nothing", async (store) => {
    await store.register(colony(), { ...OPTIONS, open: false });
    assertEquals(whyOf(await store.register(agent(2), OPTIONS)), "registered");
    await store.register(OWNER, OPTIONS);
    assertEquals(whyOf(await store.register(agent(2, { nat: 3 }), OPTIONS)), "registered");
    await store.register(OWNER, { ...OPTIONS, open: false });
    await store.register({ ...OWNER, nat: 3 }, OPTIONS);
    assertEquals(whyOf(await store.register(agent(2), OPTIONS)), "closed");
  });

  test("displaces who is no member when a mesh closes, and tells it", async (store) => {
    const told: string[] = [];
    store.listen((event) => {
      if (event.kind === "removed") told.push(event.change.publicKey);
    });
    await store.register(OWNER, { ...OPTIONS, open: true });
    await store.register(agent(2), OPTIONS);
    await store.register(agent(3), OPTIONS);
    await store.publishMembers(news({ members: [member(3)] }));
    const outcome = await store.register(OWNER, { ...OPTIONS, open: false });
    const displaced = outcome.kind === "registered" ? outcome.displaced : [];
    assertEquals(displaced.map(({ publicKey }) => publicKey), [key(2)]);
    assertEquals((await store.agents("reef", NOW)).map(({ publicKey }) => publicKey), [key(3)]);
    // A shared database tells by messages, which may be on their way.
    for (let i = 0; i < 200 && told.length === 0; i++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assertEquals(told, [key(2)]);
  });

  test("gives an invite to the first key that takes it", async (store) => {
    await store.register(OWNER, { ...OPTIONS, open: false });
    const invites = [{ key: INVITE, expiresAt: NOW + 1000 }];
    await store.publishMembers(news({ invites }));
    const shown = (seed: number): ReturnType<Store["register"]> =>
      store.register(agent(seed, { admission: "jwt" }), { ...OPTIONS, invite: INVITE });
    assertEquals(whyOf(await shown(2)), "registered");
    assertEquals(whyOf(await shown(3)), "used");
    assertEquals(whyOf(await shown(2)), "registered");
    // What the colony says again does not free it.
    await store.publishMembers(news({ invites }));
    assertEquals(whyOf(await shown(3)), "used");
    assertEquals((await store.agents("reef", NOW)).map(({ admission }) => admission), ["jwt"]);
    // A member shows nothing any more.
    await store.publishMembers(news({ members: [member(2)] }));
    assertEquals(whyOf(await shown(2)), "registered");
    assertEquals((await store.agents("reef", NOW)).map(({ admission }) => admission), [""]);
    assertEquals(whyOf(await shown(3)), "invite");
  });

  test("takes no invite after its end, and none of another mesh", async (store) => {
    await store.register(OWNER, { ...OPTIONS, open: false });
    await store.publishMembers(news({ invites: [{ key: INVITE, expiresAt: NOW }] }));
    const options = { ...OPTIONS, invite: INVITE };
    assertEquals(whyOf(await store.register(agent(2), options)), "invite");
    await store.register(colony({ meshId: "atoll", proven: true }), { ...OPTIONS, open: false });
    const atoll = news({ meshId: "atoll", invites: [{ key: OTHER, expiresAt: NOW + 1 }] });
    await store.publishMembers(atoll);
    assertEquals(
      whyOf(await store.register(agent(2), { ...OPTIONS, invite: OTHER })),
      "invite",
    );
  });

  test("removes whom the colony revokes, for good, also in an open mesh", async (store) => {
    await store.register(OWNER, { ...OPTIONS, open: true });
    await store.register(agent(2), OPTIONS);
    const members = [member(2, { state: "revoked", sequence: 5 }), member(3)];
    const outcome = await store.publishMembers(news({ members, revision: 7 }));
    const kind = "published";
    const done = { kind, admitted: [key(3)], readmitted: [], revoked: [key(2)] };
    assertEquals(outcome, done);
    assertEquals(await store.agents("reef", NOW), []);
    assertEquals(whyOf(await store.register(agent(2), OPTIONS)), "revoked");
    // An older word changes nothing.
    const older = await store.publishMembers(news({ members: [member(2, { sequence: 4 })] }));
    assertEquals(older, { kind, admitted: [], readmitted: [], revoked: [] });
    assertEquals(whyOf(await store.register(agent(2), OPTIONS)), "revoked");
    assertEquals(await store.membersRevision("reef"), 7);
    assertEquals(await store.membersRevision("atoll"), 0);
    // Only what the colony says later, or a new invite, lets it in again.
    const options = { ...OPTIONS, invite: INVITE };
    assertEquals(whyOf(await store.register(agent(2), options)), "revoked");
    await store.publishMembers(news({ invites: [{ key: INVITE, expiresAt: NOW + 1 }] }));
    assertEquals(whyOf(await store.register(agent(2), options)), "registered");
    const again = await store.publishMembers(news({ members: [member(2, { sequence: 6 })] }));
    assertEquals(again, { kind, admitted: [], readmitted: [key(2)], revoked: [] });
    assertEquals(whyOf(await store.register(agent(2), OPTIONS)), "registered");
    await store.register(OWNER, { ...OPTIONS, open: false });
    assertEquals(whyOf(await store.register(agent(2), OPTIONS)), "registered", "it is a member");
    assertEquals(await store.hides({ meshId: "reef", publicKey: key(2) }, NOW), false);
  });

  test("uses an invite in an open mesh too, so that who came by it is let in when the mesh closes", async (store) => {
    const invite = INVITE;
    const shown = { admission: "word" };
    const admissionOf = async (seed: number): Promise<string | undefined> =>
      (await store.node({ meshId: "reef", publicKey: key(seed) }, NOW))?.admission;
    await store.register(OWNER, { ...OPTIONS, open: true });
    await store.publishMembers(news({ invites: [{ key: INVITE, expiresAt: NOW + 9 }] }));
    // The colony sees the word of who holds it, and of nobody else: the others are let in without.
    const cases = [[2, { invite }, "word"], [3, { invite }, ""], [
      4,
      { invite: OTHER },
      "",
    ]] as const;
    for (const [seed, held, seen] of cases) {
      const outcome = await store.register(agent(seed, shown), { ...OPTIONS, ...held });
      assertEquals(whyOf(outcome), "registered");
      assertEquals(await admissionOf(seed), seen, `agent ${seed}`);
    }
    await store.register(OWNER, { ...OPTIONS, open: false });
    assertEquals(
      whyOf(await store.register(agent(2, shown), { ...OPTIONS, invite })),
      "registered",
    );
    assertEquals(whyOf(await store.register(agent(3), { ...OPTIONS, invite })), "used");
    await store.publishMembers(news({ members: [member(2)] }));
    assertEquals(whyOf(await store.register(agent(2), OPTIONS)), "registered");
    assertEquals(await admissionOf(2), "", "a member has nothing to show");
  });

  test("tells whom the colony has thrown out since, and what it says of one", async (store) => {
    await store.register(OWNER, { ...OPTIONS, open: false });
    const members = [
      member(2, { sequence: 5 }),
      member(3, { state: "revoked", sequence: 6 }),
      member(4, { state: "revoked", sequence: 9 }),
    ];
    await store.publishMembers(news({ members }));
    const list = async (since: number, of: string, after = ""): Promise<readonly string[]> =>
      (await store.members("reef", { after, max: 9, news: { since, of } }))
        .map(({ statement }) => statement);
    assertEquals(await list(0, ""), ["statement 3", "statement 4"]);
    assertEquals(await list(6, ""), ["statement 4"]);
    assertEquals(await list(9, key(2)), ["statement 2"]);
    assertEquals(await list(0, key(3), key(3)), ["statement 4"]);
    // Who heard that one was thrown out is told that it has come back.
    const back = member(4, { sequence: 12, statement: "back" });
    await store.publishMembers(news({ members: [back, member(2, { sequence: 13 })] }));
    assertEquals(await list(9, ""), ["back"]);
    assertEquals(await list(12, ""), []);
    assertEquals(
      await store.members("atoll", { after: "", max: 9, news: { since: 0, of: "" } }),
      [],
    );
  });

  test("takes memberships from the colony only, as many as there may be", async (store) => {
    await store.register(OWNER, { ...OPTIONS, open: false });
    const rival = news({ colonyKey: key(9), members: [member(9)] });
    assertEquals(await store.publishMembers(rival), { kind: "notColony" });
    assertEquals(await store.publishMembers({ ...rival, meshId: "atoll" }), { kind: "notColony" });
    const many = [member(2), member(3), member(4), member(5)];
    assertEquals(await store.publishMembers(news({ members: many })), { kind: "full" });
    await store.publishMembers(news({ members: many.slice(0, 3) }));
    assertEquals(await store.publishMembers(news({ members: [member(5)] })), { kind: "full" });
    const again = news({ members: [member(2, { state: "revoked", sequence: 2 })] });
    assertEquals((await store.publishMembers(again)).kind, "published");
    const list = await store.members("reef", { after: "", max: 2 });
    assertEquals(
      list,
      [2, 3].map((seed) => ({
        publicKey: key(seed),
        statement: `statement ${seed}`,
      })),
    );
    const rest = await store.members("reef", { after: key(3), max: 2 });
    assertEquals(rest.map(({ publicKey }) => publicKey), [key(4)]);
  });

  test("hides a closed mesh from who is not in it", async (store) => {
    const hides = (seed: number): Promise<boolean> =>
      store.hides({ meshId: "reef", publicKey: key(seed) }, NOW);
    assertEquals(await hides(2), false);
    await store.register(OWNER, { ...OPTIONS, open: true });
    assertEquals(await hides(2), false);
    await store.register(OWNER, { ...OPTIONS, open: false });
    await store.publishMembers(
      news({ members: [member(3)], invites: [{ key: INVITE, expiresAt: NOW + 9 }] }),
    );
    assertEquals([await hides(1), await hides(2), await hides(3)], [false, true, false]);
    assertEquals(await store.hides({ meshId: "reef", publicKey: "" }, NOW), true);
    await store.register(agent(2), { ...OPTIONS, invite: INVITE });
    assertEquals(await hides(2), false);
    await store.publishMembers(
      news({ members: [member(3, { state: "revoked", sequence: 2 })] }),
    );
    assertEquals(await hides(3), true);
    // Who was thrown out is a stranger to an open mesh too.
    await store.register(OWNER, { ...OPTIONS, open: true });
    assertEquals([await hides(3), await hides(5)], [true, false]);
  });

  test("knows what a node is to a mesh", async (store) => {
    const standing = (...seeds: number[]): Promise<string[]> =>
      Promise.all(
        seeds.map((seed) => store.standing({ meshId: "reef", publicKey: key(seed) }, NOW)),
      );
    assertEquals(await standing(1, 3), ["newcomer", "newcomer"]);
    await store.register(OWNER, { ...OPTIONS, open: true });
    await store.register(agent(2), OPTIONS);
    await store.publishMembers(news({ members: [member(3)] }));
    assertEquals(await standing(1, 2, 3, 4), ["member", "member", "member", "newcomer"]);
    // Between two lives of its registration an agent of an open mesh is anybody; the colony and a member are not.
    const later = NOW + OPTIONS.ttlMs;
    for (const [seed, expected] of [[1, "member"], [2, "newcomer"], [3, "member"]] as const) {
      assertEquals(await store.standing({ meshId: "reef", publicKey: key(seed) }, later), expected);
    }
    assertEquals(await store.standing({ meshId: "atoll", publicKey: key(1) }, NOW), "newcomer");
    await store.register(OWNER, { ...OPTIONS, open: false });
    await store.publishMembers(
      news({ members: [member(3, { state: "revoked", sequence: 2 })] }),
    );
    assertEquals(await standing(1, 2, 3, 4), ["member", "outsider", "revoked", "outsider"]);
    assertEquals(await store.standing({ meshId: "reef", publicKey: "" }, NOW), "outsider");
  });
}
