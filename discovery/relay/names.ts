/** Names by which relays tell meshes and nodes apart without learning who they are. Pure. @module */
import { createHash } from "node:crypto";
import type { NodeKey } from "../store/store.ts";

/** Hexadecimal digits of a tag. */
const TAG_LENGTH = 8;
/** The same in the id of a volunteer, which stands beside those of all meshes. */
const ID_LENGTH = 16;

/** The tag of a mesh: the first part of the id of each of its sessions. */
export function meshTag(meshId: string): string {
  return tag(`mesh ${meshId}`, TAG_LENGTH);
}

/** The tag of a node in its mesh: the second part of the id of each of its sessions. */
export function nodeTag({ meshId, publicKey }: NodeKey): string {
  return tag(`node ${meshId} ${publicKey}`, TAG_LENGTH);
}

/** The id of the relay that a node runs for its mesh. */
export function volunteerId({ meshId, publicKey }: NodeKey): string {
  return `node-${tag(`volunteer ${meshId} ${publicKey}`, ID_LENGTH)}`;
}

function tag(text: string, length: number): string {
  return createHash("sha256").update(text).digest("hex").slice(0, length);
}
