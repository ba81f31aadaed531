/** What happened in a world: a hash of all of it, and the lines that a person may read. @module */

/** Takes a line for a person. */
export type Print = (line: string) => void;

/** Collects. */
export class Trace {
  readonly #print: Print | undefined;
  #low = 0x811c9dc5;
  #high = 0x1b873593;

  /** A trace; with `print` the lines are printed as they come. */
  constructor(print?: Print) {
    this.#print = print;
  }

  /** Sixteen hexadecimal digits that two runs of one seed have in common. */
  get hash(): string {
    const hex = (part: number): string => (part >>> 0).toString(16).padStart(8, "0");
    return hex(this.#high) + hex(this.#low);
  }

  /** Takes a number into the hash. */
  mix(value: number): void {
    // Microseconds, in two halves.
    const scaled = Math.round(value * 1000);
    this.#step(scaled | 0);
    this.#step(Math.floor(scaled / 2 ** 32));
  }

  /** Takes an event that a person wants to know of. */
  say(nowMs: number, line: () => string): void {
    const text = line();
    this.mix(nowMs);
    for (let i = 0; i < text.length; i++) this.#step(text.charCodeAt(i));
    this.#print?.(`${(nowMs / 1000).toFixed(3).padStart(8)} ${text}`);
  }

  #step(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x01000193);
    this.#high = Math.imul(this.#high ^ word ^ this.#low >>> 15, 0x85ebca6b);
    this.#high ^= this.#high >>> 13;
  }
}
