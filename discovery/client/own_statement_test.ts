import { deepStrictEqual as assertEquals, notDeepStrictEqual } from "node:assert/strict";
import { openRecord } from "../signature/record.ts";
import { identityOf } from "../testing/identity.ts";
import { OwnStatements, RECORD_RENEW_MS, type SequenceStore } from "./own_statement.ts";
import { recordOf } from "./registration.ts";

const NOW = 1_700_000_000_000;

class World {
  now = NOW;
  readonly kept: number[] = [];
  readonly statements: OwnStatements;
  readonly #publicKey: string;

  constructor(identity: Awaited<ReturnType<typeof identityOf>>, last = 0) {
    const sequences: SequenceStore = {
      last,
      keep: (sequence) => Promise.resolve(void this.kept.push(sequence)),
    };
    this.#publicKey = identity.text;
    const { signer } = identity;
    this.statements = new OwnStatements({ signer, sequences, now: () => this.now });
  }

  /** Signs a record with this port. Returns its sequence. */
  async sign(port: number): Promise<number> {
    const endpoints = [{ hostname: "192.0.2.1", port }];
    const record = recordOf({
      meshId: "reef",
      role: "agent",
      publicKey: this.#publicKey,
      endpoints,
    });
    const opened = await openRecord(await this.statements.of(record));
    assertEquals(opened?.record.endpoints, [`192.0.2.1:${port}`]);
    return opened?.sequence ?? 0;
  }
}

Deno.test("a record is signed once, and anew when it changes or has grown old", async () => {
  const world = new World(await identityOf(2));
  assertEquals(await world.sign(1), NOW);
  world.now += RECORD_RENEW_MS - 1;
  assertEquals(await world.sign(1), NOW);
  assertEquals(await world.sign(2), NOW + RECORD_RENEW_MS - 1);
  assertEquals(await world.sign(1), NOW + RECORD_RENEW_MS, "back again is a change too");
  world.now += 2 * RECORD_RENEW_MS;
  assertEquals(await world.sign(1), world.now);
  assertEquals(world.kept.length, 4);
});

Deno.test("sequences grow although the clock stands still or is set back, across runs as well", async () => {
  const identity = await identityOf(2);
  const world = new World(identity, NOW + 500);
  assertEquals([await world.sign(1), await world.sign(2)], [NOW + 501, NOW + 502]);
  world.now = 0;
  assertEquals(await world.sign(3), NOW + 503);
  assertEquals(world.kept, [NOW + 501, NOW + 502, NOW + 503]);
  const broken = new World(identity);
  broken.now = -5;
  assertEquals(await broken.sign(1), 1);
});

Deno.test("a later record of the own key is followed", async () => {
  const world = new World(await identityOf(2));
  assertEquals(await world.sign(1), NOW);
  world.statements.follow(NOW + 10);
  assertEquals(await world.sign(1), NOW + 11);
  world.statements.follow(NOW);
  assertEquals(await world.sign(1), NOW + 12);
});

Deno.test("a signature is new each time", async () => {
  const identity = await identityOf(2);
  const of = async (): Promise<Uint8Array> => {
    const { statements } = new World(identity);
    const record = recordOf({
      meshId: "reef",
      role: "agent",
      publicKey: identity.text,
      endpoints: [],
    });
    return (await statements.of(record)).signature;
  };
  notDeepStrictEqual(await of(), await of());
});
