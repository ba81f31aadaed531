/** What the network says of datagrams that it does not carry: a narrow link behind a router, and a peer that is gone. */
import { ok as assert } from "node:assert/strict";
import { curlDownload, curlUpload } from "../support/http.ts";
import { startMesh } from "../support/mesh.ts";
import { Moray, SOURCE } from "../support/moray.ts";
import { RoutedLink } from "../support/routed_link.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";

const BODY_MIB = 4;
const DISCOVERY_PORT = 8080;

/** A mesh across a router, with Discovery on it. */
async function meshAcross(
  scope: Scope,
  { family, mtu }: { family: 4 | 6; mtu: number },
): Promise<{ mesh: Awaited<ReturnType<typeof startMesh>>; link: RoutedLink; url: string }> {
  const link = scope.use(await RoutedLink.up({ family, mtu }));
  const { a, router, b } = link;
  const host = family === 4 ? router.ip : `[${router.ip}]`;
  const url = `http://${host}:${DISCOVERY_PORT}`;
  const mesh = await startMesh(scope, {
    program: SOURCE,
    discovery: { listen: `${host}:${DISCOVERY_PORT}`, stunListen: `${host}:3478` },
    url,
    namespaces: { discovery: router.namespace, colony: b.namespace, agent: a.namespace },
    nodeFlags: ["--datapath", "fast"],
  });
  return { mesh, link, url };
}

for (const family of [4, 6] as const) {
  e2e(
    `IPv${family} path narrower than the tunnel's packets: both ways arrive, in smaller ones`,
    { needs: ["full", "root", "curl"], timeoutMs: 180_000 },
    async (scope) => {
      // An inner packet of 1280 bytes makes 1340 bytes of IPv4 and 1360 of IPv6.
      const { mesh, link } = await meshAcross(scope, { family, mtu: 1300 });
      const { namespace } = link.a;
      const origin = `http://${mesh.agent.address("forward")}`;
      await curlDownload(origin, { namespace, mib: BODY_MIB });
      await curlUpload(scope, origin, { namespace, mib: BODY_MIB });
      for (const node of ["agent", "colony"] as const) {
        const { counters } = await mesh.status(node);
        const told = counters["packetTooBig"] ?? 0;
        const split = counters["sentSplit"] ?? 0;
        // 4 MiB are more than 3000 packets. Once told, streams make theirs smaller: what is lost or split is what was under way.
        assert(told > 0 && told < 500, `${node} was told ${told} times`);
        assert(split < 500, `${node} sent ${split} split`);
      }
    },
  );
}

e2e(
  "a peer whose port is closed for a while is told of, and is reached again when it is back",
  { needs: ["full", "root", "curl"], timeoutMs: 180_000 },
  async (scope) => {
    const { mesh, link, url } = await meshAcross(scope, { family: 4, mtu: 1500 });
    const { namespace } = link.a;
    const origin = `http://${mesh.agent.address("forward")}`;
    await curlDownload(origin, { namespace, mib: 1 });
    await mesh.colony.child[Symbol.asyncDispose]();
    const late = curlDownload(origin, { namespace, mib: 1, timeoutMs: 3_000 }).catch(() => {});
    await eventually("the agent is told that the port is closed", async () => {
      const { counters } = await mesh.status("agent");
      return (counters["unreachable:port"] ?? 0) > 0 || undefined;
    }, { timeoutMs: 30_000 });
    await late;
    scope.use(
      await Moray.start([
        ...[
          "colony",
          "--open",
          "--mesh",
          mesh.name,
          "--discovery",
          url,
          "--state",
          mesh.state.colony,
        ],
        ...["--wg-port", `${mesh.colony.port("wg")}`, "--expose", `8080:${mesh.web}`],
      ], { namespace: link.b.namespace }),
    );
    await eventually(
      "the colony is reached again",
      () => curlDownload(origin, { namespace, mib: 1, timeoutMs: 10_000 }).catch(() => undefined),
      { timeoutMs: 60_000 },
    );
  },
);
