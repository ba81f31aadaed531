import { deepStrictEqual as assertEquals, ok as assert, rejects } from "node:assert/strict";
import { formatBase64 } from "../../core/mod.ts";
import { inviteKeyOf } from "../../discovery/mod.ts";
import { formatInvite, type Invite } from "./invite.ts";
import { JOIN_FILE, joinedBy, joinedMesh, letIn, readJoined } from "./join_file.ts";

const NOW = 1_700_000_000_000;
const SEED = new Uint8Array(32).fill(7);
const INVITE: Invite = {
  mesh: "reef",
  colonyKey: formatBase64(new Uint8Array(32).fill(1)),
  discovery: ["http://192.0.2.1:8080"],
  seed: SEED,
  expiresAt: NOW + 1000,
};
const TEXT = formatInvite(INVITE);

function test(name: string, body: (state: string) => Promise<void>): void {
  Deno.test(name, async () => {
    const state = await Deno.makeTempDir();
    try {
      await body(`${state}/agent`);
    } finally {
      await Deno.remove(state, { recursive: true });
    }
  });
}

test("without an invite, and without a state of before, there is nothing to join", async (state) => {
  assertEquals(await joinedBy(state, { join: undefined, now: NOW }), undefined);
  assertEquals(await joinedMesh({ state }), undefined);
});

test("an invite is kept, for its owner alone, until it has let the node in; then its seed is gone", async (state) => {
  assertEquals(await joinedBy(state, { join: TEXT, now: NOW }), INVITE);
  const { mode } = await Deno.stat(`${state}/${JOIN_FILE}`);
  assertEquals((mode ?? 0) & 0o777, 0o600);
  // Not let in yet: the next start tries again, beyond the end of the invite too, as the colony may have heard of it in time.
  assertEquals(await joinedBy(state, { join: undefined, now: NOW + 9000 }), INVITE);
  await letIn(state, INVITE);
  const { seed: _, ...rest } = INVITE;
  const joined = { ...rest, used: await inviteKeyOf(SEED) };
  assertEquals(await joinedBy(state, { join: undefined, now: NOW + 9000 }), joined);
  const file = await Deno.readTextFile(`${state}/${JOIN_FILE}`);
  assert(!file.includes(TEXT) && !file.includes(formatBase64(SEED)));
  assertEquals(await joinedMesh({ state }), joined);
});

test("the command line that joined starts the node again", async (state) => {
  await joinedBy(state, { join: TEXT, now: NOW });
  await letIn(state, INVITE);
  const before = await Deno.readTextFile(`${state}/${JOIN_FILE}`);
  const again = await joinedBy(state, { join: TEXT, now: NOW + 9000 });
  assertEquals([again?.seed, again?.used], [undefined, await inviteKeyOf(SEED)]);
  assertEquals(await Deno.readTextFile(`${state}/${JOIN_FILE}`), before);
});

test("an invite that has ended, and what is none, change nothing", async (state) => {
  const ended = { join: TEXT, now: NOW + 1000 };
  await rejects(joinedBy(state, ended), { code: "refused", message: /ask for another/ });
  await rejects(joinedBy(state, { join: "moray1.x", now: NOW }), { code: "usage" });
  assertEquals(await readJoined(state), undefined);
});

test("a new invite takes the place of the old one", async (state) => {
  await joinedBy(state, { join: TEXT, now: NOW });
  await letIn(state, INVITE);
  const next = { ...INVITE, seed: new Uint8Array(32).fill(8), mesh: "atoll" };
  assertEquals(await joinedBy(state, { join: formatInvite(next), now: NOW }), next);
  assertEquals(await readJoined(state), next);
});

test("a damaged file is an error that names it and what to do, and repeats nothing of it", async (state) => {
  await joinedBy(state, { join: TEXT, now: NOW });
  const path = `${state}/${JOIN_FILE}`;
  for (const text of ["", "{", "null", '{"invite":1}', `{"invite":"${TEXT.slice(0, -9)}"}`]) {
    await Deno.writeTextFile(path, text);
    await rejects(readJoined(state), (error: Error & { code?: string }) => {
      assertEquals(error.code, "corrupt");
      assert(error.message.startsWith(`${path} is damaged: `), error.message);
      return !error.message.includes(TEXT.slice(10, 40)) && !error.message.includes("\n");
    });
    await rejects(joinedBy(state, { join: TEXT, now: NOW }), { code: "corrupt" });
    assertEquals(await Deno.readTextFile(path), text, "it stays for whoever repairs it");
  }
});
