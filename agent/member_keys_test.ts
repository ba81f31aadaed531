import {
  deepStrictEqual as assertEquals,
  notDeepStrictEqual,
  notStrictEqual,
  ok as assert,
} from "node:assert/strict";
import { formatBase64 } from "../core/mod.ts";
import { publicKeyOf } from "../io/mod.ts";
import { generatePrivateKey } from "./key_file.ts";
import { MemberKeys } from "./member_keys.ts";

Deno.test("two nodes compute the same credentials, one pair for each direction", async () => {
  const [alice, bob] = [await node("reef"), await node("reef")];
  const [hers, his] = [await alice.keys.with(bob.name), await bob.keys.with(alice.name)];
  assert(hers !== undefined && his !== undefined);
  assertEquals(hers.asks, his.answers);
  assertEquals(hers.answers, his.asks);
  notStrictEqual(hers.asks.username, hers.answers.username);
  notStrictEqual(hers.asks.password, hers.answers.password);
  assertEquals([hers.asks.username.length, hers.asks.password.length], [24, 40]);
});

Deno.test("another mesh, or another peer, has other credentials", async () => {
  const bob = await node("reef");
  const privateKey = generatePrivateKey();
  const publicKey = await publicKeyOf(privateKey);
  const inMesh = async (mesh: string): Promise<unknown> =>
    (await MemberKeys.open({ privateKey, publicKey, mesh })).with(bob.name);
  notDeepStrictEqual(await inMesh("reef"), await inMesh("shoal"));
  const carol = await node("reef");
  const keys = await MemberKeys.open({ privateKey, publicKey, mesh: "reef" });
  notDeepStrictEqual(await keys.with(bob.name), await keys.with(carol.name));
});

Deno.test("what is no key, or a weak one, has no credentials", async () => {
  const { keys } = await node("reef");
  assertEquals(await keys.with("nonsense"), undefined);
  assertEquals(await keys.with(formatBase64(new Uint8Array(32))), undefined);
});

async function node(mesh: string): Promise<{ keys: MemberKeys; name: string }> {
  const privateKey = generatePrivateKey();
  const publicKey = await publicKeyOf(privateKey);
  return {
    keys: await MemberKeys.open({ privateKey, publicKey, mesh }),
    name: formatBase64(publicKey),
  };
}
