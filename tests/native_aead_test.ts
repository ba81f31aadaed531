/** The engine's native cipher, as it is loaded: beside OpenSSL's, and at the bounds of the memory that it may touch. */
import { deepStrictEqual as assertEquals, rejects } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createCipheriv } from "node:crypto";
import { NativeAead } from "../io/mod.ts";
import { AEAD_DIGEST } from "../wg/mod.ts";
import { loadNative, NATIVE_PATH, nativeReason } from "./support/native_cipher.ts";
import { say } from "./support/say.ts";

const PAGE = 65_536;
const PAGES = 4;
/** Where things lie in the memory: the call, what is authenticated beside the text. */
const [CALL, AAD] = [256, 1024];
const CALL_BYTES = 76;
const FORMS = ["narrow", "wide"] as const;
const reasons = { narrow: await nativeReason("narrow"), wide: await nativeReason("wide") };
for (const form of FORMS) {
  if (reasons[form] !== undefined) say(`skipped: the native cipher, ${form}: ${reasons[form]}`);
}

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

for (const form of FORMS) {
  Deno.test({
    name:
      `the native cipher (${form}) seals as OpenSSL does and opens that, at every length up to 2,048 and the longest datagram`,
    ignore: reasons[form] !== undefined,
    fn: async () => {
      using aead = await loadNative(form);
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
    name: `the native cipher (${form}) touches nothing outside of the memory that it is given`,
    ignore: reasons[form] !== undefined,
    fn: async () => {
      using aead = await loadNative(form);
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
      memory.write(CALL + CALL_BYTES - 1, 100, 0);
      refuses("a text over the call");
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
}

Deno.test({
  name: "the native cipher is loaded from a copy in memory as from its file",
  ignore: reasons.narrow !== undefined,
  fn: async () => {
    const bytes = await Deno.readFile(NATIVE_PATH);
    using copied = await NativeAead.load({ bytes }, { known: AEAD_DIGEST });
    assertEquals(copied.form, reasons.wide === undefined ? "wide" : "narrow");
    const memory = new Memory(copied);
    memory.write(4096, 1420, 0);
    const { tag } = memory.expected(4096, 1420, 0);
    assertEquals([memory.run("seal"), memory.tag], [1, tag]);
  },
});

Deno.test({
  name:
    "the native cipher is refused in one line where its file is missing, is cut short, or is another by a bit",
  ignore: reasons.narrow !== undefined,
  fn: async () => {
    const known = AEAD_DIGEST;
    const bytes = await Deno.readFile(NATIVE_PATH);
    const damaged = bytes.slice();
    damaged[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    const folder = await Deno.makeTempDir();
    const refused = async (contents: Uint8Array<ArrayBuffer> | undefined): Promise<void> => {
      const path = `${folder}/aead.so`;
      if (contents !== undefined) await Deno.writeFile(path, contents);
      const files = [{ path }, ...(contents ? [{ bytes: contents }] : [])];
      for (const file of files) {
        await rejects(NativeAead.load(file, { known }), {
          code: "unsupported",
          message: contents === undefined
            ? /^No such file[^\n]+$/
            : contents.length === known.bytes
            ? "its file is damaged, or of another version"
            : `its file has ${contents.length} bytes, not ${known.bytes}`,
        });
      }
    };
    try {
      await refused(undefined);
      await refused(new TextEncoder().encode("no library"));
      // The loader would map a file of these as long as its headers say, and the process would end at the first page that is not there.
      for (const length of [0, 10, 4096, bytes.length - 1]) await refused(bytes.slice(0, length));
      await refused(damaged);
      const path = `${folder}/text.so`;
      await Deno.writeTextFile(path, "no library");
      const text = new TextEncoder().encode("no library");
      const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", text)).toHex();
      await rejects(NativeAead.load({ path }, { known: { bytes: text.length, sha256 } }), {
        code: "unsupported",
        message: /^[^\n]+$/,
      });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
