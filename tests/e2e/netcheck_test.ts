/** `moray netcheck` behind every kind of NAT that the laboratory has: it says what the laboratory says. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { FamilyReport, NetcheckReport } from "../../agent/mod.ts";
import { Moray, moray } from "../support/moray.ts";
import { Lab } from "../support/natlab.ts";
import { e2e, eventually } from "../support/scope.ts";

interface Kind {
  /** Site type and settings. */
  readonly type: string;
  /** What must be found over IPv4. */
  readonly ipv4?: Partial<FamilyReport>;
  /** What must be found over IPv6. */
  readonly ipv6?: Partial<FamilyReport>;
  readonly hint: string;
  /** Exit status. @default 0 */
  readonly code?: number;
  /** Begins one of the sentences for a person. */
  readonly meaning: string;
}

const APD = "addressAndPortDependent";
const AD = "addressDependent";
const EI = "endpointIndependent";
const PRESERVING = { kind: "preserving", delta: null };
const RANDOM = { kind: "random", delta: null };
const NOTHING = { udp: null, publicAddress: null, nat: null };

const KINDS: Readonly<Record<string, Kind>> = {
  fc: {
    type: "fullcone",
    ipv4: { nat: true, mapping: EI, filtering: EI, allocation: PRESERVING, hairpin: false },
    ipv6: NOTHING,
    hint: "NAT_CONE",
    meaning: "The NAT lets everybody in",
  },
  rs: {
    type: "restricted",
    ipv4: { nat: true, mapping: EI, filtering: AD, allocation: PRESERVING, hairpin: false },
    hint: "NAT_RESTRICTED",
    meaning: "Direct connections with every peer",
  },
  pr: {
    type: "portrestricted",
    ipv4: { nat: true, mapping: EI, filtering: APD, allocation: PRESERVING, hairpin: false },
    hint: "NAT_RESTRICTED",
    meaning: "Direct connections with most peers",
  },
  hp: {
    type: "portrestricted,hairpin=on",
    ipv4: { nat: true, mapping: EI, filtering: APD, hairpin: true },
    hint: "NAT_RESTRICTED",
    meaning: "Direct connections with most peers",
  },
  sy: {
    type: "symmetric",
    ipv4: { nat: true, mapping: APD, filtering: APD, allocation: RANDOM },
    hint: "NAT_SYMMETRIC",
    meaning: "The NAT maps by destination (symmetric)",
  },
  ss: {
    type: "symseq",
    ipv4: { nat: true, mapping: APD, filtering: APD, allocation: { kind: "sequential", delta: 1 } },
    hint: "NAT_SYMMETRIC",
    meaning: "The NAT maps by destination, but its ports can be predicted",
  },
  sa: {
    type: "symaddr",
    ipv4: { nat: true, mapping: AD, filtering: AD, allocation: RANDOM },
    hint: "NAT_SYMMETRIC",
    meaning: "The NAT maps by destination (symmetric)",
  },
  cg: {
    type: "cgnat",
    ipv4: { nat: true, mapping: EI, filtering: APD, allocation: RANDOM },
    hint: "NAT_RESTRICTED",
    meaning: "Direct connections with most peers",
  },
  fw: {
    type: "fw",
    ipv4: { nat: false, mapping: EI, filtering: APD, allocation: null, hairpin: null },
    hint: "NAT_RESTRICTED",
    meaning: "A public address behind a firewall",
  },
  no: {
    type: "none",
    ipv4: { nat: false, mapping: EI, filtering: EI, allocation: null, hairpin: null },
    hint: "NAT_CONE",
    meaning: "A public address without NAT",
  },
  ub: {
    type: "udpblocked",
    ipv4: { udp: false, publicAddress: null, nat: null, mapping: "unknown", filtering: "unknown" },
    hint: "NAT_UNKNOWN",
    code: 7,
    meaning: "UDP is blocked here, though HTTP passes",
  },
  v6: {
    type: "v6",
    ipv4: NOTHING,
    ipv6: { nat: false, mapping: EI, filtering: APD, allocation: null, hairpin: null },
    hint: "NAT_RESTRICTED",
    meaning: "IPv6 without NAT",
  },
  ds: {
    type: "symmetric,v6=on",
    ipv4: { nat: true, mapping: APD, filtering: APD },
    ipv6: { nat: false, mapping: EI, filtering: APD },
    hint: "NAT_SYMMETRIC",
    meaning: "IPv6 without NAT",
  },
};
/** Processes at once: each waits most of its time. */
const AT_ONCE = 4;

e2e("netcheck says of every kind of NAT what the laboratory says", {
  needs: ["full", "natlab"],
  timeoutMs: 180_000,
}, async (scope) => {
  const sites = Object.entries(KINDS).map(([name, { type }]) => `${name}=${type}`);
  const lab = scope.use(await Lab.up("netcheck", { servers: ["disco:2"], sites }));
  await startDiscovery(lab, (discovery) => scope.use(discovery));
  const waiting = Object.entries(KINDS);
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let next; (next = waiting.shift()) !== undefined;) {
      const [site, kind] = next;
      const family = kind.type === "v6" ? 6 : 4;
      const { code, report, stderr } = await check(lab, hostOf(site), family);
      const where = `${kind.type}: ${JSON.stringify(report)} ${stderr}`;
      assertEquals(code, kind.code ?? 0, where);
      assertEquals(partOf(report.ipv4, kind.ipv4 ?? {}), { ...kind.ipv4 }, where);
      assertEquals(partOf(report.ipv6, kind.ipv6 ?? {}), { ...kind.ipv6 }, where);
      assertEquals(report.hint, kind.hint, where);
      assertEquals(report.discovery[0]?.reachable, true, where);
      assert(report.meaning.some((sentence) => sentence.startsWith(kind.meaning)), where);
    }
  }));
});

e2e("netcheck --lifetime brackets the timeout of the NAT", {
  needs: ["full", "natlab"],
  timeoutMs: 120_000,
}, async (scope) => {
  const sites = ["s=symmetric,timeout=5s", "p=portrestricted,timeout=20s"];
  const lab = scope.use(await Lab.up("lifetime", { servers: ["disco:2"], sites }));
  await startDiscovery(lab, (discovery) => scope.use(discovery));
  const [short, longer] = await Promise.all(
    ["s1", "p1"].map((host) => check(lab, host, 4, ["--lifetime"])),
  );
  assertEquals(short?.report.ipv4.lifetime, { atLeastMs: 0, belowMs: 10_000 });
  assertEquals(longer?.report.ipv4.lifetime, { atLeastMs: 10_000, belowMs: 30_000 });
});

e2e("a running node examines its network, and its colony tells it where it sees it", {
  needs: ["full", "natlab"],
  timeoutMs: 120_000,
}, async (scope) => {
  const sites = ["c=none", "a=symmetric"];
  const lab = scope.use(await Lab.up("nodecheck", { servers: ["disco:2"], sites }));
  await startDiscovery(lab, (discovery) => scope.use(discovery));
  const url = `http://${lab.address("disco")}:8080`;
  const start = async (role: string, host: string, ...more: string[]): Promise<string> => {
    const state = scope.directory();
    const args = [role, "--mesh", "reef", "--discovery", url, "--state", state, ...more];
    scope.use(await Moray.start(args, { namespace: lab.namespace(host) }));
    return state;
  };
  await start("colony", "c1", "--open");
  const state = await start("agent", "a1");
  const colony = lab.address("c1");
  const ask = async (): Promise<NetcheckReport | undefined> => {
    const { code, stdout, stderr } = await moray(["netcheck", "--state", state, "--json"], {
      namespace: lab.namespace("a1"),
    });
    assertEquals(code, 0, stderr);
    const report = JSON.parse(stdout) as NetcheckReport;
    const seenByColony = report.stunServers.some(({ origin, mapped }) =>
      origin === "peer" && mapped !== null
    );
    return report.ipv4.nat !== null && seenByColony ? report : undefined;
  };
  const report = await eventually("the node to know its network", ask, {
    timeoutMs: 60_000,
    everyMs: 1_000,
  });
  const { mapping, filtering, allocation } = report.ipv4;
  assertEquals([mapping, filtering, allocation], [APD, APD, RANDOM]);
  assertEquals(report.hint, "NAT_SYMMETRIC");
  const peer = report.stunServers.find(({ origin }) => origin === "peer");
  assert(peer?.server.startsWith(`${colony}:`) === true, JSON.stringify(report.stunServers));
  // The NAT gives this destination another port than the servers: only the colony knows which.
  const others = report.stunServers.filter(({ origin }) => origin !== "peer");
  assert(others.length > 1 && others.every(({ mapped }) => mapped !== peer.mapped));
  const status = await moray(["status", "--state", state, "--json"], {
    namespace: lab.namespace("a1"),
  });
  assertEquals(JSON.parse(status.stdout).node.nat, { mapping, filtering, hint: report.hint });
});

e2e("an idle path outlives a NAT that forgets after 5 s, once that has been measured", {
  needs: ["full", "natlab"],
  timeoutMs: 180_000,
}, async (scope) => {
  const sites = ["c=none", "a=portrestricted,timeout=5s"];
  const lab = scope.use(await Lab.up("idlepath", { servers: ["disco:2"], sites }));
  await startDiscovery(lab, (discovery) => scope.use(discovery));
  const url = `http://${lab.address("disco")}:8080`;
  const start = async (role: string, host: string, ...more: string[]): Promise<string> => {
    const state = scope.directory();
    const args = [
      role,
      "--mesh",
      "reef",
      "--discovery",
      url,
      "--state",
      state,
      "--name",
      host,
      ...more,
    ];
    scope.use(await Moray.start(args, { namespace: lab.namespace(host) }));
    return state;
  };
  const colony = await start("colony", "c1", "--open");
  const agent = await start("agent", "a1");
  const ping = async (): Promise<number> => {
    const args = ["ping", "a1", "--count", "1", "--timeout", "1000", "--state", colony];
    return (await moray(args, { namespace: lab.namespace("c1") })).code;
  };
  const lifetime = await eventually("the lifetime to be measured", async () => {
    const { stdout } = await moray(["netcheck", "--state", agent, "--json"], {
      namespace: lab.namespace("a1"),
    });
    return (JSON.parse(stdout) as NetcheckReport).ipv4.lifetime ?? undefined;
  }, { timeoutMs: 90_000, everyMs: 2_000 });
  assertEquals(lifetime, { atLeastMs: 0, belowMs: 10_000 });
  await eventually("the path to work", async () => await ping() === 0 || undefined, {
    timeoutMs: 30_000,
  });
  for (let round = 1; round <= 5; round++) {
    // Longer than the NAT remembers, shorter than the usual keepalive; then only the colony speaks, from outside.
    await new Promise((resolve) => setTimeout(resolve, 8_000));
    assertEquals(await ping(), 0, `after ${round} times 8 s of silence`);
  }
});

/** Starts Discovery with two addresses of each family. */
async function startDiscovery(lab: Lab, use: (discovery: Moray) => Moray): Promise<void> {
  const [v4, v6] = [lab.address("disco", 4), lab.address("disco", 6)];
  const second = lab.address("disco", 4, 1);
  const second6 = lab.address("disco", 6, 1);
  use(
    await Moray.start([
      ...["discovery", "--listen", "[::]:8080", "--store", ":memory:"],
      ...["--stun-listen", `${v4}:3478`, "--stun-alternate", `${second}:3479`],
      ...["--stun-listen", `[${v6}]:3478`, "--stun-alternate", `[${second6}]:3479`],
    ], { namespace: lab.namespace("disco") }),
  );
}

async function check(
  lab: Lab,
  host: string,
  family: 4 | 6,
  flags: readonly string[] = [],
): Promise<{ code: number; report: NetcheckReport; stderr: string }> {
  const server = lab.address("disco", family);
  const url = `http://${family === 4 ? server : `[${server}]`}:8080`;
  const args = ["netcheck", "--discovery", url, "--json", ...flags];
  const { code, stdout, stderr } = await moray(args, {
    namespace: lab.namespace(host),
    timeoutMs: 90_000,
  });
  assert(stdout.startsWith("{"), `${host}: ${code} ${stdout} ${stderr}`);
  return { code, report: JSON.parse(stdout) as NetcheckReport, stderr };
}

/** The only host of a site. */
function hostOf(site: string): string {
  return /\d$/.test(site) ? `${site}h1` : `${site}1`;
}

/** Those facts of a report that are expected of it. */
function partOf(report: FamilyReport, expected: Partial<FamilyReport>): Partial<FamilyReport> {
  return Object.fromEntries(
    Object.keys(expected).map((key) => [key, report[key as keyof FamilyReport]]),
  );
}
