/** Why a path is not direct, from the sentence of `status` to a word for programs. Pure. @module */
import type { PathCause } from "../discovery/mod.ts";

/** Beginnings and parts of sentences (`traversal/path_reason.ts`, `agent/peer_status.ts`); the first that fits counts. */
const CAUSES: readonly (readonly [RegExp, PathCause])[] = [
  [/^direct paths are switched off/, "directOff"],
  [/^no endpoint of this peer is known/, "noEndpoint"],
  [/UDP blocked here/, "udpBlocked"],
  [/mapping varies by destination on both sides/, "mappingVariesBoth"],
  [/mapping varies by destination here/, "mappingVariesHere"],
  [/mapping varies by destination at the peer's side/, "mappingVariesThere"],
  [/no session was asked for|^about to try|^no handshake yet/, "notTried"],
  [/no answer|\b\d+ (?:reply|replies)\b/, "noAnswer"],
];

/** The word for a sentence; `undefined` where there is none. */
export function causeOf(reason: string | null): PathCause | undefined {
  if (reason === null) return undefined;
  return CAUSES.find(([pattern]) => pattern.test(reason))?.[1] ?? "other";
}
