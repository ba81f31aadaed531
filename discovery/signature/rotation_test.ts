import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { KeyRotationSchema, SignedStatementSchema } from "../../proto/mod.ts";
import { identityOf } from "../testing/identity.ts";
import {
  earlierKeys,
  openRotation,
  type Rotation,
  ROTATIONS_MAX,
  signRotation,
} from "./rotation.ts";
import { signStatement } from "./statement.ts";

const NODES = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(identityOf));

function node(index: number): (typeof NODES)[number] {
  return NODES[index] ?? (() => {
    throw new RangeError("no such node");
  })();
}

function rotation(from: number, part: Partial<Rotation> = {}): Rotation {
  const [oldKey, newKey] = [node(from).text, node(from + 1).text];
  return { meshId: "reef", oldKey, newKey, sequence: from + 1, ...part };
}

async function signed(
  from: number,
  part: Partial<Rotation> = {},
  by = from,
): Promise<Awaited<ReturnType<typeof signRotation>>> {
  return await signRotation(node(by).signer, rotation(from, part));
}

Deno.test("openRotation gives back what the old key has signed", async () => {
  assertEquals(await openRotation(await signed(0)), rotation(0));
});

Deno.test("openRotation takes nothing that the old key has not signed as a rotation", async () => {
  const good = await signed(0);
  assertEquals(await openRotation(await signed(0, {}, 1)), undefined, "signed by the new key");
  const { signer } = node(0);
  const asRecord = create(
    SignedStatementSchema,
    await signStatement(signer, "record", good.statement),
  );
  assertEquals(await openRotation(asRecord), undefined, "signed as a record");
  for (const at of [0, 20, good.statement.length - 1]) {
    const statement = Uint8Array.from(good.statement);
    statement[at] = (statement[at] ?? 0) ^ 1;
    assertEquals(await openRotation({ ...good, statement }), undefined, `byte ${at}`);
  }
});

Deno.test("openRotation takes no rotation to itself, to no key, or without a sequence", async () => {
  const { text: own, signer } = node(0);
  const zeros = "A".repeat(43) + "=";
  for (const newKey of [own, zeros, "", "key"]) {
    assertEquals(await openRotation(await signed(0, { newKey })), undefined, newKey);
  }
  const message = { meshId: "reef", oldPubkey: own, newPubkey: node(1).text };
  for (const sequence of [0n, 2n ** 53n, 2n ** 64n - 1n]) {
    const bytes = toBinary(KeyRotationSchema, create(KeyRotationSchema, { ...message, sequence }));
    const statement = await signStatement(signer, "rotation", bytes);
    assertEquals(await openRotation(create(SignedStatementSchema, statement)), undefined);
  }
  const long = await signed(0, { meshId: "m".repeat(600) });
  assertEquals(await openRotation(long), undefined);
});

Deno.test("earlierKeys follows a chain as far as it holds", async () => {
  const chain = await Promise.all([0, 1, 2].map((from) => signed(from)));
  const keys = async (statements: typeof chain, meshId = "reef"): Promise<number[]> => {
    const found = await earlierKeys(statements, { meshId, publicKey: node(3).text });
    return found.map((text) => NODES.findIndex((one) => one.text === text));
  };
  const [first, second, third] = chain as [typeof chain[0], typeof chain[0], typeof chain[0]];
  assertEquals(await keys(chain), [2, 1, 0]);
  assertEquals(await keys([]), []);
  assertEquals(await keys([first, third]), [2], "a link is missing");
  assertEquals(await keys([third, second, first]), [], "the wrong way round");
  assertEquals(await keys([first, second]), [], "it leads to another key");
  assertEquals(await keys(chain, "atoll"), [], "of another mesh");
  assertEquals(await keys([first, await signed(1, {}, 5), third]), [2], "a link is forged");
  assertEquals(
    await keys([first, await signed(1, { sequence: 3 }), third]),
    [2],
    "a link is not older",
  );
});

Deno.test("earlierKeys looks at the last links only", async () => {
  const chain = await Promise.all([...new Array(10).keys()].map((from) => signed(from)));
  const keys = await earlierKeys(chain, { meshId: "reef", publicKey: node(10).text });
  assertEquals(keys.length, ROTATIONS_MAX);
  assertEquals(keys.at(-1), node(2).text);
});
