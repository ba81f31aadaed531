/**
 * Time-limited TURN credentials: the REST scheme that coturn and other servers share (draft-uberti-behave-turn-rest).
 *
 * ```text
 *   username   <end in unix seconds>:<session id>
 *   password   base64(HMAC-SHA1(secret, username))
 *   session    <tag of the mesh>.<tag of the node in it>.<random>
 * ```
 *
 * By the tags a relay limits what the sessions of one mesh and of one node carry together, and learns neither. Pure.
 *
 * @module
 */
import { restCredentials, type StunCredentials } from "../../traversal/mod.ts";
import { meshTag, nodeTag } from "../relay/names.ts";
import type { NodeKey } from "../store/store.ts";

/** Makes the credentials of a session that ends at `expiresAt`, in unix milliseconds. */
export function relayCredentials(
  secret: string,
  { sessionId: session, expiresAt }: { readonly sessionId: string; readonly expiresAt: number },
): StunCredentials {
  return restCredentials(secret, { session, expiresAtSeconds: Math.floor(expiresAt / 1000) });
}

/** Makes the id of a session of a node; `random` cannot be guessed. */
export function relaySessionId(node: NodeKey, random: string): string {
  return `${meshTag(node.meshId)}.${nodeTag(node)}.${random.replaceAll("-", "")}`;
}
