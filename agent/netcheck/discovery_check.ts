/** Whether a Discovery service can be reached, and whether it is one that answers. @module */
import { messageOf, MorayError } from "../../core/mod.ts";
import { DiscoveryClient } from "../../discovery/mod.ts";
import type { StunCredentials } from "../../traversal/mod.ts";
import type { Log } from "../options.ts";
import type { DiscoveryReport } from "./report.ts";

/** How long each of the two requests may take. */
const REQUEST_MS = 4000;

/** What came of it. */
export interface CheckedDiscovery {
  /** For the report. */
  readonly report: DiscoveryReport;
  /** Whether something else answered in its place; `null` where nothing did. */
  readonly captive: boolean | null;
  /** Its STUN servers. */
  readonly stunServers: readonly string[];
  /** Credentials for them. */
  readonly credentials: StunCredentials | undefined;
}

/** Asks one service what it can do. Never rejects but when aborted. */
export async function checkDiscovery(
  url: string,
  { log, signal }: { readonly log: Log; readonly signal: AbortSignal },
): Promise<CheckedDiscovery> {
  try {
    const client = new DiscoveryClient({ urls: [url], log, timeoutMs: REQUEST_MS });
    const { stunServers, stunCredentials, features } = await client.serverInfo({ signal });
    return {
      report: { url, reachable: true, relay: features.relay, reason: null },
      captive: false,
      stunServers,
      credentials: stunCredentials,
    };
  } catch (error) {
    signal.throwIfAborted();
    const captive = await isCaptive(url, signal);
    const reason = captive === true
      ? "something else answers at its address"
      : error instanceof MorayError
      ? error.message
      : messageOf(error);
    return {
      report: { url, reachable: false, reason },
      captive,
      stunServers: [],
      credentials: undefined,
    };
  }
}

/** Whether `/health` is answered as a sign-in page does: by a redirection elsewhere, a page, or status 511 (RFC 6585). */
async function isCaptive(url: string, signal: AbortSignal): Promise<boolean | null> {
  try {
    const response = await fetch(`${url}/health`, {
      redirect: "manual",
      signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]),
    });
    await response.body?.cancel();
    const { status, headers } = response;
    if (status === 511 || status >= 300 && status < 400) return true;
    return (headers.get("content-type") ?? "").toLowerCase().startsWith("text/html");
  } catch {
    signal.throwIfAborted();
    return null;
  }
}
