import {
  deepStrictEqual as assertEquals,
  notStrictEqual as assertNotEquals,
  ok as assert,
} from "node:assert/strict";
import { type Cidr, cidrContains, formatBase64, parseCidr, parseIp } from "../../core/mod.ts";
import { ABSENCE_MS_MAX, AddressBook } from "./address_book.ts";

function block(text: string): Cidr {
  const parsed = parseCidr(text);
  assert(parsed);
  return parsed;
}

function key(seed: number): string {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setUint32(0, seed);
  return formatBase64(bytes);
}

const WIDE = block("10.42.0.0/16");
const NOW = 1_800_000_000_000;

Deno.test("AddressBook gives a thousand nodes a thousand addresses of its subnet, and none the colony's", () => {
  const book = new AddressBook(WIDE);
  const given = Array.from(
    { length: 1000 },
    (_, i) => book.assign(key(i), { asked: `n${i}`, now: NOW })?.ipv4 ?? "none",
  );
  assertEquals(new Set(given).size, 1000);
  assertEquals(book.colonyIpv4, "10.42.0.1");
  assert(!given.includes(book.colonyIpv4));
  assert(given.every((ipv4) => cidrContains(WIDE, parseIp(ipv4) ?? new Uint8Array())));
});

Deno.test("AddressBook gives a node what it had, also after it was read from a file, and mostly after the file was lost", () => {
  const book = new AddressBook(WIDE);
  const first = [1, 2, 3].map((seed) => book.assign(key(seed), { asked: "walker", now: NOW }));
  assertEquals(first.map((one) => one?.name), ["walker", "walker-2", "walker-3"]);
  assertEquals(book.assign(key(2), { asked: "walker", now: NOW + 5 }), {
    ...first[1],
    seenAt: NOW + 5,
  });
  const read = new AddressBook(WIDE);
  assertEquals(read.load(book.format("reef"), "reef"), 0);
  assertEquals(read.all, book.all);
  const lost = new AddressBook(WIDE);
  assertEquals(lost.assign(key(3), { asked: "walker", now: NOW })?.ipv4, first[2]?.ipv4);
});

Deno.test("AddressBook keeps an address when its node asks for another name", () => {
  const book = new AddressBook(WIDE);
  const before = book.assign(key(1), { asked: "walker", now: NOW });
  const after = book.assign(key(1), { asked: "runner", now: NOW });
  assertEquals([after?.ipv4, after?.name], [before?.ipv4, "runner"]);
  assertEquals(book.assign(key(2), { asked: "walker", now: NOW })?.name, "walker");
});

Deno.test("AddressBook keeps an address and not its name when the colony is called so now", () => {
  const book = new AddressBook(WIDE);
  const before = book.assign(key(1), { asked: "walker", now: NOW });
  const isTaken = (name: string): boolean => name === "walker";
  const after = book.assign(key(1), { asked: "walker", now: NOW, isTaken });
  assertEquals([after?.ipv4, after?.name], [before?.ipv4, "walker-2"]);
  assertEquals(book.assign(key(1), { asked: "walker", now: NOW, isTaken })?.name, "walker-2");
});

Deno.test("AddressBook calls nobody by a name that somebody outside the book has, and no name is longer than a label", () => {
  const book = new AddressBook(WIDE);
  const isTaken = (name: string): boolean => name === "colony";
  assertEquals(book.assign(key(1), { asked: "colony", now: NOW, isTaken })?.name, "colony-2");
  const long = "x".repeat(63);
  book.assign(key(2), { asked: long, now: NOW });
  assertEquals(book.assign(key(3), { asked: long, now: NOW })?.name, `${"x".repeat(61)}-2`);
});

Deno.test("AddressBook frees what a released node had, and lets a node go on with another key", () => {
  const book = new AddressBook(WIDE);
  const had = book.assign(key(1), { asked: "walker", now: NOW });
  assert(book.move(key(1), key(9)));
  assertEquals(book.find(key(9))?.ipv4, had?.ipv4);
  assertEquals(book.find(key(1)), undefined);
  assertEquals(book.release(key(9))?.name, "walker");
  assertEquals(book.assign(key(2), { asked: "walker", now: NOW })?.name, "walker");
});

Deno.test("AddressBook takes the address of whoever is away longest where all are given, and refuses where all are there", () => {
  const book = new AddressBook(block("192.168.7.0/29"));
  for (let i = 0; i < 5; i++) book.assign(key(i), { asked: `n${i}`, now: NOW - i });
  const oldest = book.find(key(4))?.ipv4;
  const isPresent = (publicKey: string): boolean => publicKey === key(4);
  const lost: string[] = [];
  const onReleased = ({ name }: { readonly name: string }): number => lost.push(name);
  const next = book.assign(key(7), { asked: "next", now: NOW, isPresent, onReleased });
  assertEquals(lost, ["n3"]);
  assertNotEquals(next?.ipv4, oldest);
  assertEquals(book.find(key(3)), undefined);
  const all = (): boolean => true;
  assertEquals(book.assign(key(8), { asked: "late", now: NOW, isPresent: all }), undefined);
  assertEquals(book.refused, 1);
});

Deno.test("AddressBook forgets nodes that were away for long, and no others", () => {
  const book = new AddressBook(WIDE);
  for (const seed of [1, 2, 3]) book.assign(key(seed), { asked: `n${seed}`, now: NOW });
  const late = NOW + ABSENCE_MS_MAX + 1;
  book.seen(key(1), late - 10);
  const released = book.sweep(late, (publicKey) => publicKey === key(2));
  assertEquals(released.map(({ name }) => name), ["n3"]);
});

Deno.test("AddressBook leaves out of a file what makes no sense, and refuses what is no file of the mesh", () => {
  const book = new AddressBook(WIDE);
  const good = { publicKey: key(1), asked: "a", name: "a", ipv4: "10.42.3.4", seenAt: 5 };
  const nodes = [
    good,
    { ...good, publicKey: key(2) },
    { ...good, publicKey: key(3), name: "b", ipv4: "10.43.0.9" },
    { ...good, publicKey: key(4), name: "c", ipv4: "10.42.0.1" },
    { ...good, publicKey: "no key", name: "d", ipv4: "10.42.0.9" },
    { ...good, publicKey: key(5), name: "Not A Label", ipv4: "10.42.0.10" },
    7,
  ];
  assertEquals(book.load(JSON.stringify({ version: 1, mesh: "reef", nodes }), "reef"), 6);
  assertEquals(book.all, [good]);
  for (const text of ["", "[]", "{}", JSON.stringify({ version: 1, mesh: "other", nodes })]) {
    assertEquals(new AddressBook(WIDE).load(text, "reef"), undefined);
  }
});
