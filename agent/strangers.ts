/** Look-ups of keys that are no peers yet, or that are to be confirmed: each once at a time, and not too many. Pure. @module */
import type { MeshOutbox } from "./mesh_outbox.ts";

/** Look-ups at once; further strangers try again by themselves. */
const STRANGERS_MAX = 64;
/** Keys that the log names. */
const NAMED_MAX = 256;

/** The keys that are being looked up. */
export class Strangers {
  readonly #outbox: MeshOutbox;
  readonly #asked = new Set<string>();
  readonly #named = new Set<string>();
  #ignored = 0;

  /** Nobody is looked up. */
  constructor(outbox: MeshOutbox) {
    this.#outbox = outbox;
  }

  /** Look-ups that were one too many. */
  get ignored(): number {
    return this.#ignored;
  }

  /** Asks Discovery for the agent with a key, unless that is being done. */
  lookUp(publicKey: string): void {
    if (this.#asked.has(publicKey)) return;
    if (this.#asked.size >= STRANGERS_MAX) return void this.#ignored++;
    this.#asked.add(publicKey);
    this.#outbox.request({ kind: "lookUpAgent", publicKey });
  }

  /** Discovery does not know the key: the log says so, of each key once, and of more than {@linkcode NAMED_MAX} of none. */
  unknown(publicKey: string): void {
    const level = this.#named.has(publicKey) || this.#named.size >= NAMED_MAX ? "debug" : "info";
    if (level === "info") this.#named.add(publicKey);
    this.#outbox.say(level, "a handshake from a key that is not registered", { publicKey });
  }

  /** Discovery has answered, or has not. */
  answered(publicKey: string): void {
    this.#asked.delete(publicKey);
  }
}
