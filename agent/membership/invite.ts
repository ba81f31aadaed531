/**
 * The one string of `moray invite`: all that a new agent needs. Pure.
 *
 * ```text
 *   moray1.<base64url of {"m": mesh id, "k": the colony's key, "d": [Discovery URLs], "s": seed of the invite, "e": end, "n": name}>
 * ```
 *
 * Whoever holds it may join once, so it is a secret until then.
 *
 * @module
 */
import { formatBase64, KEY_BYTES, MorayError, parseKey } from "../../core/mod.ts";
import { isLabel } from "../names.ts";

/** Longest string that is looked at, in characters. */
export const INVITE_LENGTH_MAX = 4096;
/** Discovery URLs in one invite; further ones are left out. */
const URLS_MAX = 8;
const PREFIX = "moray1.";

/** What an invite says. */
export interface Invite {
  /** Mesh id. */
  readonly mesh: string;
  /** The colony's WireGuard key, base64: no other colony is believed. */
  readonly colonyKey: string;
  /** Base URLs of Discovery, at least one. */
  readonly discovery: readonly string[];
  /** Seed of the invite's key, 32 bytes. Never in a log, an error or JSON. */
  readonly seed: Uint8Array;
  /** When it ends, unix milliseconds. */
  readonly expiresAt: number;
  /** Name for the node. Absent: its own choice. */
  readonly name?: string;
}

/** Formats an invite as one string without spaces. */
export function formatInvite(
  { mesh, colonyKey, discovery, seed, expiresAt, name }: Invite,
): string {
  const value = {
    m: mesh,
    k: colonyKey,
    d: discovery.slice(0, URLS_MAX),
    s: formatBase64(seed),
    e: expiresAt,
    ...(name !== undefined && { n: name }),
  };
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  return PREFIX + bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Parses an invite. Throws `MorayError` `usage`, never with a part of the string. */
export function parseInvite(text: string): Invite {
  const invite = valueOf(text.trim());
  if (invite !== undefined) return invite;
  throw new MorayError(
    "usage",
    'That is no invite: copy the whole string that "moray invite" printed, which starts with moray1.',
  );
}

function valueOf(text: string): Invite | undefined {
  if (text.length > INVITE_LENGTH_MAX || !text.startsWith(PREFIX)) return undefined;
  let value: Readonly<Record<string, unknown>>;
  try {
    const bytes = Uint8Array.fromBase64(text.slice(PREFIX.length), { alphabet: "base64url" });
    value = Object(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch {
    return undefined;
  }
  const { m: mesh, k: colonyKey, d: discovery, s, e: expiresAt, n: name } = value as Record<
    "m" | "k" | "d" | "s" | "e" | "n",
    unknown
  >;
  const seed = typeof s === "string" ? parseKey(s) : undefined;
  if (seed?.length !== KEY_BYTES || typeof mesh !== "string" || !isLabel(mesh)) return undefined;
  if (typeof colonyKey !== "string" || parseKey(colonyKey) === undefined) return undefined;
  if (typeof expiresAt !== "number" || !Number.isSafeInteger(expiresAt)) return undefined;
  if (!Array.isArray(discovery) || discovery.length < 1 || discovery.length > URLS_MAX) {
    return undefined;
  }
  if (!discovery.every(isUrl)) return undefined;
  if (name === undefined) return { mesh, colonyKey, discovery, seed, expiresAt };
  if (typeof name !== "string" || !isLabel(name)) return undefined;
  return { mesh, colonyKey, discovery, seed, expiresAt, name };
}

function isUrl(value: unknown): value is string {
  if (typeof value !== "string" || !URL.canParse(value)) return false;
  return ["http:", "https:"].includes(new URL(value).protocol);
}
