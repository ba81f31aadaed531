/**
 * What replicas tell each other by NOTIFY, as JSON of at most 8000 bytes.
 *
 * ```text
 *   {"k":"upserted"|"removed", "m":mesh, "p":key, "r":role, "g":generation}    with the transaction that did it
 *   {"k":"said", "t":text}
 *   {"k":"pulse", "i":replica, "n":count}                                      shows its sender that it still hears
 * ```
 *
 * @module
 */
import type { StoreEvent } from "./store.ts";

/** A replica's sign to itself. */
export interface Pulse {
  /** Kind of the message. */
  readonly kind: "pulse";
  /** Which replica. */
  readonly replica: string;
  /** The how many-th. */
  readonly count: number;
}

/** What can be told. */
export type ReplicaMessage = Exclude<StoreEvent, { kind: "gap" }> | Pulse;

/** Encodes a message. A change goes without its record, which may be too long: who wants it reads it. */
export function encodeMessage(message: ReplicaMessage): string {
  switch (message.kind) {
    case "said":
      return JSON.stringify({ k: message.kind, t: message.text });
    case "pulse":
      return JSON.stringify({ k: message.kind, i: message.replica, n: message.count });
    case "upserted":
    case "removed": {
      const { meshId, publicKey, role, generation } = message.change;
      return JSON.stringify({ k: message.kind, m: meshId, p: publicKey, r: role, g: generation });
    }
    default:
      return message satisfies never;
  }
}

/** Decodes a message; `undefined` for anything else, such as what a newer replica says. */
export function decodeMessage(text: string): ReplicaMessage | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { k, m, p, r, g, t, i, n } = value as Readonly<Record<string, unknown>>;
  if (k === "said") return typeof t === "string" ? { kind: k, text: t } : undefined;
  if (k === "pulse") {
    return typeof i === "string" && typeof n === "number"
      ? { kind: k, replica: i, count: n }
      : undefined;
  }
  if (k !== "upserted" && k !== "removed") return undefined;
  if (typeof m !== "string" || typeof p !== "string" || typeof g !== "number") return undefined;
  if (r !== "colony" && r !== "agent") return undefined;
  return { kind: k, change: { meshId: m, publicKey: p, role: r, generation: g } };
}
