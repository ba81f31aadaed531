import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { SqliteStore } from "../store/sqlite_store.ts";
import { TOKEN_KEY_MS, TokenKeys } from "./signing_keys.ts";

function keysOf(store: SqliteStore, now: () => number): TokenKeys {
  const freshSeed = (): Uint8Array<ArrayBuffer> => crypto.getRandomValues(new Uint8Array(32));
  return new TokenKeys({ store, now, freshSeed });
}

async function ids(keys: TokenKeys): Promise<(string | undefined)[]> {
  return (await keys.published()).map(({ kid }) => kid);
}

Deno.test("TokenKeys publishes a key a whole stretch before it signs, and one after", async () => {
  const store = SqliteStore.open(":memory:");
  let now = 2900 * TOKEN_KEY_MS;
  const keys = keysOf(store, () => now);
  const first = await ids(keys);
  assertEquals(new Set(first).size, 3);
  assertEquals((await keys.signing()).id, first[1]);
  now += TOKEN_KEY_MS - 1;
  assertEquals(await ids(keys), first);
  now += 1;
  const second = await ids(keys);
  assertEquals(second.slice(0, 2), first.slice(1));
  assertEquals((await keys.signing()).id, first[2]);
  // Nothing says what a private key is.
  assert(!JSON.stringify(await keys.published()).includes('"d"'));
  assertEquals((await keys.signing()).privateKey.extractable, false);
  await store.close();
});

Deno.test("TokenKeys of two replicas are the same, also when both make them at once", async () => {
  const store = SqliteStore.open(":memory:");
  const now = (): number => 2900 * TOKEN_KEY_MS;
  const [one, two] = [keysOf(store, now), keysOf(store, now)];
  assertEquals(...await Promise.all([ids(one), ids(two)]));
  await store.close();
});

Deno.test("TokenKeys forgets keys that verify nothing any more, and asks again after a fault", async () => {
  const store = SqliteStore.open(":memory:");
  let now = 2900 * TOKEN_KEY_MS;
  const keys = keysOf(store, () => now);
  const first = await ids(keys);
  now += 5 * TOKEN_KEY_MS;
  await ids(keys);
  now -= 5 * TOKEN_KEY_MS;
  // They are made anew: the old ones are gone.
  const again = await ids(keys);
  assertEquals(again.filter((id) => first.includes(id)), []);
  await store.close();
  now += 9 * TOKEN_KEY_MS;
  await assertRejects(keys.signing(), { name: "MorayError" });
  await assertRejects(keys.signing(), { name: "MorayError" });
});
