/** The body of a request, bounded in size and time. @module */
import { concat } from "../../core/mod.ts";

/** How long a request's body may take to arrive. */
export const BODY_MS_MAX = 10_000;

/** What a body may be. */
export interface BodyLimits {
  /** Largest size in bytes. */
  readonly bytesMax: number;
  /** How long it may take to arrive, in milliseconds. @default {@linkcode BODY_MS_MAX} */
  readonly msMax?: number;
}

/** A request's body, or what is wrong with it: it is too `large`, or too `slow`. */
export async function readBody(
  request: Request,
  { bytesMax, msMax = BODY_MS_MAX }: BodyLimits,
): Promise<Uint8Array<ArrayBuffer> | "large" | "slow"> {
  const length = statedLength(request.headers);
  if (length !== undefined) {
    if (length > bytesMax) return "large";
    return await inTime(request.bytes(), msMax);
  }
  const reader = request.body?.getReader();
  if (reader === undefined) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const late = Promise.withResolvers<"slow">();
  const timer = setTimeout(() => late.resolve("slow"), msMax);
  try {
    for (;;) {
      const result = await Promise.race([reader.read(), late.promise]);
      if (result === "slow") return "slow";
      if (result.done) return concat(...chunks);
      bytes += result.value.length;
      if (bytes > bytesMax) return "large";
      chunks.push(result.value);
    }
  } finally {
    clearTimeout(timer);
    // The answer closes the connection, as the rest of the body was not read.
    reader.releaseLock();
  }
}

/** How long a body is that comes as it says; `undefined` for one in pieces. The server reads no byte more of such a one. */
function statedLength(headers: Headers): number | undefined {
  const text = headers.get("content-length");
  if (text === null || headers.has("transfer-encoding") || !/^\d{1,9}$/.test(text)) {
    return undefined;
  }
  return Number(text);
}

/** Reading a body in one piece costs a fraction of what a stream's reader does. */
async function inTime<T>(body: Promise<T>, msMax: number): Promise<T | "slow"> {
  const late = Promise.withResolvers<"slow">();
  const timer = setTimeout(() => {
    // The answer closes the connection, and with it fails what is still read.
    body.catch(() => {});
    late.resolve("slow");
  }, msMax);
  try {
    return await Promise.race([body, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
