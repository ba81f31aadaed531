/** `--tun`: programs that know nothing of moray reach the peers through the kernel. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { must, run } from "../support/child.ts";
import { curlDownload, curlUpload, startWebServer } from "../support/http.ts";
import { keyPair } from "../support/keys.ts";
import { Link } from "../support/link.ts";
import { startMesh } from "../support/mesh.ts";
import { aloneBinary, moray, SOURCE } from "../support/moray.ts";
import { say } from "../support/say.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";
import { startTunPair, TUN_NAME, type TunPair } from "../support/tun_pair.ts";
import { writeConfig } from "../support/wireguard_pair.ts";
import { MIB } from "../support/bytes.ts";

const BODY_MIB = 64;

/** Addresses as the far end's programs listen on them. */
function addressesOf({ b }: TunPair): readonly string[] {
  return [b.inner, `[${b.inner6}]`];
}

async function transfers(scope: Scope, pair: TunPair): Promise<void> {
  for (const address of addressesOf(pair)) {
    const web = await startWebServer(scope, {
      namespace: pair.b.namespace,
      listen: `${address}:0`,
    });
    const from = { namespace: pair.a.namespace, mib: BODY_MIB };
    const down = await curlDownload(`http://${web}`, from);
    const up = await curlUpload(scope, `http://${web}`, from);
    const rate = (seconds: number): string => `${Math.round(BODY_MIB * 8.389 / seconds)} Mbit/s`;
    say(`${address}: down ${rate(down)}, up ${rate(up)}`);
  }
}

async function pings({ a, b }: TunPair): Promise<void> {
  for (const address of [b.inner, b.inner6]) {
    // More than the MTU: fragments.
    for (const size of ["56", "4000"]) {
      const command = ["ping", "-c", "3", "-i", "0.2", "-W", "5", "-s", size, address];
      const { code, stdout } = await run(command, { namespace: a.namespace });
      assertEquals(code, 0, stdout);
      assertMatch(stdout, /3 packets transmitted, 3 received/);
    }
  }
}

/** Where no peer is, programs are told so at once. */
async function refusals({ a }: TunPair): Promise<void> {
  for (const address of ["10.9.0.77", "fd09::77"]) {
    const { stdout } = await run(["ping", "-c", "1", "-W", "5", address], {
      namespace: a.namespace,
    });
    assertMatch(stdout, new RegExp(`From ${address} .*(Host|Address) [Uu]nreachable`));
  }
}

/** Sends datagrams of many sizes and expects each back, unchanged. */
async function datagrams({ a, b }: TunPair, address: string): Promise<void> {
  const script = new URL("../support/udp_echo.ts", import.meta.url).pathname;
  const deno = [Deno.execPath(), "run", "-A", "--unstable-net", script];
  const { code, stdout, stderr } = await run([...deno, address, a.namespace, b.namespace]);
  assertEquals([code, stdout], [0, "all came back\n"], stderr);
}

e2e(
  "TUN to TUN: pings, 64 MiB both ways and datagrams over IPv4 and IPv6, and SOCKS5 beside them",
  { needs: ["full", "tun", "curl"], timeoutMs: 240_000 },
  async (scope) => {
    const pair = await startTunPair(scope, {
      program: SOURCE,
      flags: ["--socks5", "127.0.0.1:0"],
    });
    assertEquals(pair.moray.addresses("tun"), [TUN_NAME]);
    await pings(pair);
    await refusals(pair);
    await transfers(scope, pair);
    for (const address of [pair.b.inner, pair.b.inner6]) await datagrams(pair, address);
    const { namespace } = pair.a;
    const web = await startWebServer(scope, {
      namespace: pair.b.namespace,
      listen: `${pair.b.inner}:0`,
    });
    const socks5 = pair.moray.address("socks5");
    await curlDownload(`http://${web}`, { namespace, socks5, mib: 4 });
    await curlDownload(`http://${web}`, { namespace, mib: 4 });
  },
);

e2e(
  "TUN to wireguard-go's TUN: pings, 64 MiB both ways over IPv4 and IPv6",
  { needs: ["full", "wireguard-go", "curl"], timeoutMs: 360_000 },
  async (scope) => {
    const pair = await startTunPair(scope, { program: SOURCE, far: "wireguard-go" });
    await pings(pair);
    await transfers(scope, pair);
  },
);

e2e(
  "TUN to TUN with the compiled program: 16 MiB both ways, and SIGKILL leaves nothing",
  { needs: ["full", "tun", "curl", "binary"], timeoutMs: 60_000 },
  async (scope) => {
    const pair = await startTunPair(scope, { program: aloneBinary(scope) });
    const { namespace } = pair.a;
    const listen = `${pair.b.inner}:0`;
    const web = await startWebServer(scope, { namespace: pair.b.namespace, listen });
    await curlDownload(`http://${web}`, { namespace, mib: 16 });
    await curlUpload(scope, `http://${web}`, { namespace, mib: 16 });
    pair.moray.child.signal("SIGKILL");
    await pair.moray.child.exited;
    assertEquals(await traces(namespace), "");
  },
);

e2e(
  "TUN to TUN: iperf3 with TCP and UDP, both ways and in parallel",
  { needs: ["full", "tun", "iperf3"], timeoutMs: 120_000 },
  async (scope) => {
    const pair = await startTunPair(scope, { program: SOURCE });
    const { namespace } = pair.a;
    const inner = pair.b.inner;
    for (const flags of [[], ["-R"], ["-P", "8"], ["-u", "-b", "100M", "-l", "1200"]]) {
      // One server for each: a server that has not noticed the end of the last test refuses the next.
      const server = run(["iperf3", "-s", "-1", "-B", inner], {
        namespace: pair.b.namespace,
        timeoutMs: 30_000,
      });
      const listens = `ss -Hltn sport = :5201`.split(" ");
      await eventually("iperf3 to listen", async () => {
        return (await must(listens, { namespace: pair.b.namespace })).trim() || undefined;
      });
      const command = ["iperf3", "-c", inner, "-t", "2", "-J", ...flags];
      const text = await must(command, { namespace, timeoutMs: 30_000 });
      const { end } = JSON.parse(text) as {
        end: { sum_received?: { bytes: number }; sum?: { bytes: number; lost_percent?: number } };
      };
      const bytes = end.sum_received?.bytes ?? end.sum?.bytes ?? 0;
      say(`iperf3 ${flags.join(" ")}: ${Math.round(bytes * 4e-6)} Mbit/s`);
      assert(bytes > 8 * MIB, text);
      await server;
    }
  },
);

/** What the kernel knows of an interface: its line and its routes. */
async function traces(namespace: string): Promise<string> {
  const link = await run(["ip", "link", "show", TUN_NAME], { namespace });
  const routes = [["ip", "route"], ["ip", "-6", "route"]].map((command) =>
    must(command, { namespace })
  );
  const lines = (await Promise.all(routes)).join("").split("\n");
  return link.stdout + lines.filter((line) => line.includes(TUN_NAME)).join("\n");
}

for (const signal of ["SIGTERM", "SIGKILL"] as const) {
  e2e(
    `${signal} leaves neither the interface nor a route`,
    { needs: ["full", "tun"], timeoutMs: 60_000 },
    async (scope) => {
      const { a, b, moray } = await startTunPair(scope, { program: SOURCE });
      const before = await traces(a.namespace);
      assertMatch(before, new RegExp(`${TUN_NAME}: <.*UP.* mtu 1420 `));
      for (const address of [b.inner, b.inner6]) {
        assertMatch(before, new RegExp(`^${address} dev ${TUN_NAME} `, "m"));
      }
      if (signal === "SIGTERM") assertEquals(await moray.stop(2_500), 0, moray.child.log);
      moray.child.signal(signal);
      await moray.child.exited;
      assertEquals(await traces(a.namespace), "");
    },
  );
}

e2e(
  "an interface that somebody removes is told of, and the rest of the node goes on",
  { needs: ["full", "tun", "curl"], timeoutMs: 60_000 },
  async (scope) => {
    const { a, b, moray } = await startTunPair(scope, {
      program: SOURCE,
      flags: ["--socks5", "127.0.0.1:0"],
    });
    const { namespace } = a;
    await must(["ip", "link", "del", TUN_NAME], { namespace });
    await moray.child.line(/error interface moray0 has been removed/);
    const listen = `${b.inner}:0`;
    const web = await startWebServer(scope, { namespace: b.namespace, listen });
    await curlDownload(`http://${web}`, { namespace, socks5: moray.address("socks5"), mib: 4 });
    const before = cpuSeconds(a.pid);
    await new Promise((wake) => setTimeout(wake, 1000));
    const used = cpuSeconds(a.pid) - before;
    assert(used < 0.3, `${used} s of CPU in one second without work`);
    assertEquals(await moray.stop(2_500), 0, moray.child.log);
  },
);

/** CPU time of a process so far. */
function cpuSeconds(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  const [user = NaN, system = NaN] = text.slice(text.lastIndexOf(")") + 2).split(" ").slice(11)
    .map(Number);
  return (user + system) / 100;
}

e2e(
  "an interface that cannot be made is one line and its exit status",
  { needs: ["tun"], timeoutMs: 60_000 },
  async (scope) => {
    const link = scope.use(await Link.up());
    const { namespace } = link.a;
    const { privateKey } = await keyPair();
    const { publicKey } = await keyPair();
    const config = await writeConfig(scope, [
      "[Interface]",
      `PrivateKey = ${privateKey}`,
      "Address = 10.9.0.1/24",
      "[Peer]",
      `PublicKey = ${publicKey}`,
      `AllowedIPs = 10.9.0.2/32, ${link.a.ip.replace(/\d+$/, "0")}/24`,
    ]);
    const unprivileged = {
      ...SOURCE,
      command: ["setpriv", "--inh-caps=-all", "--bounding-set=-all", ...SOURCE.command],
    };
    const cases = [
      { flags: ["--tun", "a/b"], code: 2, message: /--tun.* is not a name of 1 to 15 characters/ },
      { flags: ["--tun", "eth0"], code: 2, message: /interface eth0: the name is taken/ },
      { flags: ["--tun", "m0", "--datapath", "portable"], code: 12, message: /fast datapath/ },
      { flags: ["--tun", "m0"], code: 2, message: /lead 10\.77\.0\.0\/24 .* another route/ },
      { flags: ["--tun", "m0"], code: 6, message: /CAP_NET_ADMIN/, program: unprivileged },
    ];
    for (const { flags, code, message, program = SOURCE } of cases) {
      const out = await moray(["wireguard", config, ...flags], { program, namespace });
      const lines = out.stderr.trimEnd().split("\n");
      assertEquals([out.code, lines.length], [code, 1], `${flags}: ${out.stderr}`);
      assertMatch(lines[0] ?? "", message);
    }
    assertEquals((await run(["ip", "link", "show", "m0"], { namespace })).code, 1);
    await must(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"], { namespace });
    const text = (await Deno.readTextFile(config)).replace("10.9.0.1/24", "fd09::1/64");
    await Deno.writeTextFile(config, text);
    const out = await moray(["wireguard", config, "--tun", "m0"], { namespace });
    assertEquals(out.code, 12);
    assertMatch(out.stderr, /^moray: Cannot give fd09::1\/64 to .* IPv6 is disabled.*\n$/);
  },
);

e2e(
  "a mesh with --tun: HTTP by mesh address through the kernels, and --expose beside them",
  { needs: ["full", "tun", "curl"], timeoutMs: 120_000 },
  async (scope) => {
    const link = scope.use(await Link.up());
    const { a, b } = link;
    const mesh = await startMesh(scope, {
      program: SOURCE,
      discovery: { listen: `${b.ip}:0`, stunListen: `${b.ip}:0` },
      namespaces: { discovery: b.namespace, colony: b.namespace, agent: a.namespace },
      // Not a name that is known for tunnels.
      nodeFlags: ["--tun", "reef0"],
    });
    const status = await mesh.status("agent");
    assertEquals(status.node.tun, "reef0");
    const inside = status.node.endpoints.filter((text) => !/^\[fd77::|^10\.77\./.test(text));
    assertEquals(inside, [], "only the addresses of the link are candidates");
    const [colony] = status.peers;
    const address = colony?.meshIpv6 ?? "";
    const web = await startWebServer(scope, {
      namespace: b.namespace,
      listen: `[${address}]:0`,
    });
    await curlDownload(`http://${web}`, { namespace: a.namespace, mib: 8 });
    await curlUpload(scope, `http://${web}`, { namespace: a.namespace, mib: 8 });
    // Port 8080 of the colony is exposed from its userspace network: both work at one address.
    await curlDownload(`http://[${address}]:8080`, { namespace: a.namespace, mib: 8 });
    const routes = (): Promise<string> => must(["ip", "-6", "route"], { namespace: b.namespace });
    const own = status.node.meshIpv6 ?? "";
    assert((await routes()).includes(`${own} dev reef0 `), await routes());
    // The colony's IPv4 addresses are for the kernels too, either way.
    const { node } = await eventually("the agent to have an IPv4 address", async () => {
      const status = await mesh.status("agent");
      return status.node.meshIpv4 === null ? undefined : status;
    });
    for (
      const [namespace, to] of [[b.namespace, node.meshIpv4], [a.namespace, colony?.meshIpv4]]
    ) {
      await eventually(`a ping of ${to}`, async () => {
        const { code } = await run(["ping", "-c", "1", "-W", "2", `${to}`], {
          namespace: `${namespace}`,
          timeoutMs: 5_000,
        });
        return code === 0 || undefined;
      });
    }
  },
);

e2e(
  "the device takes a packet in parts and gives the answer, and rtnetlink says what went wrong",
  { needs: ["tun"], timeoutMs: 30_000 },
  async (scope) => {
    const { namespace } = scope.use(await Link.up()).a;
    const script = new URL("../support/tun_device.ts", import.meta.url).pathname;
    const deno = [Deno.execPath(), "run", "-A", "--unstable-net", script];
    const { code, stdout, stderr } = await run([...deno, TUN_NAME], { namespace });
    assertEquals(code, 0, stderr);
    assertEquals(stdout.trimEnd().split("\n"), [
      "errno: 0 0 17 0 17 0 3", // EEXIST, EEXIST, ESRCH
      "written: 0 0 0",
      "received: true 10.9.0.2:4000",
      "received: true 10.9.0.2:4000",
      "refused: true",
      "read: 44 bytes, checksum left open: true",
    ]);
  },
);

e2e(
  "routes follow the peers, and their blocks, as they come, change and go",
  { needs: ["tun"], timeoutMs: 30_000 },
  async (scope) => {
    const { namespace } = scope.use(await Link.up()).a;
    const script = new URL("../support/tun_peers.ts", import.meta.url).pathname;
    const deno = [Deno.execPath(), "run", "-A", "--unstable-net", script];
    const { code, stdout, stderr } = await run([...deno, TUN_NAME], { namespace });
    assertEquals(code, 0, stderr);
    assertEquals(stdout.trimEnd().split("\n"), [
      "refused: Cannot bring interface moray0 up with MTU 70000: the kernel refuses it; 0 left open",
      "start: ",
      "first: 10.9.0.2 10.9.1.0/24 fd09::2",
      "second: 10.9.0.2 10.9.1.0/24 10.9.3.0/24 fd09::2",
      "changed: 10.9.0.2 10.9.2.0/24 10.9.3.0/24 fd09::2",
      "removed: 10.9.3.0/24",
      "refused: Cannot lead 10.77.0.0/24 to interface moray0: it has another route",
      "log: 0.0.0.0/0 gets no route: the tunnel's own datagrams would take it",
    ]);
  },
);
