/**
 * Who may see the status page: whoever says the token, and for a while whoever did.
 *
 * A session is a time and a MAC of it under the token, so that no server has to remember it, replicas with the same token take it
 * too, and another token ends it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

/** Shortest token: what can be guessed is none. */
export const TOKEN_CHARACTERS_MIN = 16;
/** Longest token. */
export const TOKEN_CHARACTERS_MAX = 256;
/** How long a session lasts. */
export const SESSION_MS = 12 * 3_600_000;
/** Wrong tokens of one source after which it has to wait. */
export const GUESSES_MAX = 5;
/** How long it waits; the same time makes it a newcomer again. */
export const GUESS_WAIT_MS = 60_000;
/** Sources that are remembered; the one that guessed longest ago is forgotten, and counted. */
export const GUESSERS_MAX = 10_000;
/** The cookie that holds a session. */
export const COOKIE = "moray_status";

/** Whether a text can be a token: 16 to 256 printable ASCII characters without spaces. */
export function isToken(text: string): boolean {
  return text.length >= TOKEN_CHARACTERS_MIN && text.length <= TOKEN_CHARACTERS_MAX &&
    /^[\x21-\x7e]*$/.test(text);
}

/** What is wrong with a text that {@linkcode isToken} refuses. */
export const TOKEN_FAULT =
  "The token of the status page is not 16 to 256 printable ASCII characters without spaces";

/** What came of a token. */
export type SignIn = "right" | "wrong" | "wait";

interface Guesses {
  count: number;
  lastAt: number;
}

/** Knows the token. Time is in unix milliseconds. */
export class SignInDesk {
  readonly #digest: Uint8Array;
  readonly #key: Uint8Array;
  /** Wrong tokens by source, in the order of the last. */
  readonly #guesses = new Map<string, Guesses>();
  #wrong = 0;
  #limited = 0;
  #evicted = 0;

  /** A desk for a token. Throws `RangeError` for what is none, without repeating it. */
  constructor(token: string) {
    if (!isToken(token)) throw new RangeError(TOKEN_FAULT);
    this.#digest = createHash("sha256").update(token).digest();
    this.#key = createHmac("sha256", token).update("moray status session key 1").digest();
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return {
      statusSignInsRefused: this.#wrong,
      statusSignInsLimited: this.#limited,
      statusGuessersForgotten: this.#evicted,
    };
  }

  /** Looks at a token that came from a source. A source that guessed too often has to wait, with the right one too. */
  check(now: number, source: string, token: string): SignIn {
    const guesses = this.#guesses.get(source);
    const fresh = guesses !== undefined && now < guesses.lastAt + GUESS_WAIT_MS;
    if (fresh && guesses.count >= GUESSES_MAX) {
      this.#limited++;
      return "wait";
    }
    // Digests are of one length, and differ everywhere: how long the comparison takes says nothing.
    const digest = createHash("sha256").update(token).digest();
    if (timingSafeEqual(digest, this.#digest)) {
      this.#guesses.delete(source);
      return "right";
    }
    this.#wrong++;
    this.#guesses.delete(source);
    if (this.#guesses.size >= GUESSERS_MAX) {
      const [oldest] = this.#guesses.keys();
      if (oldest !== undefined) this.#guesses.delete(oldest);
      this.#evicted++;
    }
    this.#guesses.set(source, { count: fresh ? guesses.count + 1 : 1, lastAt: now });
    return "wrong";
  }

  /** A session from now on. */
  session(now: number): string {
    const expiresAt = String(now + SESSION_MS);
    return `${expiresAt}.${this.#mac(expiresAt).toString("base64url")}`;
  }

  /** When a session ends; `undefined` for one that has, or is none. */
  sessionEnd(now: number, session: string): number | undefined {
    const [, expiresAt, mac] = /^(\d{1,15})\.([A-Za-z0-9_-]{43})$/.exec(session) ?? [];
    if (expiresAt === undefined || mac === undefined) return undefined;
    if (!timingSafeEqual(Buffer.from(mac, "base64url"), this.#mac(expiresAt))) return undefined;
    const end = Number(expiresAt);
    return end > now && end <= now + SESSION_MS ? end : undefined;
  }

  #mac(expiresAt: string): Buffer {
    return createHmac("sha256", this.#key).update(`moray status session 1 ${expiresAt}`).digest();
  }
}

/** The value of a cookie in a `Cookie` header; `undefined` for none. */
export function cookieOf(header: string | null, name: string): string | undefined {
  for (const part of header?.split(";") ?? []) {
    const at = part.indexOf("=");
    if (at > 0 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim();
  }
  return undefined;
}
