import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import { formatBase64 } from "../../core/mod.ts";
import { INVITES_MAX, type Member, MemberBook, REMEMBERED_MAX } from "./member_book.ts";

const NOW = 1_700_000_000_000;
const COLONY = keyOf(1);
const INVITE = `${"A".repeat(43)}`;

function keyOf(number: number): string {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setUint32(0, number);
  return formatBase64(bytes);
}

function inviteKey(number: number): string {
  return `${String(number).padStart(42, "0")}A`;
}

function member(number: number, part: Partial<Member> = {}): Member {
  return {
    publicKey: keyOf(number),
    name: `node${number}`,
    state: "admitted",
    sequence: number,
    signed: { statement: Uint8Array.of(number & 255), signature: new Uint8Array(64) },
    ...part,
  };
}

function bookWith(...members: readonly Member[]): MemberBook {
  const book = new MemberBook("reef", COLONY);
  for (const one of members) book.decide(one);
  return book;
}

const open = (key = INVITE, expiresAt = NOW + 1000): Parameters<MemberBook["invite"]>[0] => ({
  key,
  name: "walker",
  expiresAt,
  usedBy: "",
});

Deno.test("an invite lets one key in, once, until it ends", () => {
  const book = bookWith();
  const entry = (number: number, now = NOW): string =>
    book.entryOf(keyOf(number), { invite: INVITE, now });
  assertEquals(entry(2), "noInvite");
  book.invite(open(), NOW);
  assertEquals([entry(2), entry(3), entry(2, NOW + 1000)], ["admitted", "admitted", "noInvite"]);
  assertEquals(book.nameOf(INVITE), "walker");
  book.decide(member(2, { sequence: book.nextSequence(NOW) }), { invite: INVITE });
  assertEquals([entry(2), entry(3)], ["member", "used"]);
  assertEquals(book.openInvites(NOW), []);
});

Deno.test("who was thrown out comes back by a new invite, and by none that it used", () => {
  const book = bookWith();
  book.invite(open(), NOW);
  book.decide(member(2), { invite: INVITE });
  book.decide(member(2, { state: "revoked", sequence: 9 }));
  assertEquals(book.entryOf(keyOf(2), { invite: INVITE, now: NOW }), "revoked");
  assertEquals(book.entryOf(keyOf(2), { invite: inviteKey(1), now: NOW }), "revoked");
  book.invite(open(inviteKey(2)), NOW);
  assertEquals(book.entryOf(keyOf(2), { invite: inviteKey(2), now: NOW }), "admitted");
});

Deno.test("sequences grow with every change, by the clock or beyond it", () => {
  const book = bookWith();
  assertEquals(book.nextSequence(NOW), NOW);
  book.decide(member(2, { sequence: NOW + 5 }));
  assertEquals([book.nextSequence(NOW), book.sequence], [NOW + 6, NOW + 5]);
  book.invite(open(), NOW);
  assertEquals(book.sequence, NOW + 6);
  assertEquals(book.cancel(INVITE.slice(0, 8), NOW), 1);
  assertEquals([book.sequence, book.openInvites(NOW)], [NOW + 7, []]);
});

Deno.test("an invite is taken back by the beginning of its key, if that names one", () => {
  const book = bookWith();
  for (const number of [10, 11, 20]) book.invite(open(inviteKey(number)), NOW);
  assertEquals(book.cancel("x", NOW), 0);
  assertEquals(book.cancel(inviteKey(10).slice(0, 41), NOW), 2);
  assertEquals(book.openInvites(NOW).length, 3);
  assertEquals(book.cancel(inviteKey(20), NOW), 1);
  assertEquals(book.openInvites(NOW).length, 2);
});

Deno.test("there are so many open invites and no more; those that ended make room", () => {
  const book = bookWith();
  for (let i = 0; i < INVITES_MAX; i++) book.invite(open(inviteKey(i)), NOW);
  throws(() => book.invite(open(inviteKey(INVITES_MAX)), NOW), {
    code: "limit",
    message: /^There are 256 invites already/,
  });
  book.invite(open(inviteKey(INVITES_MAX), NOW + 9000), NOW + 1000);
  assertEquals(book.openInvites(NOW + 1000).length, 1);
});

Deno.test("an invite that was used takes the place of no open one, and the first of them goes", () => {
  const book = bookWith();
  for (let i = 0; i < INVITES_MAX; i++) {
    book.invite(open(inviteKey(i)), NOW);
    if (i > 0) book.decide(member(i, { sequence: NOW + i }), { invite: inviteKey(i) });
  }
  book.invite(open(inviteKey(INVITES_MAX)), NOW);
  const openNow = [inviteKey(0), inviteKey(INVITES_MAX)];
  assertEquals(book.openInvites(NOW).map(({ key }) => key), openNow);
  const entry = (number: number, invite: number): string =>
    book.entryOf(keyOf(number), { invite: inviteKey(invite), now: NOW });
  assertEquals([entry(5000, 1), entry(5000, 2)], ["noInvite", "used"], "neither lets anybody in");
  assertEquals(MemberBook.parse(book.format(), "reef")?.format(), book.format());
});

Deno.test("of revoked ones, the oldest decision is forgotten first; nobody who belongs to the mesh is", () => {
  const book = bookWith(member(1), member(2, { state: "revoked" }));
  for (let i = 3; i <= REMEMBERED_MAX + 1; i++) book.decide(member(i, { state: "revoked" }));
  assertEquals(book.members.length, REMEMBERED_MAX);
  assertEquals([book.find(keyOf(1))?.state, book.find(keyOf(2))], ["admitted", undefined]);
  assertEquals(book.find(keyOf(3))?.state, "revoked");
});

Deno.test("a book comes back from its text as it was", () => {
  const book = bookWith(member(2), member(3, { state: "revoked", name: "" }));
  book.invite(open(), NOW);
  book.decide(member(4, { sequence: NOW + 1 }), { invite: INVITE });
  const again = MemberBook.parse(book.format(), "reef");
  assert(again !== undefined);
  assertEquals(again.format(), book.format());
  assertEquals([again.members, again.sequence], [book.members, book.sequence]);
  assertEquals(again.entryOf(keyOf(5), { invite: INVITE, now: NOW }), "used");
});

Deno.test("half a book is none: whatever is damaged in it", () => {
  const book = bookWith(member(2));
  book.invite(open(), NOW);
  const text = book.format();
  assertEquals(MemberBook.parse(text, "atoll"), undefined);
  for (let length = 0; length < text.length - 1; length += 7) {
    assertEquals(MemberBook.parse(text.slice(0, length), "reef"), undefined, `${length}`);
  }
  const damaged = (change: (value: Record<string, unknown>) => void): MemberBook | undefined => {
    const value = JSON.parse(text);
    change(value);
    return MemberBook.parse(JSON.stringify(value), "reef");
  };
  assert(damaged(() => {}) !== undefined);
  const [first] = JSON.parse(text).members;
  const [invite] = JSON.parse(text).invites;
  for (
    const part of [
      { version: 2 },
      { sequence: -1 },
      { sequence: "1" },
      { colonyKey: "x" },
      { members: {} },
      { members: [{ ...first, publicKey: "x" }] },
      { members: [{ ...first, state: "friend" }] },
      { members: [{ ...first, name: "Not A Label" }] },
      { members: [{ ...first, signature: "AA==" }] },
      { members: [{ ...first, statement: "?" }] },
      { members: [null] },
      { invites: [{ ...invite, key: "short" }] },
      { invites: [{ ...invite, usedBy: "x" }] },
      { invites: [{ ...invite, expiresAt: 1.5 }] },
      { invites: Array(INVITES_MAX + 1).fill(invite) },
    ]
  ) {
    assertEquals(damaged((value) => Object.assign(value, part)), undefined, JSON.stringify(part));
  }
});

Deno.test("a colony with another key has the same invites, and signs its members anew", () => {
  const book = bookWith(member(2));
  book.invite(open(), NOW);
  const next = book.emptied(keyOf(9));
  assertEquals([next.colonyKey, next.members], [keyOf(9), []]);
  assertEquals(next.openInvites(NOW), book.openInvites(NOW));
  assert(next.nextSequence(NOW) > book.sequence - 1);
});
