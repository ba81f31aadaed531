/** The engine's native cipher, as it is loaded: beside OpenSSL's, and at the bounds of the memory that it may touch. */
import { deepStrictEqual as assertEquals, throws } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createCipheriv } from "node:crypto";
import { NativeAead } from "../io/mod.ts";
import { NATIVE_PATH, nativeReason } from "./support/native_cipher.ts";
import { say } from "./support/say.ts";

const PAGE = 65_536;
const PAGES = 4;
/** Where things lie in the memory: the call, what is authenticated beside the text. */
const [CALL, AAD] = [256, 1024];
const CALL_BYTES = 76;
const ignore = nativeReason !== undefined;
if (ignore) say(`skipped: the native cipher: ${nativeReason}`);

/** Memory as an engine has it, and calls on it. */
class Memory {
  readonly bytes = new Uint8Array(PAGE * PAGES);
  readonly #view: DataView;
  readonly #aead: NativeAead;
  readonly #low: number;
  readonly #high: number;

  constructor(aead: NativeAead) {
    for (let at = 0; at < this.bytes.length; at += PAGE) {
      crypto.getRandomValues(this.bytes.subarray(at, at + PAGE));
    }
    this.#view = new DataView(this.bytes.buffer);
    this.#aead = aead;
    const address = aead.addressOf(this.bytes);
    [this.#low, this.#high] = [Number(address & 0xffff_ffffn), Number(address >> 32n)];
  }

  /** Writes a call for a text; key and nonce are what lies there. */
  write(text: number, length: number, aadLength: number, aad = AAD): void {
    [aad, aadLength, text, length].forEach((value, i) =>
      this.#view.setUint32(CALL + 44 + 4 * i, value, true)
    );
  }

  run(name: "seal" | "open", at = CALL, pages = PAGES): number {
    return this.#aead[name](this.#low, this.#high, pages, at);
  }

  get tag(): string {
    return this.bytes.slice(CALL + 60, CALL + CALL_BYTES).toHex();
  }

  /** What OpenSSL makes of the text. */
  expected(text: number, length: number, aadLength: number): { cipher: string; tag: string } {
    const key = this.bytes.slice(CALL, CALL + 32);
    const nonce = this.bytes.slice(CALL + 32, CALL + 44);
    const other = createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: 16 });
    other.setAAD(this.bytes.slice(AAD, AAD + aadLength), { plaintextLength: length });
    const cipher = new Uint8Array(other.update(this.bytes.slice(text, text + length))).toHex();
    other.final();
    return { cipher, tag: new Uint8Array(other.getAuthTag()).toHex() };
  }
}

Deno.test({
  name:
    "the native cipher seals as OpenSSL does and opens that, at every length up to 2,048 and the longest datagram",
  ignore,
  fn: () => {
    using aead = NativeAead.load({ path: NATIVE_PATH });
    const memory = new Memory(aead);
    for (let length = 0; length <= 2050; length++) {
      const bytes = length > 2048 ? 65_500 + length % 8 : length;
      const text = 4096 + length % 37;
      const aadLength = length % 3 === 0 ? 0 : length % 71;
      const before = memory.bytes.slice();
      const { cipher, tag } = memory.expected(text, bytes, aadLength);
      memory.write(text, bytes, aadLength);
      assertEquals(memory.run("seal"), 1);
      assertEquals(memory.bytes.slice(text, text + bytes).toHex(), cipher, `${bytes} bytes`);
      assertEquals(memory.tag, tag, `${bytes} bytes`);
      memory.bytes.fill(0, CALL + 60, CALL + CALL_BYTES);
      assertEquals(memory.run("open"), 1);
      assertEquals(memory.tag, tag, `${bytes} bytes, opened`);
      // Nothing else has changed.
      before.set(memory.bytes.subarray(CALL, CALL + CALL_BYTES), CALL);
      assertEquals(Buffer.compare(memory.bytes, before) === 0, true, `around ${bytes}`);
    }
  },
});

Deno.test({
  name: "the native cipher touches nothing outside of the memory that it is given",
  ignore,
  fn: () => {
    using aead = NativeAead.load({ path: NATIVE_PATH });
    const memory = new Memory(aead);
    const refuses = (name: string, at = CALL, pages = PAGES): void => {
      const before = memory.bytes.slice();
      assertEquals([memory.run("seal", at, pages), memory.run("open", at, pages)], [0, 0], name);
      assertEquals(Buffer.compare(memory.bytes, before) === 0, true, name);
    };
    const end = PAGE * PAGES;
    memory.write(end - 100, 101, 0);
    refuses("a text that ends a byte too late");
    memory.write(0xffff_ff00, 0x200, 0);
    refuses("a text that would begin again at 0");
    memory.write(4096, 0xffff_ffff, 0);
    refuses("a text longer than the memory");
    memory.write(4096, 100, 101, end - 100);
    refuses("what is authenticated, too long");
    memory.write(4096, 100, 50, 4100);
    refuses("what is authenticated, in the text");
    memory.write(PAGE, 100, 0);
    refuses("a text behind the pages that there are", CALL, 1);
    memory.write(4096, 100, 0);
    refuses("a call that is not on its boundary", CALL + 2);
    refuses("a call at the end of the memory", end - CALL_BYTES + 4);
    refuses("a call beyond 4 GiB", 0xffff_fffc);
    refuses("no memory", CALL, 0);
    memory.write(end - 100, 100, 0);
    assertEquals(memory.run("seal"), 1, "up to the last byte");
  },
});

Deno.test({
  name: "the native cipher is refused in one line where its file is missing, or is another",
  ignore,
  fn: async () => {
    const bytes = await Deno.readFile(NATIVE_PATH);
    {
      using copied = NativeAead.load({ bytes });
      const memory = new Memory(copied);
      memory.write(4096, 1420, 0);
      const { tag } = memory.expected(4096, 1420, 0);
      assertEquals([memory.run("seal"), memory.tag], [1, tag]);
    }
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(`${folder}/text.so`, "no library");
      for (const path of [`${folder}/none.so`, `${folder}/text.so`]) {
        throws(() => NativeAead.load({ path }), { code: "unsupported", message: /^[^\n]+$/ });
      }
      throws(() => NativeAead.load({ bytes: bytes.slice(0, 10) }), { code: "unsupported" });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
