import {
  deepStrictEqual as assertEquals,
  notStrictEqual,
  ok as assert,
  throws,
} from "node:assert/strict";
import { StunCredentialIssuer } from "./stun_credentials.ts";

const NOW = 1_790_000_000_000;
const DAY_MS = 86_400_000;
const issuer = new StunCredentialIssuer(new Uint8Array(32).fill(7));

Deno.test("StunCredentialIssuer knows the password of what it issued, until it ends", () => {
  const { username, password } = issuer.issue(NOW, new Uint8Array(16).fill(1));
  assertEquals(issuer.passwordOf(username, NOW), password);
  assertEquals(issuer.passwordOf(username, NOW + DAY_MS - 1000), password);
  assertEquals(issuer.passwordOf(username, NOW + DAY_MS), undefined);
});

Deno.test("StunCredentialIssuer has another password for every user and secret", () => {
  const first = issuer.issue(NOW, new Uint8Array(16).fill(1));
  const second = issuer.issue(NOW, new Uint8Array(16).fill(2));
  notStrictEqual(first.password, second.password);
  const other = new StunCredentialIssuer(new Uint8Array(32).fill(8));
  notStrictEqual(other.passwordOf(first.username, NOW), first.password);
});

Deno.test("StunCredentialIssuer does not know what is no name of its making", () => {
  const { username } = issuer.issue(NOW, new Uint8Array(16));
  for (
    const name of [
      "",
      "alice",
      `${username}0`,
      username.slice(1),
      username.replace(":0", ":G"),
      ` ${username}`,
    ]
  ) {
    if (name !== username) assertEquals(issuer.passwordOf(name, NOW), undefined, name);
  }
});

Deno.test("StunCredentialIssuer insists on enough chance", () => {
  throws(() => new StunCredentialIssuer(new Uint8Array(16)), RangeError);
  throws(() => issuer.issue(NOW, new Uint8Array(4)), RangeError);
  assert(issuer.issue(NOW, new Uint8Array(16)).username.length > 40);
});
