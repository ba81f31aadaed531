import {
  deepStrictEqual as assertEquals,
  notStrictEqual,
  ok as assert,
  throws,
} from "node:assert/strict";
import { StunCredentialIssuer, stunHolder } from "./stun_credentials.ts";

const NOW = 1_790_000_000_000;
const DAY_MS = 86_400_000;
const NODE = { meshId: "reef", publicKey: "ERERERERERERERERERERERERERERERERERERERERERE=" };
const issuer = new StunCredentialIssuer(new Uint8Array(32).fill(7));

Deno.test("StunCredentialIssuer knows the password of what it issued, until it ends", () => {
  for (const node of [undefined, NODE]) {
    const { username, password } = issuer.issue(NOW, new Uint8Array(16).fill(1), node);
    assertEquals(issuer.passwordOf(username, NOW), password);
    assertEquals(issuer.passwordOf(username, NOW + DAY_MS - 1000), password);
    assertEquals(issuer.passwordOf(username, NOW + DAY_MS), undefined);
  }
});

Deno.test("StunCredentialIssuer has another password for every user and secret", () => {
  const first = issuer.issue(NOW, new Uint8Array(16).fill(1));
  const second = issuer.issue(NOW, new Uint8Array(16).fill(2));
  notStrictEqual(first.password, second.password);
  const other = new StunCredentialIssuer(new Uint8Array(32).fill(8));
  notStrictEqual(other.passwordOf(first.username, NOW), first.password);
});

Deno.test("StunCredentialIssuer knows whom its credentials are for, and nobody else can tell", () => {
  const one = issuer.issue(NOW, new Uint8Array(16).fill(1), NODE);
  const two = issuer.issue(NOW, new Uint8Array(16).fill(2), NODE);
  assertEquals(issuer.holderOf(one.username), stunHolder(NODE));
  assertEquals(issuer.holderOf(two.username), stunHolder(NODE));
  assertEquals(issuer.holderOf(issuer.issue(NOW, new Uint8Array(16).fill(1)).username), undefined);
  // The part that names the holder is another each time, and does not show the name.
  const hidden = ({ username }: { username: string }): Uint8Array =>
    Uint8Array.fromBase64(username.slice(username.indexOf(":") + 1)).subarray(16);
  assert(!hidden(one).every((byte, i) => byte === hidden(two)[i]));
  assert(!hidden(one).every((byte, i) => byte === stunHolder(NODE)[i]));
});

Deno.test("stunHolder is another for every key and every mesh", () => {
  const publicKey = `${NODE.publicKey.slice(0, -4)}AAE=`;
  const holders = [NODE, { ...NODE, meshId: "atoll" }, { ...NODE, publicKey }].map(stunHolder);
  assertEquals(new Set(holders.map((holder) => holder.toHex())).size, 3);
});

Deno.test("StunCredentialIssuer does not know what is no name of its making", () => {
  const { username } = issuer.issue(NOW, new Uint8Array(16));
  for (
    const name of [
      "",
      "alice",
      `${username}0`,
      username.slice(1),
      username.replace(":A", ":!"),
      username.replace("==", "="),
      ` ${username}`,
    ]
  ) {
    notStrictEqual(name, username);
    assertEquals(issuer.passwordOf(name, NOW), undefined, name);
    assertEquals(issuer.holderOf(name), undefined, name);
  }
});

Deno.test("StunCredentialIssuer insists on enough chance", () => {
  throws(() => new StunCredentialIssuer(new Uint8Array(16)), RangeError);
  throws(() => issuer.issue(NOW, new Uint8Array(4)), RangeError);
  const { username } = issuer.issue(NOW, new Uint8Array(16));
  assertEquals(username.split(":")[1]?.length, 24);
});
