/** A node on a network that has only IPv6, behind a real NAT64 (tayga) and a resolver that knows its prefix (dnsmasq). */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { NodeStatus } from "../../agent/status.ts";
import { Child, must } from "../support/child.ts";
import { GatewayLab } from "../support/gateway_lab.ts";
import { curlDownload } from "../support/http.ts";
import { startWebServer } from "../support/http.ts";
import { Moray, moray, type Program, SOURCE } from "../support/moray.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";

const PREFIX = "2001:db8:64::";
const MESH_PORT = "8080";

/** Takes IPv4 from the host and IPv6 from outside, and puts NAT64 and its resolver on the router. */
async function onlyIpv6(scope: Scope, lab: GatewayLab): Promise<Program> {
  const ip = (namespace: string, line: string): Promise<string> =>
    must(["ip", ...line.split(" ")], { namespace });
  await ip(lab.host, "-4 addr flush dev eth0");
  await ip(lab.outside, "-6 addr flush dev eth0");
  const folder = scope.directory();
  const file = `${folder}/tayga.conf`;
  const config = [
    "tun-device nat64",
    "ipv4-addr 192.168.255.1",
    `prefix ${PREFIX}/96`,
    "dynamic-pool 192.168.255.0/24",
    `data-dir ${folder}`,
  ];
  await Deno.writeTextFile(file, `${config.join("\n")}\n`);
  await must(["tayga", "--config", file, "--mktun"], { namespace: lab.router });
  await ip(lab.router, "link set nat64 up");
  await ip(lab.router, "addr add 192.168.255.254/32 dev nat64");
  await ip(lab.router, "route add 192.168.255.0/24 dev nat64");
  await ip(lab.router, `-6 route add ${PREFIX}/96 dev nat64`);
  await must(["nft", "add rule inet filter forward iifname nat64 accept"], {
    namespace: lab.router,
  });
  scope.use(
    new Child(["tayga", "--config", file, "--nodetach"], { namespace: lab.router }),
  );
  const resolver = scope.use(
    new Child([
      "dnsmasq",
      "--keep-in-foreground",
      "--log-facility=-",
      "--conf-file=/dev/null",
      "--no-resolv",
      "--no-hosts",
      "--listen-address=2001:db8:77::1",
      "--bind-interfaces",
      `--pid-file=${folder}/dnsmasq.pid`,
      `--address=/ipv4only.arpa/${PREFIX}192.0.0.170`,
    ], { namespace: lab.router }),
  );
  await resolver.line(/started/);
  // The system's resolver, as it is on such a network, for the node alone.
  const resolv = `${folder}/resolv.conf`;
  await Deno.writeTextFile(resolv, "nameserver 2001:db8:77::1\noptions timeout:1 attempts:2\n");
  const script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
  return {
    ...SOURCE,
    command: ["unshare", "--mount", "sh", "-c", script, resolv, ...SOURCE.command],
  };
}

e2e(
  "an agent on an IPv6-only network reaches a colony that has only IPv4, through NAT64",
  { needs: ["full", "gateway", "tayga", "dnsmasq", "curl"], timeoutMs: 120_000 },
  async (scope) => {
    const lab = scope.use(await GatewayLab.up());
    const program = await onlyIpv6(scope, lab);
    const { outside: namespace, outsideIp } = lab;
    const listen = ["--listen", `${outsideIp}:8080`, "--stun-listen", `${outsideIp}:3478`];
    scope.use(
      await Moray.start(["discovery", ...listen, "--store", ":memory:"], { namespace }),
    );
    const web = await startWebServer(scope, { namespace });
    const colony = scope.use(
      await Moray.start([
        ...["colony", "--open", "--mesh", "reef", "--state", scope.directory()],
        ...["--discovery", `http://${outsideIp}:8080`, "--expose", `${MESH_PORT}:${web}`],
      ], { namespace }),
    );
    const state = scope.directory();
    const agent = scope.use(
      await Moray.start([
        ...["agent", "--mesh", "reef", "--state", state, "--name", "walker"],
        ...["--discovery", `http://[${PREFIX}${outsideIp}]:8080`],
        ...["--forward", `127.0.0.1:0:colony:${MESH_PORT}`, "--log-level", "debug"],
      ], { namespace: lab.host, program }),
    );
    for (const part of [colony, agent]) {
      scope.explain(() => Promise.resolve(part.child.log.slice(-3000)));
    }
    await agent.child.line(/IPv4 is reached through NAT64 prefix=2001:db8:64::\/96/);
    await agent.child.line(/connected to colony/);
    const status = await eventually("STUN through NAT64", async () => {
      const { stdout } = await moray(["status", "--json", "--state", state], {
        namespace: lab.host,
      });
      const status = JSON.parse(stdout) as NodeStatus;
      const seen = status.node.endpoints.some((text) => text.startsWith(`${lab.external}:`));
      return seen ? status : undefined;
    });
    const [peer] = status.peers;
    assertEquals(peer?.path.kind, "direct");
    assert(peer?.path.remote?.startsWith(`[${PREFIX}b16:2102]:`), `${peer?.path.remote}`);
    const origin = `http://${agent.address("forward")}`;
    await curlDownload(origin, { namespace: lab.host, mib: 1 });
  },
);
