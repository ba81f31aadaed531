import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { Membership } from "../../discovery/mod.ts";
import { REVOKED_MAX, Roster } from "./roster.ts";

const word = (publicKey: string, sequence: number, state: Membership["state"] = "revoked") => ({
  meshId: "reef",
  publicKey,
  state,
  sequence,
  name: "",
});

Deno.test("Roster: a later word counts, whatever comes first", () => {
  const roster = new Roster();
  assertEquals(roster.admits("a"), true, "nobody has said anything");
  assertEquals(roster.handle(word("a", 5)), true);
  assertEquals(roster.admits("a"), false);
  assertEquals(roster.handle(word("a", 4, "admitted")), false, "an older word");
  assertEquals(roster.handle(word("a", 5, "admitted")), false, "the same number");
  assertEquals(roster.admits("a"), false);
  assertEquals(roster.handle(word("a", 6)), false, "it is out already");
  assertEquals(roster.handle(word("a", 7, "admitted")), false);
  assertEquals(roster.admits("a"), true, "it came with a new invite");
});

Deno.test("Roster: only what was read as a whole is not asked for again", () => {
  const roster = new Roster();
  // One that was missed before may be missing still.
  roster.handle(word("b", 9));
  assertEquals(roster.since, 0);
  const news = [word("own", 11, "admitted"), word("a", 8), word("b", 9)];
  assertEquals(roster.handleNews(news), ["a"]);
  assertEquals([roster.since, roster.admits("a"), roster.admits("own")], [11, false, true]);
  assertEquals(roster.handleNews([word("own", 11, "admitted")]), []);
});

Deno.test("Roster forgets at the limit who was thrown out longest ago", () => {
  const roster = new Roster();
  for (let at = REVOKED_MAX; at >= 1; at--) roster.handle(word(`key ${at}`, at));
  assertEquals([roster.forgotten, roster.admits("key 1")], [0, false]);
  roster.handle(word("another", REVOKED_MAX + 1));
  assertEquals([roster.forgotten, roster.admits("key 1")], [1, true]);
  assertEquals([roster.admits("key 2"), roster.admits("another")], [false, false]);
});
