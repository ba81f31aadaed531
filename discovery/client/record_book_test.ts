import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { type PeerRecord, PeerRecordSchema, type SignedStatement } from "../../proto/mod.ts";
import { signRotation } from "../signature/rotation.ts";
import type { Signed } from "../signature/statement.ts";
import { identityOf } from "../testing/identity.ts";
import { OwnStatements } from "./own_statement.ts";
import { type DiscoveredPeer, parsePeer } from "./peer.ts";
import {
  RECORD_AGE_MAX_MS,
  RecordBook,
  type RecordBookOptions,
  RECORDS_MAX,
  type RememberedRecords,
} from "./record_book.ts";
import { recordOf, type Registration } from "./registration.ts";

const NOW = 1_700_000_000_000;
const MESH = "reef";

type Identity = Awaited<ReturnType<typeof identityOf>>;

/** A node's record as an honest Discovery hands it out. */
interface Told {
  readonly record: PeerRecord;
  readonly signed: SignedStatement;
}

/** What `node` registers at `at` with this port. */
async function recordFrom(
  node: Identity,
  port: number,
  { at = NOW, ...part }: Partial<Registration> & { readonly at?: number } = {},
): Promise<Told> {
  const content = recordOf({
    meshId: MESH,
    role: "agent",
    publicKey: node.text,
    endpoints: [{ hostname: "192.0.2.1", port }],
    ...part,
  });
  const own = new OwnStatements({ signer: node.signer, now: () => at });
  const record = create(PeerRecordSchema, { ...content, generation: BigInt(at) });
  return { record, signed: await own.of(content) };
}

class World {
  now = NOW;
  mayBeUnsigned = false;
  readonly log: string[] = [];
  readonly book: RecordBook;

  constructor(part: Pick<RecordBookOptions, "remembered"> = {}) {
    this.book = new RecordBook({
      ...part,
      now: () => this.now,
      mayBeUnsigned: () => this.mayBeUnsigned,
      log: (level, message) => this.log.push(`${level} ${message}`),
    });
  }

  async peer(
    { record, signed }: Told,
    change: Partial<PeerRecord> = {},
  ): Promise<DiscoveredPeer | undefined> {
    const told = create(PeerRecordSchema, { ...record, ...change });
    return await this.book.open(parsePeer(told, this.now), signed);
  }

  /** The port that is believed. */
  async open(told: Told, change: Partial<PeerRecord> = {}): Promise<number | undefined> {
    return (await this.peer(told, change))?.endpoints[0]?.port;
  }

  async unsigned({ record }: Told): Promise<number | undefined> {
    return (await this.book.open(parsePeer(record, this.now), undefined))?.endpoints[0]?.port;
  }

  /** What the next run begins with. */
  remembered(peers: readonly DiscoveredPeer[] = []): RememberedRecords {
    return this.book.remembered(MESH, peers);
  }
}

Deno.test("a record is believed as its node signed it, whatever stands beside it", async () => {
  const world = new World();
  const told = await recordFrom(await identityOf(2), 5, { name: "a2" });
  const lies = {
    name: "evil",
    endpoints: ["203.0.113.66:6"],
    meshIpv4: "10.42.0.1",
    noRelay: true,
  };
  const peer = await world.peer(told, lies);
  assertEquals(peer?.endpoints, [{ hostname: "192.0.2.1", port: 5 }]);
  assertEquals([peer?.name, peer?.meshIpv4, peer?.noRelay], ["a2", undefined, false]);
  assertEquals([peer?.sequence, peer?.generation], [NOW, NOW]);
  assertEquals(world.book.counters(), {});
});

Deno.test("a record of another key, mesh, role or id is not believed, nor one that nobody signed", async () => {
  const world = new World();
  const [node, other] = await Promise.all([identityOf(2), identityOf(3)]);
  const good = await recordFrom(node, 5);
  const others = await recordFrom(other, 6);
  const forged: readonly (readonly [string, Told])[] = [
    ["another key's", { ...good, signed: others.signed }],
    ["another mesh's", {
      ...good,
      signed: (await recordFrom(node, 5, { meshId: "lagoon" })).signed,
    }],
    ["another role's", { ...good, signed: (await recordFrom(node, 5, { role: "colony" })).signed }],
    ["another id's", { ...good, signed: (await recordFrom(node, 5, { agentId: "x" })).signed }],
    [
      "with another's signature",
      { ...good, signed: { ...good.signed, signature: others.signed.signature } },
    ],
    ["another content's", {
      ...good,
      signed: { ...good.signed, statement: others.signed.statement },
    }],
  ];
  for (const [name, told] of forged) assertEquals(await world.open(told), undefined, name);
  assertEquals(await world.unsigned(good), undefined);
  assertEquals(world.book.counters(), { recordsForged: forged.length, recordsUnsigned: 1 });
  assertEquals(await world.open(good), 5, "the rightful one is believed all the same");
  for (const [name, told] of forged) {
    assertEquals(await world.open(told), 5, `${name}: what was believed before stays`);
  }
  assertEquals(world.log.length, 2, "each said once of a key");
});

Deno.test("an older record changes nothing, in the next run neither", async () => {
  const node = await identityOf(2);
  const [old, present] = await Promise.all([
    recordFrom(node, 5, { at: NOW - 1000 }),
    recordFrom(node, 6),
  ]);
  const world = new World();
  assertEquals([await world.open(old), await world.open(present)], [5, 6]);
  assertEquals([await world.open(old), await world.open(present)], [6, 6]);
  assertEquals(world.book.counters(), { recordsOutdated: 1 });

  const peer = await world.peer(present);
  assert(peer !== undefined);
  const next = new World({ remembered: world.remembered([peer]) });
  assertEquals([await next.open(old), await next.open(present)], [6, 6]);
  // The node was gone meanwhile, and its record is not kept: only that there was a later one.
  const later = new World({ remembered: world.remembered() });
  assertEquals([await later.open(old), await later.open(present)], [undefined, 6]);
});

Deno.test("without memory nothing is believed that is older than the limit; with it what is as new", async () => {
  const told = await recordFrom(await identityOf(2), 5);
  const world = new World();
  world.now = NOW + RECORD_AGE_MAX_MS + 1;
  assertEquals(await world.open(told), undefined);
  assertEquals(world.book.counters(), { recordsExpired: 1 });
  world.now--;
  assertEquals(await world.open(told), 5);
  world.now += 10 * RECORD_AGE_MAX_MS;
  assertEquals(await world.open(told), 5);
  const peer = await world.peer(told);
  assert(peer !== undefined);
  assertEquals(world.remembered().sequences.size, 0, "who is gone for so long is told by age");
  const next = new World({ remembered: world.remembered([peer]) });
  next.now = world.now;
  assertEquals(await next.open(told), 5);
  next.now = 0;
  const ahead = await recordFrom(await identityOf(3), 7);
  assertEquals(await next.open(ahead), 7, "a clock that is behind keeps nobody out");
});

Deno.test("the first colony's key is the mesh's: another is not believed, in the next run neither", async () => {
  const [first, second] = await Promise.all([identityOf(1), identityOf(9)]);
  const [colony, impostor] = await Promise.all([
    recordFrom(first, 5, { role: "colony" }),
    recordFrom(second, 66, { role: "colony" }),
  ]);
  const world = new World();
  assertEquals([await world.open(colony), await world.open(impostor)], [5, undefined]);
  assertEquals(await world.open({ ...colony, signed: impostor.signed }), 5, "under its key");
  assertEquals(await world.open({ ...impostor, signed: colony.signed }), undefined);
  const next = new World({ remembered: world.remembered() });
  assertEquals([await next.open(impostor), await next.open(colony)], [undefined, 5]);
  assertEquals(next.book.counters(), { recordsColonyReplaced: 1 });

  const pinned = new World();
  pinned.book.pinColony(MESH, first.text);
  assertEquals([await pinned.open(impostor), await pinned.open(colony)], [undefined, 5]);
  pinned.book.pinColony(MESH, second.text);
  assertEquals([await pinned.open(impostor), await pinned.open(colony)], [66, undefined]);
});

Deno.test("records that nobody signed are believed of nobody who ever signed one, and where Discovery has such", async () => {
  const [node, boss, other] = await Promise.all([identityOf(2), identityOf(1), identityOf(9)]);
  const told = await recordFrom(node, 5);
  const colony = await recordFrom(boss, 6, { role: "colony" });
  const impostor = await recordFrom(other, 66, { role: "colony" });
  const world = new World();
  world.mayBeUnsigned = true;
  assertEquals([await world.unsigned(told), await world.unsigned(colony)], [5, 6]);
  assertEquals(await world.unsigned(impostor), 66, "as a plain Coral Discovery has it");
  assertEquals(world.log.length, 1, "said once");
  assertEquals([await world.open(told), await world.open(colony)], [5, 6]);
  const moved = await recordFrom(node, 7, { at: NOW + 1 });
  assertEquals([await world.unsigned(moved), await world.unsigned(impostor)], [5, undefined]);
  const next = new World({ remembered: world.remembered() });
  next.mayBeUnsigned = true;
  assertEquals([await next.unsigned(told), await next.unsigned(colony)], [undefined, undefined]);
});

Deno.test("a full book forgets who is told by age, and then believes no more keys", async () => {
  const [node, other] = await Promise.all([identityOf(2), identityOf(3)]);
  const full = (sequence: number): RememberedRecords => ({
    meshId: MESH,
    peers: [],
    sequences: new Map(Array.from({ length: RECORDS_MAX + 5 }, (_, i) => [`key ${i}`, sequence])),
  });
  const old = new World({ remembered: full(NOW - RECORD_AGE_MAX_MS - 1) });
  assertEquals(await old.open(await recordFrom(node, 5)), 5);
  const young = new World({ remembered: full(NOW) });
  assertEquals(await young.open(await recordFrom(node, 5)), undefined);
  assertEquals(await young.open(await recordFrom(other, 5)), undefined);
  assertEquals(young.book.counters(), { recordsIgnored: 2 });
});

/** The rotations that lead from each node to the next. */
async function rotationsOf(nodes: readonly Identity[]): Promise<Signed[]> {
  return await Promise.all(
    nodes.slice(1).map((next, i) => {
      const old = nodes[i] ?? next;
      const rotation = { meshId: MESH, oldKey: old.text, newKey: next.text, sequence: i + 1 };
      return signRotation(old.signer, rotation);
    }),
  );
}

Deno.test("a colony that goes on with another key is followed, live and after two rotations, and not back", async () => {
  const nodes = await Promise.all([1, 11, 12].map(identityOf));
  const [first, second, third] = nodes as [Identity, Identity, Identity];
  const chain = await rotationsOf(nodes);
  const records = [
    await recordFrom(first, 1, { role: "colony" }),
    await recordFrom(second, 2, { role: "colony", rotations: chain.slice(0, 1) }),
    await recordFrom(third, 3, { role: "colony", rotations: chain }),
  ] as const;
  const live = new World();
  for (const [i, told] of records.entries()) {
    assertEquals(await live.open(told), i + 1);
    assertEquals(await live.open(told), i + 1, "again");
  }
  assertEquals((await live.peer(records[2]))?.earlierKeys, [second.text, first.text]);
  assertEquals(live.remembered().colonyKey, third.text);
  for (const old of records.slice(0, 2)) assertEquals(await live.open(old), undefined);
  assertEquals(live.book.counters(), { recordsColonyReplaced: 2 });

  const away = new World();
  assertEquals(await away.open(records[0]), 1);
  const later = new World({ remembered: away.remembered() });
  assertEquals(await later.open(records[2]), 3);
  assertEquals(later.remembered().colonyKey, third.text);
});

Deno.test("attack: a Discovery names a colony that the known one did not sign for", async () => {
  const [colony, thief, next] = await Promise.all([1, 9, 11].map(identityOf)) as [
    Identity,
    Identity,
    Identity,
  ];
  const world = new World();
  const own = await recordFrom(colony, 1, { role: "colony" });
  assertEquals(await world.open(own), 1);
  const claim = { meshId: MESH, oldKey: colony.text, newKey: thief.text, sequence: 1 };
  const [theirs] = await rotationsOf([colony, next]);
  const forged = [
    [],
    [await signRotation(thief.signer, claim)],
    [await signRotation(colony.signer, { ...claim, meshId: "lagoon" })],
    // What the colony signed for another.
    theirs === undefined ? [] : [theirs],
    theirs === undefined ? [] : [theirs, ...await rotationsOf([thief, next])],
  ];
  for (const rotations of forged) {
    assertEquals(
      await world.open(await recordFrom(thief, 9, { role: "colony", rotations })),
      undefined,
    );
  }
  assertEquals(world.remembered().colonyKey, colony.text);
  assertEquals(await world.open(own), 1);
});
