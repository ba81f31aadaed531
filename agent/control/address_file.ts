/** The addresses and names that a colony has given, `addresses.json` in its state directory: on the disk before anybody is told. @module */
import { messageOf } from "../../core/mod.ts";
import { readTextFile, writePrivateFile } from "../../io/mod.ts";
import type { Log } from "../options.ts";
import type { AddressBook } from "./address_book.ts";

/** The file in a colony's state directory. */
export const ADDRESSES_FILE = "addresses.json";
const FILE_BYTES_MAX = 16 << 20;

/** Keeps a book on the disk. */
export class AddressFile {
  readonly #path: string;
  readonly #mesh: string;
  readonly #book: AddressBook;
  readonly #log: Log;
  /** The write that is under way, or the last one. */
  #last: Promise<void> = Promise.resolve();
  /** The one after it, which has whatever changes until it begins. */
  #next: Promise<void> | undefined;
  #failed = 0;

  private constructor(
    { book, state, mesh, log }: {
      readonly book: AddressBook;
      readonly state: string;
      readonly mesh: string;
      readonly log: Log;
    },
  ) {
    this.#path = `${state}/${ADDRESSES_FILE}`;
    this.#book = book;
    this.#mesh = mesh;
    this.#log = log;
  }

  /** Reads an empty book's file. Never rejects: where it is absent or damaged, most nodes get what they had by their key. */
  static async open(options: {
    /** The book, of nobody. */
    readonly book: AddressBook;
    /** State directory. */
    readonly state: string;
    /** Mesh id. */
    readonly mesh: string;
    /** Where the log goes. */
    readonly log: Log;
  }): Promise<AddressFile> {
    const file = new AddressFile(options);
    const { book, mesh, log } = options;
    const text = await readTextFile(file.#path, { bytesMax: FILE_BYTES_MAX }).catch((error) => {
      log("debug", `no addresses of an earlier run: ${messageOf(error)}`);
      return undefined;
    });
    if (text === undefined) return file;
    const left = book.load(text, mesh);
    if (left === undefined) log("warn", `${file.#path} is damaged: addresses are given anew`);
    else if (left > 0) log("warn", `${file.#path}: ${left} nodes get other addresses`);
    return file;
  }

  /** Writes that failed. */
  get failed(): number {
    return this.#failed;
  }

  /** Resolves once what the book holds now is on the disk, or cannot be written. */
  save(): Promise<void> {
    this.#next ??= this.#last.then(() => {
      this.#next = undefined;
      return this.#write();
    });
    this.#last = this.#next;
    return this.#next;
  }

  async #write(): Promise<void> {
    try {
      await writePrivateFile(this.#path, this.#book.format(this.#mesh));
    } catch (error) {
      this.#failed++;
      this.#log("error", `the nodes' addresses are not kept: ${messageOf(error)}`);
    }
  }
}
