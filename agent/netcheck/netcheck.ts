/**
 * Examines the network that this machine is in, without a node.
 *
 * ```text
 *   Discovery ----> its STUN servers, credentials      configured servers
 *                              \                            /
 *                               +---- which answer? -------+---- none: the public one
 *                                          |
 *                     IPv4 and IPv6:  NatProbe, then LifetimeProbe if asked for
 *                                          |
 *                                       report
 * ```
 *
 * @module
 */
import { formatSocketAddress, type MorayError } from "../../core/mod.ts";
import type { SurveyedServer } from "../../traversal/mod.ts";
import type { Log } from "../options.ts";
import { PUBLIC_STUN_SERVER, resolveStunServers, type StunServer } from "../stun_servers.ts";
import { checkDiscovery, type CheckedDiscovery } from "./discovery_check.ts";
import { examine, measureLifetime, survey } from "./examine.ts";
import {
  FAMILY_UNKNOWN,
  familyReport,
  meaningOf,
  type NetcheckReport,
  type StunServerReport,
} from "./report.ts";
import { checkPortMapping } from "./port_mapping_check.ts";

/** Discovery services that are asked. */
const DISCOVERY_MAX = 8;

/** Options of {@linkcode netcheck}. */
export interface NetcheckOptions {
  /** Base URLs of Discovery services. @default [] */
  readonly discovery?: readonly string[];
  /** STUN servers, `host:port`. @default [] */
  readonly stunServers?: readonly string[];
  /** Servers that are asked where none of the others answers, `host:port`. @default the public one */
  readonly fallback?: readonly string[];
  /** Whether to measure how long the NAT keeps mappings, which takes up to four minutes. @default false */
  readonly lifetime?: boolean;
  /** Whether to ask the router for a port, and give it back. @default true */
  readonly portMapping?: boolean;
  /** Where the log goes. */
  readonly log: Log;
  /** Breaks it off; the promise rejects with its reason. */
  readonly signal: AbortSignal;
}

/** Examines the network. Rejects only when aborted. */
export async function netcheck(options: NetcheckOptions): Promise<NetcheckReport> {
  const { discovery: urls = [], stunServers = [], log, signal } = options;
  const mapping = options.portMapping === false ? null : checkPortMapping({ log, signal });
  // Awaited at the end; an abort must not be reported as forgotten before that.
  mapping?.catch(() => {});
  const checked = await Promise.all(
    urls.slice(0, DISCOVERY_MAX).map((url) => checkDiscovery(url, { log, signal })),
  );
  const failures: StunServerReport[] = [];
  const first = await knownServers(stunServers, checked, failures);
  let servers = await survey(first, signal);
  if (!servers.some(({ mapped }) => mapped !== undefined)) {
    const { fallback = [PUBLIC_STUN_SERVER] } = options;
    const last = (await Promise.all(fallback.map((text) => {
      const onError = failed(text, "default", failures);
      return resolveStunServers([text], { origin: "default", onError });
    }))).flat();
    servers = [...servers, ...await survey(last, signal)];
  }
  const [ipv4, ipv6] = await Promise.all([4, 6].map(async (family) => {
    const examined = await examine(family === 4 ? 4 : 6, servers, signal);
    if (examined.nat === undefined || options.lifetime !== true) return examined;
    const report = familyReport(examined.nat, await measureLifetime(examined, signal));
    return { ...examined, report };
  }));
  const report = {
    ipv4: ipv4?.report ?? FAMILY_UNKNOWN,
    ipv6: ipv6?.report ?? FAMILY_UNKNOWN,
    hint: (ipv4?.nat ?? ipv6?.nat)?.facts.hint ?? "NAT_UNKNOWN",
    stunServers: [...servers.map(serverReport), ...failures],
    discovery: checked.map(({ report }) => report),
    captivePortal: captive(checked),
    portMapping: await mapping,
  };
  return { ...report, meaning: meaningOf(report) };
}

/** The servers of the configuration and of every Discovery. */
async function knownServers(
  configured: readonly string[],
  checked: readonly CheckedDiscovery[],
  failures: StunServerReport[],
): Promise<readonly StunServer[]> {
  const lists = await Promise.all([
    ...configured.map((text) => {
      const onError = failed(text, "configured", failures);
      return resolveStunServers([text], { origin: "configured", onError });
    }),
    ...checked.flatMap(({ stunServers, credentials }) =>
      stunServers.map((text) => {
        const onError = failed(text, "discovery", failures);
        return resolveStunServers([text], { origin: "discovery", credentials, onError });
      })
    ),
  ]);
  const byAddress = new Map<string, StunServer>();
  for (const server of lists.flat()) {
    const key = formatSocketAddress(server.address);
    const known = byAddress.get(key);
    // Whoever configured Discovery's own server still wants what its credentials open.
    const merged = known === undefined ? server : { ...server, ...known };
    byAddress.set(key, merged);
  }
  return [...byAddress.values()];
}

function failed(
  server: string,
  origin: StunServer["origin"],
  failures: StunServerReport[],
): (error: MorayError) => void {
  return ({ message: reason }) =>
    void failures.push({ server, origin, rttMs: null, mapped: null, reason });
}

function serverReport(
  { server, rttMs, mapped, reason }: SurveyedServer<StunServer>,
): StunServerReport {
  return {
    server: formatSocketAddress(server.address),
    origin: server.origin,
    rttMs: rttMs ?? null,
    mapped: mapped === undefined ? null : formatSocketAddress(mapped),
    reason: reason ?? null,
  };
}

/** Whether anything answered in Discovery's place; `null` where nothing answered at all. */
function captive(checked: readonly CheckedDiscovery[]): boolean | null {
  const verdicts = checked.map(({ captive }) => captive).filter((verdict) => verdict !== null);
  return verdicts.length === 0 ? null : verdicts.some((verdict) => verdict);
}
