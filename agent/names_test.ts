import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { fullNameOf, isLabel, labelOf, NAMES_MAX, NameTable } from "./names.ts";

Deno.test("isLabel takes DNS labels in lower case only", () => {
  for (const good of ["a", "0", "a-b", "x".repeat(63), "web-1"]) assertEquals(isLabel(good), true);
  for (const bad of ["", "-a", "a-", "A", "a.b", "a_b", "x".repeat(64), "ä", "a\n", "a b"]) {
    assertEquals(isLabel(bad), false, bad);
  }
});

Deno.test("labelOf makes a label of a host name or nothing", () => {
  const cases: [string, string | undefined][] = [
    ["Web1.example.com", "web1"],
    ["Zoë's MacBook Pro.local", "zoe-s-macbook-pro"],
    ["--a__b--", "a-b"],
    [` ${"x".repeat(62)}-yy`, "x".repeat(62)],
    ["日本", undefined],
    [".", undefined],
    ["", undefined],
  ];
  for (const [text, label] of cases) {
    assertEquals(labelOf(text), label, text);
    if (label !== undefined) assertEquals(isLabel(label), true);
  }
});

Deno.test("NameTable resolves nodes, full names and literals", () => {
  const names = new NameTable("reef");
  assertEquals(names.set("web", "FD00:0::1"), true);
  assertEquals(names.set("internal", "fd00::2"), true);
  assertEquals(fullNameOf("web", "reef"), "web.reef.internal");
  const cases: [string, string | undefined][] = [
    ["web", "fd00::1"],
    ["WEB", "fd00::1"],
    ["web.", "fd00::1"],
    ["web.reef.internal", "fd00::1"],
    ["Web.Reef.Internal.", "fd00::1"],
    ["internal", "fd00::2"],
    ["10.42.0.1", "10.42.0.1"],
    ["FD00::0009", "fd00::9"],
    ["8.8.8.8", "8.8.8.8"],
    ["web.other.internal", undefined],
    ["a.web.reef.internal", undefined],
    ["reef.internal", undefined],
    [".reef.internal", undefined],
    ["web..", undefined],
    ["", undefined],
    ["constructor", undefined],
    ["example.com", undefined],
  ];
  for (const [text, literal] of cases) assertEquals(names.resolve(text), literal, text);
  assertEquals(new NameTable().resolve("web.reef.internal"), undefined);
});

Deno.test("NameTable leaves a name with its first holder until it is deleted", () => {
  const names = new NameTable("reef");
  assertEquals(names.set("web", "fd00::1"), true);
  assertEquals(names.set("web", "fd00::1"), true);
  assertEquals(names.set("web", "fd00::2"), false);
  assertEquals(names.set("Web", "fd00::1"), false);
  assertEquals(names.set("x", "web"), false);
  assertEquals([names.resolve("web"), names.refused], ["fd00::1", 3]);
  names.delete("web");
  assertEquals(names.set("web", "fd00::2"), true);
});

Deno.test("NameTable is bounded", () => {
  const names = new NameTable();
  for (let i = 0; i < NAMES_MAX; i++) names.set(`n${i}`, "fd00::1");
  assertEquals(names.set("more", "fd00::1"), false);
  assertEquals(names.set("n0", "fd00::1"), true);
  assertEquals(names.refused, 1);
});

Deno.test("NameTable knows a name's IPv4 address too, and whose an address is", () => {
  const names = new NameTable("reef");
  assertEquals(names.domain, "reef.internal");
  assertEquals(names.set("web", "fd00::1"), true);
  assertEquals(names.addressesOf("web"), ["fd00::1"]);
  assertEquals(names.set("web", "fd00::1", "10.42.0.9"), true);
  assertEquals(names.addressesOf("Web.Reef.Internal."), ["fd00::1", "10.42.0.9"]);
  assertEquals([names.nameOf("FD00:0::1"), names.nameOf("10.42.0.9")], ["web", "web"]);
  assertEquals(names.set("web", "fd00::1", "10.42.0.10"), true);
  assertEquals([names.nameOf("10.42.0.9"), names.nameOf("10.42.0.10")], [undefined, "web"]);
  assertEquals(names.set("bad", "fd00::3", "no address"), false);
  assertEquals(names.set("www", "fd00::1", "10.42.0.10"), true);
  names.delete("web");
  assertEquals([names.nameOf("fd00::1"), names.addressesOf("web")], ["www", []]);
  assertEquals([names.addressesOf("fd00::1"), names.nameOf("nobody")], [[], undefined]);
});
