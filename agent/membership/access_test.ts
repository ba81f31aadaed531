import { deepStrictEqual as assertEquals, rejects as assertRejects } from "node:assert/strict";
import type { Membership, Registration } from "../../discovery/mod.ts";
import { identityOf } from "../../discovery/testing/identity.ts";
import { RecordedSurroundings } from "../testing/gate_surroundings.ts";
import { MeshAccess, type MeshAccessOptions } from "./access.ts";
import { formatInvite } from "./invite.ts";
import { readJoined } from "./join_file.ts";

const NOW = 1_700_000_000_000;
const MESH = "reef";
const COLONY = await identityOf(1);
const AGENT = await identityOf(2);
const FELLOW = await identityOf(3);
const INVITE = formatInvite({
  mesh: MESH,
  colonyKey: COLONY.text,
  discovery: ["http://192.0.2.1:8080"],
  seed: new Uint8Array(32).fill(7),
  expiresAt: NOW + 60_000,
});
const REGISTRATION: Registration = {
  meshId: MESH,
  publicKey: AGENT.text,
  role: "agent",
  endpoints: [],
};
const REGISTERED = { ttlMs: 300_000, membersRevision: 0 } as Parameters<
  MeshAccess["handleRegistered"]
>[0];
/** What plain Coral Discoveries can do. */
const PLAIN = { punch: false, watch: false, deregister: false, relay: false };

const word = (
  { text: publicKey }: typeof AGENT,
  state: Membership["state"],
  sequence = 1,
): Membership => ({ meshId: MESH, publicKey, state, sequence, name: "" });

interface Stage {
  readonly access: MeshAccess;
  readonly around: RecordedSurroundings;
  readonly state: string;
  readonly log: readonly string[];
  /** Whether the invite's seed is kept in the state directory, once that is written. */
  keepsSeed(): Promise<boolean>;
}

function test(
  name: string,
  options: Partial<MeshAccessOptions>,
  body: (stage: Stage) => Promise<void>,
): void {
  Deno.test(name, async () => {
    const state = await Deno.makeTempDir();
    const log: string[] = [];
    try {
      const access = await MeshAccess.open({
        role: "agent",
        state,
        mesh: MESH,
        discovery: ["http://192.0.2.1:8080"],
        identity: AGENT,
        now: () => NOW,
        log: (level, message) => log.push(`${level} ${message}`),
        ...options,
      });
      const around = new RecordedSurroundings();
      access.attach(around);
      const keepsSeed = async (): Promise<boolean> => (await readJoined(state))?.seed !== undefined;
      await body({ access, around, state, log, keepsSeed });
      await access.stop();
    } finally {
      await Deno.remove(state, { recursive: true });
    }
  });
}

/** Resolves once a condition holds, which follows from a file being written. */
async function soon(holds: () => Promise<boolean>): Promise<void> {
  while (!await holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

test("MeshAccess: an invite is shown until the colony has signed that it let the node in", {
  join: INVITE,
}, async ({ access, keepsSeed }) => {
  assertEquals(
    access.pin({ meshId: MESH, peers: [], sequences: new Map() }).colonyKey,
    COLONY.text,
  );
  const shown = async (): Promise<boolean> =>
    (await access.extend(REGISTRATION)).admission !== undefined;
  assertEquals(await shown(), true);
  access.handleRegistered(REGISTERED);
  // In an open mesh everybody reaches the colony: that says nothing of membership.
  access.handleConnected();
  access.handleMembership(word(FELLOW, "admitted"));
  access.handleMembership(word(AGENT, "revoked"));
  assertEquals([await shown(), await keepsSeed()], [true, true]);
  access.handleMembership(word(AGENT, "admitted", 2));
  assertEquals(await shown(), false);
  await soon(async () => !await keepsSeed());
});

test("MeshAccess: where nobody tells of members, the session with the colony has to do", {
  join: INVITE,
}, async ({ access, around, keepsSeed }) => {
  around.features = PLAIN;
  access.handleConnected();
  assertEquals(await keepsSeed(), true, "the invite was not shown yet");
  access.handleRegistered(REGISTERED);
  assertEquals((await access.extend(REGISTRATION)).admission, undefined);
  await soon(async () => !await keepsSeed());
});

test(
  "MeshAccess: an agent cuts off whom its colony throws out, once, until that is let in again",
  {},
  async (
    { access, around },
  ) => {
    assertEquals(access.admits(FELLOW.text), true);
    access.handleMembership(word(FELLOW, "revoked", 5));
    access.handleMembership(word(FELLOW, "revoked", 5));
    assertEquals([around.expelled, access.admits(FELLOW.text)], [[FELLOW.text], false]);
    assertEquals(around.ended, 2, "its own relay may have carried something for it");
    access.handleMembership(word(FELLOW, "admitted", 6));
    assertEquals([around.expelled.length, access.admits(FELLOW.text)], [1, true]);
    await Promise.resolve();
  },
);

test("MeshAccess: what was said while the stream was broken is read when it stands", {
  join: INVITE,
}, async ({ access, around, log, keepsSeed }) => {
  const { signal } = new AbortController();
  around.news = [word(FELLOW, "revoked", 8), word(AGENT, "admitted", 3)];
  around.away = true;
  await access.handleSynchronized(signal);
  assertEquals([around.expelled, log], [[], ["debug reading the members: Discovery is away"]]);
  around.away = false;
  await access.handleSynchronized(signal);
  assertEquals(around.expelled, [FELLOW.text]);
  await soon(async () => !await keepsSeed());
  await access.handleSynchronized(signal);
  assertEquals(around.asked.map(({ since }) => since), [0, 8]);
  assertEquals(around.expelled, [FELLOW.text]);
  around.features = PLAIN;
  await access.handleSynchronized(signal);
  assertEquals(around.asked.length, 2, "a plain Discovery is not asked");
});

test(
  "MeshAccess: a colony is closed unless it is told otherwise, and says where that cannot work",
  {
    role: "colony",
    identity: COLONY,
  },
  async ({ access, around, log }) => {
    const own: Registration = { ...REGISTRATION, role: "colony", publicKey: COLONY.text };
    assertEquals((await access.extend(own)).open, false);
    assertEquals(access.admits(AGENT.text), false);
    access.handleRegistered(REGISTERED);
    assertEquals(log, []);
    around.features = PLAIN;
    access.handleRegistered(REGISTERED);
    access.handleRegistered(REGISTERED);
    assertEquals(log, ["warn this Discovery carries no invites: a mesh there needs --open"]);
    // What it has signed itself it need not be told.
    access.handleMembership(word(FELLOW, "revoked"));
    assertEquals([around.expelled, around.ended], [[], 1]);
  },
);

test("MeshAccess: an open colony says so, and admits everybody", {
  role: "colony",
  identity: COLONY,
  open: true,
}, async ({ access, around, log }) => {
  around.features = PLAIN;
  const own: Registration = { ...REGISTRATION, role: "colony", publicKey: COLONY.text };
  assertEquals((await access.extend(own)).open, true);
  access.handleRegistered(REGISTERED);
  assertEquals([access.admits(AGENT.text), log], [true, []]);
});

Deno.test("MeshAccess: an invite of another mesh is a usage error", async () => {
  const state = await Deno.makeTempDir();
  try {
    const opening = MeshAccess.open({
      role: "agent",
      state,
      mesh: "atoll",
      discovery: ["http://192.0.2.1:8080"],
      identity: AGENT,
      join: INVITE,
      now: () => NOW,
      log: () => {},
    });
    await assertRejects(opening, {
      code: "usage",
      message: /^The invite is of mesh reef, not atoll/,
    });
  } finally {
    await Deno.remove(state, { recursive: true });
  }
});
