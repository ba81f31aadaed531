/** Port mapping against `miniupnpd`, which home routers run: PCP, NAT-PMP and UPnP, from the first question to the goodbye. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { connectLocalApi } from "../../agent/local_api.ts";
import type { PortMappingReport } from "../../agent/netcheck/report.ts";
import type { NodeStatus, PortMappingStatus } from "../../agent/status.ts";
import { type DaemonOptions, GatewayLab } from "../support/gateway_lab.ts";
import { urlOf } from "../support/mesh.ts";
import { aloneBinary, Moray, moray, type Program, SOURCE } from "../support/moray.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";

const PORT = 51820;

interface World {
  readonly lab: GatewayLab;
  readonly colony: Moray;
  status(): Promise<NodeStatus>;
  /** Resolves with what the IPv4 gateway does once that satisfies `wanted`. */
  mapping(wanted: (mapping: PortMappingStatus) => boolean): Promise<PortMappingStatus>;
}

/** Discovery outside, and a colony behind the router. */
async function startWorld(
  scope: Scope,
  { daemon, flags = [], program = SOURCE }: {
    daemon?: DaemonOptions;
    flags?: readonly string[];
    program?: Program;
  },
): Promise<World> {
  const lab = scope.use(await GatewayLab.up());
  if (daemon !== undefined) await lab.startDaemon(daemon);
  scope.explain(async () => `--- router\n${lab.daemonLog.slice(-3000)}\n${await lab.rules()}`);
  const discovery = scope.use(
    await Moray.start([
      "discovery",
      "--listen",
      `${lab.outsideIp}:8080`,
      "--stun-listen",
      `${lab.outsideIp}:3478`,
      "--store",
      ":memory:",
    ], { namespace: lab.outside }),
  );
  const state = scope.directory();
  const colony = scope.use(
    await Moray.start([
      "colony",
      "--open",
      "--mesh",
      "reef",
      "--discovery",
      urlOf(discovery),
      "--state",
      state,
      "--wg-port",
      String(PORT),
      "--log-level",
      "debug",
      ...flags,
    ], { namespace: lab.host, program }),
  );
  scope.explain(() => Promise.resolve(`--- colony\n${colony.child.log.slice(-3000)}`));
  // Asked from this process: a command for each question would cost more than what is tested.
  const api = await connectLocalApi(state);
  scope.defer(() => api[Symbol.dispose]());
  const status = (): Promise<NodeStatus> => api.status();
  return {
    lab,
    colony,
    status,
    mapping: (wanted) =>
      eventually("the mapping to be as wanted", async () => {
        const { portMapping = [] } = (await status()).node;
        return portMapping.find((mapping) => mapping.family === 4 && wanted(mapping));
      }, { timeoutMs: 40_000, everyMs: 300 }),
  };
}

/** Resolves when a datagram from a stranger outside has come to the colony's own UDP port. */
async function assertReached(
  { lab, status }: World,
  ip: string,
  port = PORT,
): Promise<void> {
  const before = (await status()).counters["notForUs"] ?? 0;
  await eventually(`a datagram to [${ip}]:${port} to arrive`, async () => {
    await lab.sendFromOutside(ip, port, "ahoy");
    return ((await status()).counters["notForUs"] ?? 0) > before ? true : undefined;
  }, { timeoutMs: 15_000 });
}

const PROTOCOLS: readonly [title: string, protocol: string, daemon: DaemonOptions][] = [
  ["PCP", "pcp", { upnp: false }],
  ["NAT-PMP", "nat-pmp", { upnp: false, natPmpOnly: true }],
  ["UPnP, version 2", "upnp", { pcp: false }],
  ["UPnP, version 1", "upnp", { pcp: false, version1: true }],
];

for (const [title, protocol, daemon] of PROTOCOLS) {
  e2e(
    `a colony behind a router is let in by ${title}: strangers' datagrams arrive, and the mapping goes with it`,
    { needs: ["full", "gateway"], timeoutMs: 120_000 },
    async (scope) => {
      const world = await startWorld(scope, { daemon });
      const { lab, colony } = world;
      const mapping = await world.mapping(({ offered }) => offered);
      assertEquals(
        [mapping.protocol, mapping.external, mapping.gateway, mapping.reason],
        [protocol, `${lab.external}:${PORT}`, "192.168.77.1", null],
      );
      const { endpoints } = (await world.status()).node;
      assert(endpoints.includes(`${lab.external}:${PORT}`), endpoints.join());
      await assertReached(world, lab.external);
      assertEquals(await colony.stop(2_000), 0);
      assertEquals(await lab.rules(), "", "the router has forgotten us");
    },
  );
}

e2e(
  "the compiled program is let in by UPnP, for which it loads HTTP only then",
  { needs: ["full", "gateway", "binary"], timeoutMs: 120_000 },
  async (scope) => {
    const program = aloneBinary(scope);
    const { mapping, lab, colony } = await startWorld(scope, { daemon: { pcp: false }, program });
    assertEquals((await mapping(({ offered }) => offered)).protocol, "upnp");
    assertEquals(await colony.stop(2_000), 0);
    assertEquals(await lab.rules(), "", "the router has forgotten us");
  },
);

e2e(
  "a colony behind a firewall gets a pinhole for its IPv6 address by PCP",
  { needs: ["full", "gateway"], timeoutMs: 120_000 },
  async (scope) => {
    const world = await startWorld(scope, { daemon: {} });
    const { lab, colony } = world;
    const pinhole = await eventually(
      "the pinhole",
      async () =>
        (await world.status()).node.portMapping?.find(({ family, offered }) =>
          family === 6 && offered
        ),
    );
    assertEquals([pinhole.protocol, pinhole.external], ["pcp", `[${lab.hostIp6}]:${PORT}`]);
    await assertReached(world, lab.hostIp6);
    assertEquals(await colony.stop(2_000), 0);
    assertEquals(await lab.rules(), "", "the router has forgotten us");
  },
);

e2e(
  "a mapping is made again within seconds after the router's daemon has restarted, and renewed before it expires",
  { needs: ["full", "gateway"], timeoutMs: 180_000 },
  async (scope) => {
    const world = await startWorld(scope, { daemon: { upnp: false } });
    const { lab } = world;
    const first = await world.mapping(({ offered }) => offered);
    // A restart in the first seconds of the daemon's epoch looks like no restart (RFC 6887 section 8.5).
    await world.mapping(({ lifetimeSeconds }) =>
      lifetimeSeconds !== null && lifetimeSeconds <= (first.lifetimeSeconds ?? 0) - 4
    );
    await lab.stopDaemon();
    assertEquals(await lab.rules(), "");
    // Shorter lifetimes now, so that a renewal is seen within this test.
    await lab.startDaemon({ upnp: false, lifetimeMax: 40 });
    await eventually(
      "the mapping to be made again",
      async () => (await lab.rules()).includes(String(PORT)) ? true : undefined,
      { timeoutMs: 30_000 },
    );
    await assertReached(world, lab.external);
    const low = await world.mapping(({ lifetimeSeconds }) =>
      lifetimeSeconds !== null && lifetimeSeconds < 25
    );
    const renewed = await world.mapping(({ lifetimeSeconds }) =>
      (lifetimeSeconds ?? 0) > (low.lifetimeSeconds ?? 0) + 5
    );
    assertEquals(renewed.external, `${lab.external}:${PORT}`);
    await assertReached(world, lab.external);
  },
);

e2e(
  "a colony behind a router that speaks nothing starts without waiting, and says so once",
  { needs: ["full", "gateway"], timeoutMs: 120_000 },
  async (scope) => {
    const { colony, mapping, lab } = await startWorld(scope, {});
    // It is ready; that nobody answers takes 13 s to know.
    assert(!colony.child.log.includes("no port mapping"), "ready came first");
    const { reason, offered } = await mapping(({ reason }) => /; UPnP/.test(reason ?? ""));
    assertEquals(offered, false);
    assertEquals(reason, "PCP and NAT-PMP: no answer; UPnP: no UPnP gateway answers");
    const said = colony.child.log.split("\n").filter((line) =>
      line.includes("no port mapping") && line.includes("192.168.77.1")
    );
    assertEquals(said.length, 1, said.join("\n"));
    assertEquals(await colony.stop(2_000), 0);
    assertEquals(await lab.rules(), "");
  },
);

e2e(
  "netcheck says what the router offers, and gives it back",
  { needs: ["full", "gateway"], timeoutMs: 120_000 },
  async (scope) => {
    const lab = scope.use(await GatewayLab.up());
    await lab.startDaemon();
    // That no STUN server answers makes its exit status, and nothing else here.
    const { stdout } = await moray(
      ["netcheck", "--stun-servers", `${lab.outsideIp}:3478`, "--json"],
      { namespace: lab.host, timeoutMs: 60_000 },
    );
    const { portMapping } = JSON.parse(stdout) as { portMapping: PortMappingReport[] };
    const found = portMapping.map((
      { protocol, gateway, external, reason },
    ) => [protocol, gateway, external?.replace(/:\d+$/, ""), reason]);
    assertEquals(found, [
      ["pcp", "192.168.77.1", lab.external, null],
      ["pcp", "fe80::1", `[${lab.hostIp6}]`, null],
    ]);
    assertEquals(await lab.rules(), "", "the router has forgotten us");
  },
);

e2e(
  "--no-port-mapping asks nobody",
  { needs: ["full", "gateway"], timeoutMs: 120_000 },
  async (scope) => {
    const { lab, status } = await startWorld(scope, { daemon: {}, flags: ["--no-port-mapping"] });
    assertEquals((await status()).node.portMapping, undefined);
    assertEquals(await lab.rules(), "");
    assert(!/request received/.test(lab.daemonLog), lab.daemonLog);
  },
);
