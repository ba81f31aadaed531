import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { CHANGES_MAX, MemberList } from "./member_list.ts";
import type { MeshMember } from "./mesh_view.ts";

function member(publicKey: string, more: Partial<MeshMember> = {}): MeshMember {
  const address = { ipv4: "10.42.0.7", ipv6: "fd00::7" };
  return { publicKey, name: publicKey, role: "agent", present: true, ...address, ...more };
}

Deno.test("MemberList tells who has seen nothing, or another list, the whole of it", () => {
  const list = new MemberList("one");
  list.set(member("a"));
  list.set(member("b"));
  const whole = { revision: 2, complete: true, members: list.all, removed: [] };
  assertEquals(list.since({ instance: "", revision: 0 }), whole);
  assertEquals(list.since({ instance: "another", revision: 1 }), whole);
  assertEquals(list.since({ instance: "one", revision: 3 }), whole);
});

Deno.test("MemberList tells who has seen a revision what came after it, each member once", () => {
  const list = new MemberList("one");
  const seen = { instance: "one", revision: 2 };
  list.set(member("a"));
  list.set(member("b"));
  assertEquals(list.since(seen), { revision: 2, complete: false, members: [], removed: [] });
  list.set(member("c"));
  list.set(member("c", { present: false }));
  list.delete("a");
  assertEquals(list.since(seen), {
    revision: 5,
    complete: false,
    members: [member("c", { present: false })],
    removed: ["a"],
  });
});

Deno.test("MemberList counts only what changes something", () => {
  const list = new MemberList("one");
  assert(list.set(member("a")));
  assert(!list.set(member("a")));
  assert(!list.delete("b"));
  assertEquals(list.revision, 1);
});

Deno.test("MemberList remembers so many changes, and tells the whole to who has seen none of them", () => {
  const list = new MemberList("one");
  for (let i = 0; i <= CHANGES_MAX; i++) list.set(member(`k${i % 3}`, { name: `n${i}` }));
  const { revision } = list;
  assert(list.since({ instance: "one", revision: 5 }).complete);
  const { complete, members } = list.since({ instance: "one", revision: revision - 2 });
  assertEquals([complete, members.length], [false, 2]);
});
