import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import fc from "fast-check";
import { formatBase64, MorayError } from "../../core/mod.ts";
import { formatInvite, type Invite, INVITE_LENGTH_MAX, parseInvite } from "./invite.ts";

const INVITE: Invite = {
  mesh: "reef",
  colonyKey: formatBase64(new Uint8Array(32).fill(1)),
  discovery: ["http://192.0.2.1:8080", "https://discovery.example/"],
  seed: new Uint8Array(32).fill(7),
  expiresAt: 1_800_000_000_000,
  name: "walker",
};

/** An invite of any JSON. */
function inviteOf(value: unknown): string {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  return `moray1.${bytes.toBase64({ alphabet: "base64url", omitPadding: true })}`;
}

function valueOf(text: string): Record<string, unknown> {
  const bytes = Uint8Array.fromBase64(text.slice("moray1.".length), { alphabet: "base64url" });
  return JSON.parse(new TextDecoder().decode(bytes));
}

Deno.test("an invite is one word, and comes back as it was, with blanks around it or without", () => {
  for (const invite of [INVITE, without(INVITE, "name")]) {
    const text = formatInvite(invite);
    assert(/^moray1\.[A-Za-z0-9_-]+$/.test(text), text);
    assertEquals(parseInvite(text), invite);
    assertEquals(parseInvite(` ${text}\n`), invite);
  }
});

Deno.test("what is no invite is a usage error that repeats nothing of it", () => {
  const good = valueOf(formatInvite(INVITE));
  const wrong: Record<string, readonly unknown[]> = {
    m: [undefined, 1, "", "Not A Label", "a".repeat(64)],
    k: [undefined, 1, "", formatBase64(new Uint8Array(31))],
    d: [undefined, "http://a", [], Array(9).fill("http://a"), ["ftp://a"], ["no url"], [1]],
    s: [undefined, 1, "", formatBase64(new Uint8Array(33))],
    e: [undefined, "1", 1.5, 2 ** 60, null],
    n: [1, "", "Not A Label", null],
  };
  const texts = Object.entries(wrong).flatMap(([key, values]) =>
    values.map((value) => inviteOf({ ...good, [key]: value }))
  );
  texts.push("", "moray1.", "moray1.!", "moray2.e30", inviteOf([]), inviteOf(null), inviteOf(1));
  texts.push(formatInvite(INVITE).slice(0, -9), `${formatInvite(INVITE)}${"A".repeat(5000)}`);
  for (const text of texts) {
    throws(() => parseInvite(text), (error) => {
      assert(error instanceof MorayError && error.code === "usage", `${error}: ${text}`);
      assert(!error.message.includes("\n") && error.cause === undefined);
      return text.length < 12 || !error.message.includes(text.slice(7, 40));
    }, text);
  }
});

Deno.test("no text makes parseInvite throw anything else, or gives an invite out of bounds", () => {
  const key = fc.constantFrom("m", "k", "d", "s", "e", "n");
  const mutated = fc.record({ key, value: fc.anything() }).map(({ key, value }) => {
    try {
      return inviteOf({ ...valueOf(formatInvite(INVITE)), [key]: value });
    } catch {
      // Not everything is JSON.
      return "moray1.";
    }
  });
  const texts = fc.oneof(fc.string(), fc.string().map((text) => `moray1.${text}`), mutated);
  fc.assert(fc.property(texts, (text) => {
    try {
      const { seed, discovery } = parseInvite(text);
      assert(seed.length === 32 && discovery.length >= 1 && text.length <= INVITE_LENGTH_MAX);
    } catch (error) {
      assert(error instanceof MorayError && error.code === "usage", `${error}`);
    }
  }));
});

function without(invite: Invite, _key: "name"): Invite {
  const { name: _, ...rest } = invite;
  return rest;
}

Deno.test("an invite of a colony with many Discoveries names as many as one may", () => {
  const discovery = Array.from({ length: 12 }, (_, i) => `https://discovery${i}.example.com`);
  const text = formatInvite({ ...INVITE, discovery });
  assertEquals(parseInvite(text).discovery, discovery.slice(0, 8));
});
