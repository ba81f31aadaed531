/** Starts an examination of the network, which loads only then: nodes do without. @module */
import type { NetcheckOptions } from "./netcheck.ts";
import type { NetcheckReport } from "./report.ts";

/** Examines the network that this machine is in, without a node. Rejects only when aborted. */
export async function netcheck(options: NetcheckOptions): Promise<NetcheckReport> {
  return await (await import("./netcheck.ts" as string) as typeof import("./netcheck.ts")).netcheck(
    options,
  );
}
