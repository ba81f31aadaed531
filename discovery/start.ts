/** Starts the service, which loads only then: nodes need the client alone. @module */
import type { DiscoveryOptions, RunningDiscovery } from "./service/server.ts";

/**
 * Starts Discovery. Rejects with `MorayError`: `portInUse`, `permission`, `usage` (an address that this machine does
 * not have), or what opening the store says: `corrupt`, `diskFull`, `refused`, `unsupported`.
 */
export async function startDiscovery(options: DiscoveryOptions): Promise<RunningDiscovery> {
  const server = await import("./service/server.ts");
  return await server.startDiscovery(options);
}
