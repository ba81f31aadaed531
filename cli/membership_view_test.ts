import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { formatMembers } from "./membership_view.ts";

Deno.test("formatMembers shows members, who was thrown out, and invites", () => {
  const text = formatMembers({
    open: false,
    members: [
      { publicKey: "KEY1=", name: "laptop", state: "admitted" },
      { publicKey: "KEY2=", name: "", state: "revoked" },
    ],
    invites: [{ id: "abcdefgh", name: "phone", expiresAt: Date.UTC(2026, 0, 2) }],
  });
  assertEquals(text.split("\n"), [
    "The mesh is closed: nodes join by invite.",
    "Members:",
    "  laptop  KEY1=",
    "  (no name)  KEY2=  revoked",
    "Open invites:",
    "  abcdefgh  for phone  until 2026-01-02T00:00:00.000Z",
    "",
  ]);
  assertEquals(
    formatMembers({ open: true, members: [], invites: [] }),
    "The mesh is open: every node may join.\nNo members.\nNo open invites.\n",
  );
});
