/** Members and invites as text for people. Pure. @module */
import type { MemberList } from "../agent/mod.ts";

/** Formats a colony's members and open invites. */
export function formatMembers({ open, members, invites }: MemberList): string {
  const lines = [
    open ? "The mesh is open: every node may join." : "The mesh is closed: nodes join by invite.",
    members.length === 0 ? "No members." : "Members:",
    ...members.map(({ name, publicKey, state }) =>
      `  ${name === "" ? "(no name)" : name}  ${publicKey}${state === "revoked" ? "  revoked" : ""}`
    ),
    invites.length === 0 ? "No open invites." : "Open invites:",
    ...invites.map(({ id, name, expiresAt }) => {
      const whose = name === "" ? "" : `  for ${name}`;
      return `  ${id}${whose}  until ${new Date(expiresAt).toISOString()}`;
    }),
  ];
  return `${lines.join("\n")}\n`;
}
