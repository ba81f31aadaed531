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
import { familyOf, formatSocketAddress, messageOf, type MorayError } from "../../core/mod.ts";
import { listInterfaces, systemClock, systemRng } from "../../io/mod.ts";
import {
  LifetimeProbe,
  type NatHint,
  NatProbe,
  scopeOf,
  ServerSurvey,
  type SurveyedServer,
} from "../../traversal/mod.ts";
import type { Log } from "../options.ts";
import { PUBLIC_STUN_SERVER, resolveStunServers, type StunServer } from "../stun_servers.ts";
import { checkDiscovery, type CheckedDiscovery } from "./discovery_check.ts";
import { ProbeSockets } from "./probe_sockets.ts";
import {
  FAMILY_UNKNOWN,
  type FamilyReport,
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

/** What was found of one family. */
interface Examined {
  readonly report: FamilyReport;
  /** For peers; `undefined` where no server answered. */
  readonly hint: NatHint | undefined;
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
  const [ipv4, ipv6] = await Promise.all([
    examine(4, servers, options),
    examine(6, servers, options),
  ]);
  const report = {
    ipv4: ipv4.report,
    ipv6: ipv6.report,
    hint: ipv4.hint ?? ipv6.hint ?? "NAT_UNKNOWN",
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

/** Asks all servers, both families at once. */
async function survey(
  servers: readonly StunServer[],
  signal: AbortSignal,
): Promise<readonly SurveyedServer<StunServer>[]> {
  const lists = await Promise.all(([4, 6] as const).map(async (family) => {
    const mine = servers.filter(({ address }) => familyOf(address.hostname) === family);
    if (mine.length === 0) return [];
    try {
      using sockets = ProbeSockets.open(family);
      const asked = new ServerSurvey(systemClock.now(), { servers: mine, rng: systemRng });
      await sockets.run(asked, signal);
      return asked.servers;
    } catch (error) {
      signal.throwIfAborted();
      const reason = `no IPv${family} here: ${messageOf(error)}`;
      return mine.map((server) => ({ server, mapped: undefined, rttMs: undefined, reason }));
    }
  }));
  return lists.flat();
}

/** Examines one family by the servers that have answered. */
async function examine(
  family: 4 | 6,
  surveyed: readonly SurveyedServer<StunServer>[],
  { lifetime: wantsLifetime = false, signal }: NetcheckOptions,
): Promise<Examined> {
  const mine = surveyed.filter(({ server }) => familyOf(server.address.hostname) === family);
  const answered = mine.filter(({ mapped }) => mapped !== undefined).sort(byUse);
  if (answered.length === 0) {
    const tried = mine.some(({ server }) => canReach(server, family));
    return { report: { ...FAMILY_UNKNOWN, udp: tried ? false : null }, hint: undefined };
  }
  using sockets = ProbeSockets.open(family);
  const probe = new NatProbe(systemClock.now(), {
    servers: answered.map(({ server }) => server),
    rng: systemRng,
    ports: sockets.ports,
    hostAddresses: listInterfaces().map(({ address }) => address),
  });
  await sockets.run(probe, signal);
  const { report, server } = probe;
  if (!wantsLifetime || server === undefined) {
    return { report: familyReport(report, undefined), hint: report.facts.hint };
  }
  const { allocation } = report;
  const lifetime = new LifetimeProbe(systemClock.now(), { server, rng: systemRng, allocation });
  await sockets.run(lifetime, signal);
  return { report: familyReport(report, lifetime.lifetime), hint: report.facts.hint };
}

/** Servers outside of every NAT first, then those that help with all tests, then the near ones. */
function byUse(a: SurveyedServer<StunServer>, b: SurveyedServer<StunServer>): number {
  const far = ({ server }: SurveyedServer): number =>
    scopeOf(server.address.hostname) === "global" ? 0 : 1;
  const helps = ({ server }: SurveyedServer): number => server.credentials === undefined ? 1 : 0;
  return far(a) - far(b) || helps(a) - helps(b) ||
    (a.rttMs ?? Infinity) - (b.rttMs ?? Infinity) || 0;
}

/** Whether this machine has an address from which the server could be reached. */
function canReach({ address }: StunServer, family: 4 | 6): boolean {
  return scopeOf(address.hostname) === "local" ||
    listInterfaces().some((own) => own.family === family && scopeOf(own.address) !== "local");
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
