/** The mesh across NATs: the same tests for the source and for the binary. @module */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { Capture, payloadKind } from "../support/capture.ts";
import { curlDownload, curlUpload } from "../support/http.ts";
import { assertStatusShape, directStatus, startMesh } from "../support/mesh.ts";
import type { Program } from "../support/moray.ts";
import { Lab } from "../support/natlab.ts";
import type { Need } from "../support/needs.ts";
import { say } from "../support/say.ts";
import { e2e, type Scope } from "../support/scope.ts";

interface Site {
  /** In the test's name. */
  readonly title: string;
  /** Type and settings of the colony's and of the agent's site. */
  readonly colony: string;
  readonly agent: string;
  /** The family that Discovery is reached by. */
  readonly family: 4 | 6;
}

/** Pairs that must become direct without guessing ports. */
const PAIRS: readonly Site[] = [
  {
    title: "port-restricted x port-restricted",
    colony: "portrestricted,delay=5ms",
    agent: "portrestricted,delay=5ms",
    family: 4,
  },
  { title: "full cone x full cone", colony: "fullcone", agent: "fullcone", family: 4 },
  { title: "IPv6 only, stateful firewalls", colony: "v6", agent: "v6", family: 6 },
];

const BODY_MIB = 64;

/** Registers the tests for a program. */
export function natTests(
  makeProgram: (scope: Scope) => Program,
  { title, needs }: { title: string; needs: readonly Need[] },
): void {
  for (const pair of PAIRS) {
    e2e(
      `${title}, NAT ${pair.title}: 64 MiB by curl over a direct path, STUN and WireGuard from one port`,
      { needs: ["full", "natlab", "curl", "tcpdump", ...needs], timeoutMs: 240_000 },
      (scope) => crossNats(scope, makeProgram(scope), pair),
    );
  }
}

async function crossNats(scope: Scope, program: Program, pair: Site): Promise<void> {
  const lab = scope.use(
    await Lab.up("nat", { sites: [`c=${pair.colony}`, `a=${pair.agent}`] }),
  );
  const any = pair.family === 4 ? "0.0.0.0" : "[::]";
  const server = lab.address("disco", pair.family);
  const agentSide = lab.namespace("a1");
  const capture = scope.use(await Capture.start({ namespace: agentSide, device: "eth0" }));
  const mesh = await startMesh(scope, {
    program,
    discovery: { listen: `${any}:8080`, stunListen: `${any}:3478` },
    url: `http://${pair.family === 4 ? server : `[${server}]`}:8080`,
    namespaces: {
      discovery: lab.namespace("disco"),
      colony: lab.namespace("c1"),
      agent: agentSide,
    },
    // What is asked of the router goes out on other ports.
    nodeFlags: ["--no-port-mapping"],
  });
  const transfer = {
    namespace: agentSide,
    socks5: mesh.agent.address("socks5"),
    mib: BODY_MIB,
  };
  const down = await curlDownload("http://colony:8080", transfer);
  const up = await curlUpload(scope, "http://colony:8080", transfer);
  const rate = (seconds: number): string => `${Math.round(BODY_MIB * 8.389 / seconds)} Mbit/s`;
  say(`${program.name}, ${pair.title}: down ${rate(down)}, up ${rate(up)}`);

  for (const node of ["agent", "colony"] as const) {
    const status = await directStatus(mesh, node);
    assertStatusShape(status);
    const remote = status.peers[0]?.path.remote ?? "";
    assertEquals(remote.startsWith("["), pair.family === 6, remote);
  }

  const own = lab.address("a1", pair.family);
  const sent = (await capture.stop()).filter(({ sourceIp }) => sourceIp === own);
  // The examination of the NAT has sockets of its own beside the node's.
  const stun = sent.filter(({ payload, sourcePort, targetIp, targetPort }) =>
    payloadKind(payload) === "stun" && sourcePort === mesh.agent.port("wg") &&
    targetIp === server && targetPort === 3478
  );
  const wireGuard = sent.filter(({ payload }) =>
    ["initiation", "response", "data"].includes(payloadKind(payload))
  );
  assert(stun.length > 0, "STUN to Discovery was captured");
  assert(wireGuard.length > 1_000, `WireGuard was captured: ${wireGuard.length} datagrams`);
  const ports = new Set(wireGuard.map(({ sourcePort }) => sourcePort));
  assertEquals([...ports], [mesh.agent.port("wg")], "one source port");
  const strange = sent.filter(({ payload }) => payloadKind(payload) === "other");
  assertEquals(
    strange.map(({ targetIp, targetPort, payload }) =>
      `${targetIp}:${targetPort} ${payload.subarray(0, 16).toHex()}`
    ),
    [],
    "nothing else leaves the agent over UDP",
  );
}
