/** STUN of others: coturn as the server of our client, and coturn's client against our server. */
import {
  deepStrictEqual as assertEquals,
  doesNotMatch as assertDoesNotMatch,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import type { NetcheckReport } from "../../agent/mod.ts";
import { Moray, moray } from "../support/moray.ts";
import { Lab } from "../support/natlab.ts";
import { e2e, eventually } from "../support/scope.ts";

const EI = "endpointIndependent";
const AD = "addressDependent";
const APD = "addressAndPortDependent";

/** Sites by name: type, mapping, filtering. */
const SITES: Readonly<Record<string, readonly [string, string, string]>> = {
  f: ["fullcone", EI, EI],
  r: ["restricted", EI, AD],
  p: ["portrestricted", EI, APD],
  s: ["symmetric", APD, APD],
  a: ["symaddr", AD, AD],
};

e2e("netcheck finds the same by coturn's STUN server", {
  needs: ["full", "natlab", "turnserver"],
  timeoutMs: 120_000,
}, async (scope) => {
  const lab = scope.use(await labOf());
  const [first, second] = [lab.address("disco", 4, 0), lab.address("disco", 4, 1)];
  const files = scope.directory();
  const flags = ["-n", "--stun-only", "--no-tls", "--no-dtls", "--no-cli", "-p", "3478"];
  scope.use(
    lab.spawn("disco", [
      "turnserver",
      ...flags,
      ...["-L", first, "-L", second, "--log-file", "stdout"],
      ...["--pidfile", `${files}/pid`, "-b", `${files}/db`],
    ]),
  );
  const check = async (host: string, ...more: string[]): Promise<NetcheckReport> => {
    const args = ["netcheck", "--stun-servers", `${first}:3478`, "--json", "--no-port-mapping"];
    const { stdout, stderr } = await moray([...args, ...more], {
      namespace: lab.namespace(host),
      timeoutMs: 90_000,
    });
    assert(stdout.startsWith("{"), stderr);
    return JSON.parse(stdout) as NetcheckReport;
  };
  await eventually("coturn to answer", async () => {
    const { ipv4 } = await check("f1");
    return ipv4.udp === true ? true : undefined;
  }, { timeoutMs: 60_000 });
  const found = await Promise.all(
    Object.keys(SITES).map(async (site) => {
      const { ipv4 } = await check(`${site}1`);
      return [site, ipv4.mapping, ipv4.filtering];
    }),
  );
  assertEquals(found, Object.entries(SITES).map(([site, [, ...kinds]]) => [site, ...kinds]));
  // Its RESPONSE-PORT works for our measurement, too.
  await lab.ctl("p", "set timeout=5s");
  const { lifetime } = (await check("p1", "--lifetime")).ipv4;
  assertEquals(lifetime, { atLeastMs: 0, belowMs: 10_000 });
});

e2e(
  "coturn's turnutils_natdiscovery, which signs nothing, finds its address by our STUN server and is told of no second one",
  {
    needs: ["full", "natlab", "turnserver"],
    timeoutMs: 120_000,
  },
  async (scope) => {
    const lab = scope.use(await labOf());
    const [first, second] = [lab.address("disco", 4, 0), lab.address("disco", 4, 1)];
    scope.use(
      await Moray.start([
        ...["discovery", "--listen", `${first}:8080`, "--store", ":memory:"],
        ...["--stun-listen", `${first}:3478`, "--stun-alternate", `${second}:3479`],
      ], { namespace: lab.namespace("disco") }),
    );
    // The second address is for signed requests only (docs/decisions/0034-observed-by-stun.md); without one it has no second question.
    for (const site of Object.keys(SITES)) {
      for (const flag of ["-m", "-f"]) {
        const { stdout, stderr } = await lab.exec(`${site}1`, [
          ...["turnutils_natdiscovery", flag, "-P", first],
        ], { timeoutMs: 30_000 });
        const said = stdout + stderr;
        const outside = lab.publicAddress(site) ?? "";
        assertMatch(said, new RegExp(`reflexive addr: ${RegExp.escape(outside)}:\\d+`), said);
        assertDoesNotMatch(said, /Other addr|Endpoint Independent|Dependent/);
      }
    }
  },
);

function labOf(): Promise<Lab> {
  const sites = Object.entries(SITES).map(([name, [type]]) => `${name}=${type}`);
  return Lab.up("stuninterop", { servers: ["disco:2"], sites });
}
