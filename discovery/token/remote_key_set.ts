/**
 * A Discovery's keys, fetched when they are needed and kept for as long as it says.
 *
 * Whoever sends tokens with key ids that nobody knows makes us ask again: at most once in {@linkcode FETCH_INTERVAL_MS}.
 *
 * @module
 */
import { concat, messageOf } from "../../core/mod.ts";
import type { Fetch } from "../client/transport.ts";
import { KEY_SET_PATH, TOKEN_ALGORITHM } from "./claims.ts";

/** Least time between two requests for the keys. */
export const FETCH_INTERVAL_MS = 10_000;
/** Keys are good for at least this long, whatever the server says. */
export const KEYS_AGE_MIN_MS = 10_000;
/** Keys are good for at most this long, whatever the server says; and once they are old and it does not answer. */
export const KEYS_AGE_MAX_MS = 3_600_000;
/** Keys in a set; further ones are left out. */
export const KEYS_MAX = 16;

/** How long keys are good where the server does not say. */
const KEYS_AGE_MS = 300_000;
const KEY_SET_BYTES_MAX = 64 * 1024;
const FETCH_MS = 5000;

/** Options of {@linkcode RemoteKeySet}. */
export interface RemoteKeySetOptions {
  /** Base URLs of the Discovery: the first that answers is taken. */
  readonly urls: readonly string[];
  /** Makes the requests. */
  readonly fetch: Fetch;
  /** Now, unix milliseconds. */
  readonly now: () => number;
}

/** What finding a key came to. */
export type KeyFinding =
  | { readonly kind: "found"; readonly key: CryptoKey }
  /** The server has no such key, or it was asked too lately. */
  | { readonly kind: "unknown" }
  /** The server does not answer; why, in one clause. */
  | { readonly kind: "unreachable"; readonly reason: string };

interface KeySet {
  readonly keys: ReadonlyMap<string, CryptoKey>;
  readonly fetchedAt: number;
  readonly ageMaxMs: number;
}

/** The keys. */
export class RemoteKeySet {
  readonly #options: RemoteKeySetOptions;
  #present: KeySet | undefined;
  #askedAt = -Infinity;
  #asking: Promise<void> | undefined;
  #fault: string | undefined;
  readonly #counters = { keySetsFetched: 0, keySetsFailed: 0, keySetRequestsSpared: 0 };

  /** Keys that are not known yet. */
  constructor(options: RemoteKeySetOptions) {
    this.#options = options;
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { ...this.#counters };
  }

  /** Finds the key with an id. */
  async find(id: string): Promise<KeyFinding> {
    if (!this.#isYoungerThan(this.#present?.ageMaxMs ?? 0) || !this.#present?.keys.has(id)) {
      await this.#ask();
    }
    // Old keys are better than none while the server does not answer.
    const key = this.#isYoungerThan(KEYS_AGE_MAX_MS) ? this.#present?.keys.get(id) : undefined;
    if (key !== undefined) return { kind: "found", key };
    if (this.#fault !== undefined) return { kind: "unreachable", reason: this.#fault };
    return { kind: "unknown" };
  }

  #isYoungerThan(ageMs: number): boolean {
    if (this.#present === undefined) return false;
    const age = this.#options.now() - this.#present.fetchedAt;
    // A clock that went back makes them old.
    return age >= 0 && age < ageMs;
  }

  async #ask(): Promise<void> {
    if (this.#asking === undefined) {
      const now = this.#options.now();
      if (now >= this.#askedAt && now < this.#askedAt + FETCH_INTERVAL_MS) {
        this.#counters.keySetRequestsSpared++;
        return;
      }
      this.#askedAt = now;
      this.#asking = this.#fetchAny().finally(() => this.#asking = undefined);
    }
    await this.#asking;
  }

  async #fetchAny(): Promise<void> {
    for (const url of this.#options.urls) {
      try {
        this.#present = await this.#fetch(url);
        this.#fault = undefined;
        this.#counters.keySetsFetched++;
        return;
      } catch (error) {
        this.#fault = messageOf(error);
        this.#counters.keySetsFailed++;
      }
    }
  }

  async #fetch(baseUrl: string): Promise<KeySet> {
    const fetchedAt = this.#options.now();
    const cutOff = new AbortController();
    const timer = setTimeout(() => cutOff.abort(new Error("it does not answer")), FETCH_MS);
    try {
      const url = baseUrl.replace(/\/+$/, "") + KEY_SET_PATH;
      const { signal } = cutOff;
      const response = await this.#options.fetch(url, { signal, redirect: "error" });
      const text = await readText(response);
      if (response.status !== 200) throw new Error(`it answers with status ${response.status}`);
      const keys = await parseKeySet(text);
      return { keys, fetchedAt, ageMaxMs: ageOf(response.headers.get("cache-control") ?? "") };
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Reads a key set; keys that tokens are not verified with are left out. Rejects for what is none. */
export async function parseKeySet(text: string): Promise<ReadonlyMap<string, CryptoKey>> {
  const json: unknown = parseJson(text);
  const listed = isObject(json) ? json["keys"] : undefined;
  if (!Array.isArray(listed)) throw new Error("its answer is no key set");
  const keys = new Map<string, CryptoKey>();
  for (const one of listed) {
    if (keys.size >= KEYS_MAX) break;
    if (!isObject(one) || one["kty"] !== "OKP" || one["crv"] !== "Ed25519") continue;
    const { kid, x, use = "sig", alg = TOKEN_ALGORITHM } = one;
    if (use !== "sig" || alg !== TOKEN_ALGORITHM) continue;
    if (typeof kid !== "string" || typeof x !== "string" || keys.has(kid)) continue;
    const key = await publicKey(x);
    if (key !== undefined) keys.set(kid, key);
  }
  return keys;
}

async function publicKey(x: string): Promise<CryptoKey | undefined> {
  try {
    const jwk = { kty: "OKP", crv: "Ed25519", x };
    return await crypto.subtle.importKey("jwk", jwk, "Ed25519", false, ["verify"]);
  } catch {
    return undefined;
  }
}

function ageOf(cacheControl: string): number {
  const [, seconds] = /(?:^|[\s,])max-age=(\d{1,9})(?:$|[\s,])/.exec(cacheControl) ?? [];
  const ageMs = seconds === undefined ? KEYS_AGE_MS : 1000 * Number(seconds);
  return Math.min(KEYS_AGE_MAX_MS, Math.max(KEYS_AGE_MIN_MS, ageMs));
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > KEY_SET_BYTES_MAX) throw new Error("its answer is too large");
    chunks.push(chunk);
  }
  return new TextDecoder().decode(concat(...chunks));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
