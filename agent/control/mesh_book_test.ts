import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { formatBase64, parseCidr } from "../../core/mod.ts";
import { MemberSchema, MeshViewSchema, Role } from "../../proto/control.ts";
import { meshIpv6Of } from "../addressing.ts";
import { NameTable } from "../names.ts";
import { MeshBook } from "./mesh_book.ts";
import {
  type MeshMember,
  type MeshView,
  parseSubnet,
  parseView,
  viewMessage,
} from "./mesh_view.ts";

const MESH = "reef";

function key(seed: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(32).fill(seed);
}

function member(seed: number, more: Partial<MeshMember> = {}): MeshMember {
  return {
    publicKey: formatBase64(key(seed)),
    name: `n${seed}`,
    role: "agent",
    ipv4: `10.42.0.${seed}`,
    ipv6: meshIpv6Of(MESH, key(seed)),
    present: true,
    ...more,
  };
}

function view(more: Partial<MeshView> = {}): MeshView {
  const subnet = parseCidr("10.42.0.0/16");
  assert(subnet);
  return {
    instance: "i",
    revision: 3,
    complete: true,
    members: [member(1, { role: "colony" }), member(2)],
    removed: [],
    subnet,
    ...more,
  };
}

Deno.test("a view comes out of its message as it went in", () => {
  const given = view({ complete: false, removed: [formatBase64(key(9))] });
  assertEquals(parseView(viewMessage(given), MESH), given);
});

Deno.test("a view's members of other subnets, other addresses, no names or no keys are left out", () => {
  const good = {
    pubkey: key(2),
    name: "n2",
    ipv4: "10.42.0.2",
    ipv6: meshIpv6Of(MESH, key(2)),
    role: Role.AGENT,
  };
  const members = [
    good,
    { ...good, ipv4: "8.8.8.8" },
    { ...good, ipv4: "" },
    { ...good, ipv6: meshIpv6Of(MESH, key(3)) },
    { ...good, ipv6: "::1" },
    { ...good, name: "a.b" },
    { ...good, pubkey: key(2).subarray(1) },
    { ...good, role: Role.UNSPECIFIED },
  ].map((one) => create(MemberSchema, one));
  const message = create(MeshViewSchema, { members, complete: true, ipv4Subnet: "10.42.0.0/16" });
  assertEquals(parseView(message, MESH)?.members, [member(2, { present: false })]);
  for (
    const ipv4Subnet of ["", "0.0.0.0/0", "8.8.8.0/24", "10.0.0.0/7", "10.0.0.0/31", "fd00::/16"]
  ) {
    assertEquals(parseView(create(MeshViewSchema, { ipv4Subnet }), MESH), undefined, ipv4Subnet);
  }
});

Deno.test("a mesh's subnet lies inside a private range", () => {
  for (const good of ["10.0.0.0/8", "192.168.9.0/24", "172.16.0.0/12", "100.64.0.0/10"]) {
    assert(parseSubnet(good), good);
  }
  for (const bad of ["172.0.0.0/8", "192.168.0.0/15", "1.1.1.1", "10.0.0.0/33", "x", ""]) {
    assertEquals(parseSubnet(bad), undefined, bad);
  }
});

Deno.test("MeshBook lets views come on top of each other, and names follow", () => {
  const names = new NameTable(MESH);
  const book = new MeshBook(formatBase64(key(2)));
  book.take(view(), names);
  assertEquals(book.own?.ipv4, "10.42.0.2");
  assertEquals(book.seen, { instance: "i", revision: 3 });
  assertEquals(names.addressesOf("n1.reef.internal"), [member(1).ipv6, "10.42.0.1"]);
  // Two nodes that change names with each other.
  const swapped = [member(1, { role: "colony", name: "n2" }), member(2, { name: "n1" })];
  book.take(view({ complete: false, members: swapped, revision: 4 }), names);
  assertEquals([names.resolve("n1"), names.resolve("n2")], [member(2).ipv6, member(1).ipv6]);
  assertEquals(names.nameOf("10.42.0.1"), "n2");
  const gone = view({ complete: false, members: [], removed: [member(1).publicKey] });
  book.take(gone, names);
  assertEquals([book.members.length, names.resolve("n2")], [1, undefined]);
  book.take(view({ members: [member(7)] }), names);
  assertEquals(book.members, [member(7)]);
  assertEquals(names.resolve("n1"), undefined);
});

Deno.test("MeshBook writes a file that is read as a complete view of nobody who is there, and no other", () => {
  const names = new NameTable(MESH);
  const book = new MeshBook(formatBase64(key(2)));
  assertEquals(book.format(), undefined);
  book.take(view(), names);
  const text = book.format();
  assert(text);
  const read = MeshBook.parseFile(text, MESH);
  assertEquals([read?.complete, read?.instance, read?.revision], [true, "", 0]);
  assertEquals(read?.members, view().members.map((one) => ({ ...one, present: false })));
  assertEquals(MeshBook.parseFile(text, "other")?.members, []);
  for (
    const bad of ["", "[]", "7", "{}", '{"members": 3}', `{"ipv4Subnet":"10.42.0.0/16","x":1}`]
  ) {
    assertEquals(MeshBook.parseFile(bad, MESH), undefined, bad);
  }
});
