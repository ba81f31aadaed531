/** Starts the service, or a relay's reports, which load only then: nodes need the client alone. @module */
import type { RelayReporterOptions, RunningRelayReporter } from "./relay/reporter.ts";
import type { DiscoveryOptions, RunningDiscovery } from "./service/server.ts";

/**
 * Starts Discovery. Rejects with `MorayError`: `portInUse`, `permission`, `usage` (an address that this machine does
 * not have), or what opening the store says: `corrupt`, `diskFull`, `refused`, `unsupported`.
 */
export async function startDiscovery(options: DiscoveryOptions): Promise<RunningDiscovery> {
  const server = await import(
    "./service/server.ts" as string
  ) as typeof import("./service/server.ts");
  return await server.startDiscovery(options);
}

/** Starts to make a relay known to Discovery. What Discovery says to it goes to the log, once for each change. */
export async function startRelayReporter(
  options: RelayReporterOptions,
): Promise<RunningRelayReporter> {
  const reporter = await import(
    "./relay/reporter.ts" as string
  ) as typeof import("./relay/reporter.ts");
  return reporter.startRelayReporter(options);
}

/** Reads the token of the status page, a file's first line. Rejects with `MorayError` `config` for one that is none, or as reading does. */
export async function readStatusToken(path: string): Promise<string> {
  const { readTokenFile } = await import(
    "./status/token_file.ts" as string
  ) as typeof import("./status/token_file.ts");
  return await readTokenFile(path);
}
