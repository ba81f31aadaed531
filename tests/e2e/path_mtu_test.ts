/** Paths that swallow large packets without a word: transfers pass, and use what the path takes once that is known. */
import { ok as assert } from "node:assert/strict";
import { Capture, payloadKind } from "../support/capture.ts";
import { curlDownload, curlUpload, startWebServer } from "../support/http.ts";
import { startNatWorld } from "../support/nat_mesh.ts";
import { Lab } from "../support/natlab.ts";
import { say } from "../support/say.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";
import { waitsFor } from "../support/waits_for.ts";

const WEB_PORT = 8080;
const SITE = "portrestricted,delay=10ms,rate=50mbit";
/** IPv4 and UDP headers, then WireGuard's own header and tag. */
const OUTER_HEADERS = 20 + 8 + 32;
/** WireGuard pads inner packets to a multiple of this. */
const PADDING = 16;
/** A transfer that nothing hinders takes under a second; this is what finding the MTU may take. */
const TRANSFER_MS_MAX = 30_000;
const DISCOVERY_MS_MAX = 60_000;

interface Sizes {
  /** Largest IP packets with WireGuard data that left and reached the agent, in bytes. */
  readonly up: number;
  readonly down: number;
}

/** What removes the faults that this finds today. Absent: it must pass. */
const WAITS_FOR: string | undefined = undefined;

for (const mtu of [1124, 1280, 1500]) {
  const title =
    `1 MiB passes each way at path MTU ${mtu} with ICMP blocked, and packets fill it once it is known`;
  e2e(
    title,
    { needs: ["full", "natlab", "curl", "tcpdump"], timeoutMs: 180_000 },
    (scope) => waitsFor(WAITS_FOR, { title, body: () => narrow(scope, mtu) }),
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

  const capture = scope.use(
    await Capture.start({ namespace: lab.namespace("a1"), device: "eth0", bytes: 2_000 }),
  );
  const times = await both();
  const { up, down } = largest(await capture.stop(), lab.address("a1"));
  say(`path MTU ${mtu}: 1 MiB afterwards: ${times}; largest packets up ${up}, down ${down}`);
  for (const size of [up, down]) {
    assert(size <= mtu && size > mtu - 3 * PADDING, `packets of ${size} bytes do not fill ${mtu}`);
  }
}

function largest(
  datagrams: Awaited<ReturnType<Capture["stop"]>>,
  agent: string,
): Sizes {
  const data = datagrams.filter(({ payload }) => payloadKind(payload) === "data");
  const size = (mine: boolean): number =>
    Math.max(
      0,
      ...data.filter(({ sourceIp }) => (sourceIp === agent) === mine)
        .map(({ payload }) => payload.length + 28),
    );
  return { up: size(true), down: size(false) };
}
