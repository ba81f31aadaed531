/**
 * What replicas say to each other when a mesh's members change: who was thrown out, what the colony has signed about whom, and which
 * relay sessions ended with it.
 *
 * @module
 */
import { parseBase64 } from "../../core/mod.ts";
import { type NodeKey, SAID_BYTES_MAX } from "../store/store.ts";

/** A word of a replica. */
export type MemberWord =
  /** A node is in its mesh no more: its streams end. */
  | ({ readonly kind: "expelled" } & NodeKey)
  /** What the colony says of a node now. */
  | ({
    readonly kind: "membership";
    /** Whether it throws the node out, or lets one in who was: that concerns the whole mesh. */
    readonly forAll: boolean;
    /** The SignedStatement in base64. */
    readonly statement: string;
  } & NodeKey)
  /** Relay sessions are over before their end. */
  | { readonly kind: "ended"; readonly sessions: readonly EndedSession[] };

/** A relay session that is over. */
export interface EndedSession {
  /** The relay's id. */
  readonly relayId: string;
  /** The session's id. */
  readonly sessionId: string;
}

/** Sessions in one word: of any length that ids have. */
const SESSIONS_PER_WORD = 20;

/** Encodes a word; each text is within {@linkcode SAID_BYTES_MAX}. */
export function encodeMemberWord(word: MemberWord): readonly string[] {
  switch (word.kind) {
    case "expelled": {
      const { meshId, publicKey } = word;
      return [JSON.stringify({ expelled: { meshId, publicKey } })];
    }
    case "membership": {
      const { meshId, publicKey, forAll, statement } = word;
      const text = JSON.stringify({ membership: { meshId, publicKey, forAll, statement } });
      // ListMembers has it.
      return text.length <= SAID_BYTES_MAX ? [text] : [];
    }
    case "ended": {
      const texts: string[] = [];
      for (let from = 0; from < word.sessions.length; from += SESSIONS_PER_WORD) {
        const part = word.sessions.slice(from, from + SESSIONS_PER_WORD);
        const ended = part.map(({ relayId, sessionId }) => [relayId, sessionId]);
        texts.push(JSON.stringify({ ended }));
      }
      return texts;
    }
    default:
      return word satisfies never;
  }
}

/** Parses a word; `undefined` for what is none, as the words of other parts are. */
export function decodeMemberWord(text: string): MemberWord | undefined {
  if (!/^\{"(?:expelled|membership|ended)":/.test(text)) return undefined;
  let value: { expelled?: unknown; membership?: unknown; ended?: unknown };
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { expelled, membership, ended } = value;
  if (isNode(expelled)) {
    const { meshId, publicKey } = expelled;
    return { kind: "expelled", meshId, publicKey };
  }
  if (isNode(membership)) {
    const { meshId, publicKey, forAll, statement } = membership;
    if (typeof forAll !== "boolean" || typeof statement !== "string") return undefined;
    if (parseBase64(statement) === undefined) return undefined;
    return { kind: "membership", meshId, publicKey, forAll, statement };
  }
  if (!Array.isArray(ended) || !ended.every(isPair)) return undefined;
  return {
    kind: "ended",
    sessions: ended.map(([relayId, sessionId]) => ({ relayId, sessionId })),
  };
}

function isNode(
  value: unknown,
): value is { meshId: string; publicKey: string; forAll?: unknown; statement?: unknown } {
  if (typeof value !== "object" || value === null) return false;
  const { meshId, publicKey } = value as Record<"meshId" | "publicKey", unknown>;
  return typeof meshId === "string" && typeof publicKey === "string";
}

function isPair(value: unknown): value is [string, string] {
  return Array.isArray(value) && value.length === 2 &&
    value.every((one) => typeof one === "string");
}
