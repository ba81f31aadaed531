/** The network by the servers that answer: which do, and what one family's NAT is like. @module */
import { familyOf, messageOf } from "../../core/mod.ts";
import { listInterfaces, systemClock, systemRng } from "../../io/mod.ts";
import {
  LifetimeProbe,
  type MappingLifetime,
  NatProbe,
  type NatReport,
  type ProbeServer,
  scopeOf,
  ServerSurvey,
  type SurveyedServer,
} from "../../traversal/mod.ts";
import type { StunServer } from "../stun_servers.ts";
import { ProbeSockets } from "./probe_sockets.ts";
import { FAMILY_UNKNOWN, type FamilyReport, familyReport } from "./report.ts";

/** What was found of one family. */
export interface Examined {
  /** For people and programs. */
  readonly report: FamilyReport;
  /** What the NAT does; `undefined` where no server answered. */
  readonly nat: NatReport | undefined;
  /** The server that helped most, for further tests. */
  readonly server: ProbeServer | undefined;
}

/** Asks all servers, both families at once. */
export async function survey(
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

/** Examines the NAT of one family by the servers that have answered: within some seconds. */
export async function examine(
  family: 4 | 6,
  surveyed: readonly SurveyedServer<StunServer>[],
  signal: AbortSignal,
): Promise<Examined> {
  const mine = surveyed.filter(({ server }) => familyOf(server.address.hostname) === family);
  const answered = mine.filter(({ mapped }) => mapped !== undefined).sort(byUse);
  if (answered.length === 0) {
    const tried = mine.some(({ server }) => canReach(server, family));
    const report = { ...FAMILY_UNKNOWN, udp: tried ? false : null };
    return { report, nat: undefined, server: undefined };
  }
  using sockets = ProbeSockets.open(family);
  const probe = new NatProbe(systemClock.now(), {
    servers: answered.map(({ server }) => server),
    rng: systemRng,
    ports: sockets.ports,
    hostAddresses: listInterfaces().map(({ address }) => address),
  });
  await sockets.run(probe, signal);
  const { report: nat, server } = probe;
  return { report: familyReport(nat, undefined), nat, server };
}

/** Measures how long the NAT keeps an idle mapping, which takes up to four minutes; `undefined` where that cannot be told. */
export async function measureLifetime(
  { nat, server }: Examined,
  signal: AbortSignal,
): Promise<MappingLifetime | undefined> {
  if (nat === undefined || server === undefined) return undefined;
  using sockets = ProbeSockets.open(nat.family);
  const { allocation } = nat;
  const probe = new LifetimeProbe(systemClock.now(), { server, rng: systemRng, allocation });
  await sockets.run(probe, signal);
  return probe.lifetime;
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
