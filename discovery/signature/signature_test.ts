import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { ed25519 } from "@noble/curves/ed25519.js";
import fc from "fast-check";
import { formatBase64, formatHex } from "../../core/mod.ts";
import { publicKeyOf } from "../../io/x25519.ts";
import { sign, SIGNATURE_RANDOM_BYTES, signingScalar } from "./sign.ts";
import { SigningKey } from "./signing_key.ts";
import { type Signed, signStatement, statementFits, type StatementKind } from "./statement.ts";
import { SIGNATURE_BYTES, toEd25519, verify } from "./verify.ts";

const P = 2n ** 255n - 19n;
const ORDER = ed25519.Point.Fn.ORDER;

interface Vector {
  readonly name: string;
  readonly privateKey: string;
  readonly publicKey?: string;
  readonly message: string;
  readonly random: string;
  readonly signature: string;
}

const VECTORS: readonly Vector[] = [
  {
    name: "libsignal-protocol-c, xeddsa_fast_test",
    privateKey: `${"00".repeat(8)}bd${"00".repeat(22)}40`,
    message: "00".repeat(200),
    random: "00".repeat(64),
    signature: "11c7f3e6c4df9e8a5150e1db3b30f92de3a3b3aa438656545fa7390f4bcc7bb2" +
      "6c431d9e90643e4f0eaa0e9c557766fa69ada576d63dcaf2ac326c11d0b97702",
  },
  {
    name: "libxeddsa by Python's xeddsa 1.2.0, the key's point has the sign 1",
    privateKey: "6822f243b454b64a06d79a015c502c54ca5f822b026c8459f5c62c7dfc2fdc6d",
    publicKey: "5fdc4c555f57f55402cbf060af504f54831921008bb716651bc54fc90adaf72f",
    message: "6d6f726179207265636f726420310a6f6e656f6e656f6e656f6e656f6e656f6e656f6e65",
    random: "05f70341078acf6a06d423d21720f9643d5f953626d88a02636dc3a9e79582ae" +
      "b0c820857fd3f8dc502aa8360d2c8fa97a985fda5b629b809cad18ffb62d3899",
    signature: "d7f763376b20253213e531b43347f9afdb148ff189d48aa063bed178b5383bc1" +
      "870c75bd009c7779e70afeac55be98c7567701c9d153b9a375d14e054087fc08",
  },
  {
    name: "libxeddsa, sign 0",
    privateKey: "887e8f5449d8e7c5dc9fbe5b87ffc567ba2fd61817d5bde159a6a4fce61c7174",
    publicKey: "1e559ffc405e84e9cb4ced3656129b78056f275af548d65b60c3fb6a47f17635",
    message: "6d6f726179207265636f726420310a74776f74776f74776f74776f74776f74776f74776f",
    random: "928d50d1e24dab7cca62cfe84fcdcf9fc695160a278f91b5c0af22b709d82f8a" +
      "a3b4955b3de9ba6d0a0eb7d932dc64c4d5c63fc2de87441ad2e5b929f9b67c5e",
    signature: "09263c0ef8efa494d1f8db96dc06a3ad0833ce37070435e03244f9dcbf53d57d" +
      "18f99cb9c86f7f413e938f22d387bfbb48663f0d53abd115ce0c28b01844800d",
  },
  {
    name: "libxeddsa, sign 0 again",
    privateKey: "1815bdd568c5119f9de87384f5077cf114287bd0d522761e515d30897498df45",
    publicKey: "bc317c9475af7e3178a500428ff7d4253acd3d7c0335d123a313d5a618294837",
    message: "6d6f726179207265636f726420310a" +
      "7468726565746872656574687265657468726565746872656574687265657468726565",
    random: "62758e4a57b76feb1fc878387c4d2639e4bfbded06afb5f22227835d9fc63bfb" +
      "d30df34447ae21ece6b1659c0abebd716f350e81c3439a3799172dca9b05f78f",
    signature: "5852dcc6cdfc9018287612509d2c491b1c492d4029200b0a6eeacc2f4fd7da05" +
      "6dc9f6e3a7357519ae143e09b7e49c72d9c2271abe1aac9b460d93948f10f503",
  },
];

const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });

function bytesOf(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function numberBytes(value: bigint): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: 32 }, (_, i) => Number(value >> BigInt(8 * i) & 0xffn));
}

function flipped(of: Uint8Array, bit: number): Uint8Array {
  const other = Uint8Array.from(of);
  other[bit >> 3] = (other[bit >> 3] ?? 0) ^ 1 << (bit & 7);
  return other;
}

for (const { name, privateKey, publicKey, message, random, signature } of VECTORS) {
  Deno.test(`sign makes the signature of others, and verify takes it: ${name}`, async () => {
    const key = await publicKeyOf(bytesOf(privateKey));
    if (publicKey !== undefined) assertEquals(formatHex(key), publicKey);
    const signed = sign(signingScalar(bytesOf(privateKey)), bytesOf(message), bytesOf(random));
    assertEquals(formatHex(signed), signature);
    assert(await verify(key, bytesOf(message), signed));
  });
}

Deno.test("what sign makes is taken by verify and by another Ed25519, for any key, clamped or not", async () => {
  await fc.assert(
    fc.asyncProperty(bytes(32), fc.uint8Array({ maxLength: 300 }), bytes(64), async (k, m, z) => {
      const publicKey = await publicKeyOf(k);
      const scalar = signingScalar(k);
      const point = toEd25519(publicKey);
      assert(point !== undefined);
      assertEquals(point, Uint8Array.from(scalar.point), "the key that others derive");
      const signature = sign(scalar, m, z);
      assertEquals(signature.length, SIGNATURE_BYTES);
      assert(await verify(publicKey, m, signature));
      assert(ed25519.verify(signature, m, point, { zip215: false }), "strictly, by RFC 8032");
    }),
    { numRuns: 40 },
  );
});

Deno.test("one bit of the signature, the message or the key more or less, and verify refuses", async () => {
  const privateKey = new Uint8Array(32).fill(7);
  const publicKey = await publicKeyOf(privateKey);
  const message = new TextEncoder().encode("moray");
  const signature = sign(signingScalar(privateKey), message, new Uint8Array(64).fill(3));
  assert(await verify(publicKey, message, signature));
  for (let bit = 0; bit < 8 * SIGNATURE_BYTES; bit++) {
    assert(!await verify(publicKey, message, flipped(signature, bit)), `signature, bit ${bit}`);
  }
  for (let bit = 0; bit < 8 * message.length; bit++) {
    assert(!await verify(publicKey, flipped(message, bit), signature), `message, bit ${bit}`);
  }
  for (let bit = 0; bit < 256; bit++) {
    assert(!await verify(flipped(publicKey, bit), message, signature), `key, bit ${bit}`);
  }
});

Deno.test("a signature has one form: with the group's order added to s it is refused", async () => {
  const privateKey = new Uint8Array(32).fill(9);
  const publicKey = await publicKeyOf(privateKey);
  const message = Uint8Array.of(1, 2, 3);
  const signature = sign(signingScalar(privateKey), message, new Uint8Array(64));
  const s = signature.subarray(32).reduceRight((sum, byte) => sum << 8n | BigInt(byte), 0n);
  for (let times = 1n; times <= 14n; times++) {
    const other = s + times * ORDER;
    if (other >= 2n ** 256n) break;
    const malleated = Uint8Array.from([...signature.subarray(0, 32), ...numberBytes(other)]);
    assert(!await verify(publicKey, message, malleated), `${times} times the order`);
  }
});

Deno.test("keys of small order and keys that are not reduced sign nothing", async () => {
  const { Point } = ed25519;
  const torsion = Point.fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
  const small = new Set<bigint>();
  for (let k = 1n; k <= 8n; k++) {
    const { y } = torsion.multiplyUnsafe(k % 8n).toAffine();
    // u = (1 + y) / (1 - y); the neutral point has none, and stands for 0 in X25519.
    const { Fp } = Point;
    small.add(y === 1n ? 0n : Fp.div(Fp.add(1n, y), Fp.sub(1n, y)));
  }
  small.add(P - 1n);
  assertEquals(small.size, 5);
  const message = Uint8Array.of(1);
  // R of any kind and s = 0: what fits every message under a point of small order.
  const nothing = Uint8Array.of(1, ...new Uint8Array(63));
  for (const u of small) {
    assertEquals(toEd25519(numberBytes(u)), undefined, `u = ${u}`);
    assert(!await verify(numberBytes(u), message, nothing));
  }
  for (let u = P; u < P + 19n; u++) assertEquals(toEd25519(numberBytes(u)), undefined);
  // The top bit, which X25519 ignores, would make a second name of a key.
  const key = await publicKeyOf(new Uint8Array(32).fill(9));
  assertEquals(toEd25519(flipped(key, 255)), undefined);
});

Deno.test("verify throws on nothing: points off the curve, wrong lengths, noise", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(bytes(32), fc.uint8Array({ maxLength: 40 })),
      fc.uint8Array({ maxLength: 40 }),
      fc.oneof(bytes(64), fc.uint8Array({ maxLength: 80 })),
      async (key, message, signature) => assert(!await verify(key, message, signature)),
    ),
    { numRuns: 200 },
  );
});

Deno.test("a statement of one kind is none of another", async () => {
  const privateKey = new Uint8Array(32).fill(5);
  const publicKey = await publicKeyOf(privateKey);
  const signer = new SigningKey({ privateKey, randomBytes: (n) => new Uint8Array(n).fill(1) });
  const kinds: readonly StatementKind[] = ["record", "membership", "rotation"];
  for (const kind of kinds) {
    const signed: Signed = await signStatement(signer, kind, Uint8Array.of(1, 2));
    for (const other of kinds) {
      assertEquals(await statementFits(signed, { kind: other, publicKey }), kind === other);
    }
    const longer = { ...signed, statement: Uint8Array.of(1, 2, 3) };
    assert(!await statementFits(longer, { kind, publicKey }));
  }
});

Deno.test("SigningKey takes new random bytes for each signature, and is not changed by its caller", async () => {
  const privateKey = new Uint8Array(32).fill(5);
  const publicKey = await publicKeyOf(privateKey);
  const asked: number[] = [];
  const randomBytes = (n: number): Uint8Array => new Uint8Array(n).fill(asked.push(n));
  const signer = new SigningKey({ privateKey, randomBytes });
  privateKey.fill(0);
  const message = Uint8Array.of(1);
  const [one, two] = [await signer.sign(message), await signer.sign(message)];
  assertEquals(asked, [SIGNATURE_RANDOM_BYTES, SIGNATURE_RANDOM_BYTES]);
  assert(formatHex(one) !== formatHex(two));
  assert(await verify(publicKey, message, one) && await verify(publicKey, message, two));
});

Deno.test("SigningKey does not give its key out", async () => {
  const privateKey = Uint8Array.from({ length: 32 }, (_, i) => 200 - i);
  const signer = new SigningKey({ privateKey, randomBytes: (n) => new Uint8Array(n) });
  await signer.sign(new Uint8Array());
  const { secret } = signingScalar(privateKey);
  const shown = [
    Deno.inspect(signer, { depth: 9, showHidden: true, getters: true }),
    JSON.stringify(signer),
    JSON.stringify({ ...signer }),
    Deno.inspect(structuredClone(signer)),
    String(signer),
  ].join("\n");
  for (const told of ["200", formatHex(privateKey), formatBase64(privateKey), String(secret)]) {
    assert(!shown.includes(told), shown);
  }
});
