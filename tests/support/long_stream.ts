/**
 * Reads the endless test stream from a URL, checks every byte, and prints what it saw as JSON:
 * `{blocks, seconds, longestGap}`. A wrong byte is exit code 1. For streams that last minutes.
 *
 * @module
 */
import { block } from "./bytes.ts";

const [url = ""] = Deno.args;
const response = await fetch(url);
if (response.body === null) throw new Error(`No body: ${response.status}`);
const startedAt = performance.now();
let blocks = 0;
let lastAt = startedAt;
let longestGap = 0;
let wanted = block(0);
let at = 0;
for await (const chunk of response.body) {
  const now = performance.now();
  longestGap = Math.max(longestGap, now - lastAt);
  lastAt = now;
  for (let read = 0; read < chunk.length;) {
    const part = chunk.subarray(read, read + wanted.length - at);
    if (!same(part, wanted.subarray(at, at + part.length))) {
      throw new Error(`A wrong byte in block ${blocks}`);
    }
    read += part.length;
    at += part.length;
    if (at < wanted.length) continue;
    blocks++;
    at = 0;
    wanted = block(blocks);
  }
}
const seconds = (performance.now() - startedAt) / 1000;
const result = { blocks, seconds, longestGap: longestGap / 1000 };
Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(result)}\n`));

function same(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
