/** A colony's policy file: read at the start, and again whenever it has changed. @module */
import { messageOf } from "../../core/mod.ts";
import { readTextFile } from "../../io/mod.ts";
import type { Log } from "../options.ts";
import { parsePolicy, type Policy, POLICY_CHARACTERS_MAX } from "../policy/mod.ts";

/** How often the file is looked at. */
const LOOK_MS = 1000;

/** What a {@linkcode PolicyFile} needs. */
export interface PolicyFileOptions {
  /** Path of the file. */
  readonly path: string;
  /** Where the log goes. */
  readonly log: Log;
}

/** Keeps an eye on a policy file. */
export class PolicyFile {
  readonly #options: PolicyFileOptions;
  #text: string;
  #policy: Policy;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;
  /** What was said last of a file that is no use. */
  #said = "";

  private constructor(options: PolicyFileOptions, text: string) {
    this.#options = options;
    this.#text = text;
    this.#policy = parsePolicy(options.path, text);
  }

  /** Reads it. Throws `config` for what is no policy, and the system's errors. */
  static async open(options: PolicyFileOptions): Promise<PolicyFile> {
    return new PolicyFile(options, await read(options.path));
  }

  /** What it says. */
  get policy(): Policy {
    return this.#policy;
  }

  /** From now on `onChange` is called when it says something else. What is no policy changes nothing, and is said once. */
  watch(onChange: (policy: Policy) => void): void {
    this.#timer = setTimeout(async () => {
      await this.#look(onChange);
      if (!this.#stopped) this.watch(onChange);
    }, LOOK_MS);
    Deno.unrefTimer(this.#timer);
  }

  /** Looks no more. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #look(onChange: (policy: Policy) => void): Promise<void> {
    const { path, log } = this.#options;
    try {
      const text = await read(path);
      if (this.#stopped || text === this.#text) return;
      this.#policy = parsePolicy(path, text);
      this.#text = text;
      this.#said = "";
    } catch (error) {
      const message = `${messageOf(error)}: the policy stays as it was`;
      if (message !== this.#said) log("error", message);
      this.#said = message;
      return;
    }
    log("info", `the policy has changed`, { path });
    onChange(this.#policy);
  }
}

/** Each character has at most four bytes. */
function read(path: string): Promise<string> {
  return readTextFile(path, { bytesMax: POLICY_CHARACTERS_MAX * 4 });
}
