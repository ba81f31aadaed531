/** Starts the relay, which loads only then. @module */
import type { RelayOptions, RunningRelay } from "./server.ts";

/**
 * Starts a relay. Rejects with `MorayError`: `portInUse`, `permission`, `usage` (options that make no sense, an address that this
 * machine does not have, a certificate that is none), `unsupported` (the fast driver was asked for and is not to be had).
 */
export async function startRelay(options: RelayOptions): Promise<RunningRelay> {
  const server = await import("./server.ts" as string) as typeof import("./server.ts");
  return await server.startRelay(options);
}
