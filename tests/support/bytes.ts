/** Test data that is made, not stored: the same bytes everywhere, and their SHA-256. @module */
import { createHash } from "node:crypto";

/** One MiB. */
export const MIB: number = 1 << 20;
const BLOCK_BYTES = 64 << 10;

/** Returns block `index` of the endless test stream: 64 KiB of pseudo-random bytes that depend on the index alone. */
export function block(index: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(BLOCK_BYTES / 4);
  // xorshift32; any seed but 0 has the full period.
  let state = (Math.imul(index + 1, 0x9e3779b1) | 1) >>> 0;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer);
}

/** The first `bytes` bytes of the test stream. */
export function* testBytes(bytes: number): Generator<Uint8Array<ArrayBuffer>, void> {
  for (let at = 0; at < bytes; at += BLOCK_BYTES) {
    yield block(at / BLOCK_BYTES).subarray(0, bytes - at);
  }
}

/** SHA-256 of the first `bytes` bytes of the test stream, in hexadecimal. */
export function testSha256(bytes: number): string {
  const hash = createHash("sha256");
  for (const part of testBytes(bytes)) hash.update(part);
  return hash.digest("hex");
}

/** SHA-256 of a stream, in hexadecimal, and its length. */
export async function sha256Of(
  stream: ReadableStream<Uint8Array>,
): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of stream) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { sha256: hash.digest("hex"), bytes };
}

/** The first `bytes` bytes of the test stream as a stream. */
export function testStream(bytes: number): ReadableStream<Uint8Array<ArrayBuffer>> {
  const parts = testBytes(bytes);
  return new ReadableStream({
    pull(controller): void {
      const next = parts.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
  });
}
