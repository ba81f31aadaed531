import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { formatBase64 } from "../../core/mod.ts";
import { ed25519KeyPair } from "../../io/ed25519.ts";
import { keyThumbprint } from "../token/claims.ts";
import { inviteKeyOf, isInviteKey, openAdmission, signAdmission } from "./admission.ts";

const NOW = 1_700_000_000_000;
const SEED = new Uint8Array(32).fill(7);
const KEY = new Uint8Array(32).fill(3);
const EXPECTED = { meshId: "reef", agentId: "a3", publicKey: KEY, now: NOW };

const signed = (part: object = {}): Promise<string> =>
  signAdmission(SEED, { ...EXPECTED, id: "1", ...part });

Deno.test("openAdmission opens what signAdmission signs", async () => {
  const invite = await inviteKeyOf(SEED);
  assertEquals(isInviteKey(invite), true);
  assertEquals(await openAdmission(await signed(), EXPECTED), {
    invite,
    meshId: "reef",
    agentId: "a3",
    thumbprint: keyThumbprint(KEY),
  });
});

Deno.test("openAdmission refuses another mesh, agent, key and time", async () => {
  const jwt = await signed();
  const others = [
    { meshId: "atoll" },
    { agentId: "a4" },
    { publicKey: new Uint8Array(32).fill(4) },
    { now: NOW + 121_000 },
    { now: NOW - 62_000 },
  ];
  for (const part of others) {
    assertEquals(await openAdmission(jwt, { ...EXPECTED, ...part }), undefined, formatBase64(KEY));
  }
  assertEquals((await openAdmission(jwt, { ...EXPECTED, now: NOW + 100_000 }))?.agentId, "a3");
});

Deno.test("openAdmission refuses what another key has signed in an invite's name", async () => {
  const { SignJWT } = await import("jose");
  const { privateKey } = await ed25519KeyPair(new Uint8Array(32).fill(8));
  const seconds = NOW / 1000;
  const forged = await new SignJWT({
    aud: "reef",
    sub: "a3",
    jti: "1",
    iat: seconds,
    exp: seconds + 60,
    cnf: { jkt: keyThumbprint(KEY) },
  }).setProtectedHeader({
    alg: "EdDSA",
    typ: "moray-admission+jwt",
    kid: await inviteKeyOf(SEED),
  }).sign(privateKey);
  assertEquals(await openAdmission(forged, EXPECTED), undefined);
});

Deno.test("openAdmission takes any text without a throw", async () => {
  const jwt = await signed();
  const [header = "", payload = "", signature = ""] = jwt.split(".");
  const none = btoa(JSON.stringify({ alg: "none", kid: await inviteKeyOf(SEED) }));
  const bad = [
    "",
    "..",
    `${header}.${payload}.`,
    `${none.replaceAll("=", "")}.${payload}.${signature}`,
    `${header}.${payload}.${"A".repeat(86)}`,
    "x".repeat(5000),
  ];
  for (const text of bad) assertEquals(await openAdmission(text, EXPECTED), undefined, text);
});
