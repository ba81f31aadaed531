/** Paths that swallow large packets without a word: transfers pass, and use what the path takes once that is known. */
import { ok as assert } from "node:assert/strict";
import { Capture, type CapturedDatagram, payloadKind } from "../support/capture.ts";
import { curlDownload, curlUpload, startWebServer } from "../support/http.ts";
import { type LabNode, startNatWorld } from "../support/nat_mesh.ts";
import { Lab } from "../support/natlab.ts";
import { say } from "../support/say.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";

const WEB_PORT = 8080;
const SITE = "portrestricted,delay=10ms,rate=50mbit";
/** IPv4 and UDP headers, then WireGuard's own header and tag. */
const IP_UDP_BYTES = 20 + 8;
const OUTER_HEADERS = IP_UDP_BYTES + 32;
/** What acknowledges a transfer is smaller, what carries it larger. */
const SMALL_BYTES = 500;
/** WireGuard pads inner packets to a multiple of this. */
const PADDING = 16;
/** A transfer that nothing hinders takes under a second; this is what finding the MTU may take. */
const TRANSFER_MS_MAX = 30_000;
const DISCOVERY_MS_MAX = 60_000;

interface Sizes {
  /** IP packets with WireGuard data that left and reached the agent, in bytes. */
  readonly up: number;
  readonly down: number;
}

for (const mtu of [1124, 1280, 1500]) {
  const title =
    `1 MiB passes each way at path MTU ${mtu} with ICMP blocked, and packets fill it once it is known`;
  e2e(
    title,
    { needs: ["full", "natlab", "curl", "tcpdump"], timeoutMs: 180_000 },
    (scope) => narrow(scope, mtu),
  );
}

async function narrow(scope: Scope, mtu: number): Promise<void> {
  const lab = scope.use(
    await Lab.up("mtu", { sites: [`c=${SITE}`, `a=${SITE},mtu=${mtu},pmtud=off`] }),
  );
  const world = await startNatWorld(scope, { lab });
  const web = await startWebServer(scope, { namespace: lab.namespace("c1") });
  const colony = await world.start("colony", {
    mesh: "reef",
    host: "c1",
    flags: ["--expose", `${WEB_PORT}:${web}`],
  });
  const agent = await world.start("agent", {
    mesh: "reef",
    host: "a1",
    name: "walker",
    flags: ["--forward", `127.0.0.1:0:colony:${WEB_PORT}`],
  });
  const origin = `http://${agent.process.address("forward")}`;
  const transfer = { namespace: lab.namespace("a1"), mib: 1, timeoutMs: TRANSFER_MS_MAX };
  const both = async (): Promise<string> => {
    const down = await curlDownload(origin, transfer);
    const up = await curlUpload(scope, origin, transfer);
    return `down ${down.toFixed(2)} s, up ${up.toFixed(2)} s`;
  };
  say(`path MTU ${mtu}: 1 MiB at once: ${await both()}`);

  await untilKnown(mtu, { agent, colony });

  const capture = scope.use(
    await Capture.start({ namespace: lab.namespace("a1"), device: "eth0", bytes: 2_000 }),
  );
  const times = await both();
  const { up, down } = usualSizes(await capture.stop(), lab.address("a1"));
  say(`path MTU ${mtu}: 1 MiB afterwards: ${times}; most packets up ${up}, down ${down}`);
  for (const size of [up, down]) {
    assert(size <= mtu && size > mtu - 3 * PADDING, `packets of ${size} bytes do not fill ${mtu}`);
  }
}

e2e(
  "IPv6 between kernels passes at path MTU 1124 with ICMP blocked, although a link may not carry less than 1280 of it",
  { needs: ["full", "natlab", "tun", "curl"], timeoutMs: 180_000 },
  async (scope) => {
    const mtu = 1124;
    const sites = [`c=${SITE}`, `a=${SITE},mtu=${mtu},pmtud=off`];
    const lab = scope.use(await Lab.up("mtu6", { sites }));
    const world = await startNatWorld(scope, { lab });
    const flags = ["--tun", "reef0"];
    const colony = await world.start("colony", { mesh: "reef", host: "c1", flags });
    const agent = await world.start("agent", { mesh: "reef", host: "a1", name: "walker", flags });
    await untilKnown(mtu, { agent, colony });
    const { node: { meshIpv6 } } = await colony.status();
    const web = await startWebServer(scope, {
      namespace: lab.namespace("c1"),
      listen: `[${meshIpv6}]:0`,
    });
    const transfer = { namespace: lab.namespace("a1"), mib: 1, timeoutMs: TRANSFER_MS_MAX };
    const down = await curlDownload(`http://${web}`, transfer);
    const up = await curlUpload(scope, `http://${web}`, transfer);
    say(`path MTU ${mtu}, kernel to kernel: down ${down.toFixed(2)} s, up ${up.toFixed(2)} s`);
    for (const node of [agent, colony]) {
      const { tunFragmented = 0 } = (await node.status()).counters;
      assert(tunFragmented > 0, "what the path does not carry was split");
    }
  },
);

/** Waits until both ends know what the path between them carries. */
async function untilKnown(
  mtu: number,
  { agent, colony }: { readonly agent: LabNode; readonly colony: LabNode },
): Promise<void> {
  const inner = mtu - OUTER_HEADERS;
  const known = { timeoutMs: DISCOVERY_MS_MAX, everyMs: 200 };
  const least = inner - 2 * PADDING;
  for (const [node, peer] of [[agent, "colony"], [colony, "walker"]] as const) {
    let said: number | null | undefined;
    const found = await eventually(`an MTU of ${least} to ${inner} towards ${peer}`, async () => {
      said = (await node.path(peer))?.mtu;
      return said !== undefined && said !== null && said > least && said <= inner
        ? said
        : undefined;
    }, known).catch((error) => {
      throw new Error(`${error.message}; it says ${said}`);
    });
    say(`path MTU ${mtu}: inner packets of up to ${found} bytes towards ${peer}`);
  }
}

/** The size of most of the packets that carry the transfer each way; probes that try larger ones are few. */
function usualSizes(datagrams: readonly CapturedDatagram[], agent: string): Sizes {
  const usual = (mine: boolean): number => {
    const counts = new Map<number, number>();
    for (const { sourceIp, payload } of datagrams) {
      if (payloadKind(payload) !== "data" || (sourceIp === agent) !== mine) continue;
      const size = payload.length + IP_UDP_BYTES;
      if (size >= SMALL_BYTES) counts.set(size, (counts.get(size) ?? 0) + 1);
    }
    return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0] ?? 0;
  };
  return { up: usual(true), down: usual(false) };
}
