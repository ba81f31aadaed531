/** Resident memory of nodes that rest, with one peer and with a thousand. The measured figures are printed. */
import { ok as assert } from "node:assert/strict";
import { formatBase64 } from "../../core/mod.ts";
import { MIB } from "../support/bytes.ts";
import { residentBytes } from "../support/child.ts";
import { curlDownload } from "../support/http.ts";
import { keyPair } from "../support/keys.ts";
import { startMesh } from "../support/mesh.ts";
import { aloneBinary, Moray, type Program, SOURCE } from "../support/moray.ts";
import { say } from "../support/say.ts";
import { e2e, type Scope } from "../support/scope.ts";
import { writeConfig } from "../support/wireguard_pair.ts";
import { LOOPBACK } from "./loopback.ts";

const PEERS = 1000;
/** How long a node rests before it is measured: what it does not need it gives back after two seconds, and every five. */
const REST_MS = 8_000;

/** A program, and what its nodes may hold in bytes: `deno run` has the compiler in it, too. */
const PROGRAMS = [
  {
    name: "source",
    of: () => SOURCE,
    idleBytesMax: 95e6,
    colonyBytesMax: 105e6,
    crowdedBytesMax: 150e6,
  },
  {
    name: "binary",
    of: aloneBinary,
    idleBytesMax: 90e6,
    colonyBytesMax: 100e6,
    crowdedBytesMax: 150e6,
  },
] as const satisfies readonly {
  readonly name: Program["name"];
  readonly of: (scope: Scope) => Program;
  readonly idleBytesMax: number;
  /** A colony has the control service of its mesh besides. */
  readonly colonyBytesMax: number;
  readonly crowdedBytesMax: number;
}[];

for (const { name, of, idleBytesMax, colonyBytesMax, crowdedBytesMax } of PROGRAMS) {
  const needs = name === "binary" ? ["full", "binary", "curl"] as const : ["full", "curl"] as const;

  e2e(`${name}: an idle agent holds at most ${idleBytesMax / 1e6} MB`, { needs }, async (scope) => {
    if (Deno.build.os !== "linux") return say("skipped: memory is read from /proc");
    const mesh = await startMesh(scope, { ...LOOPBACK, program: of(scope) });
    await curlDownload(`http://${mesh.agent.address("forward")}`, { mib: 1 });
    await holdsAtMost(`${name}: an idle agent`, mesh.agent, idleBytesMax);
    await holdsAtMost(`${name}: an idle colony`, mesh.colony, colonyBytesMax);
  });

  e2e(
    `${name}: a node with ${PEERS} peers holds at most ${crowdedBytesMax / 1e6} MB`,
    { needs },
    async (scope) => {
      if (Deno.build.os !== "linux") return say("skipped: memory is read from /proc");
      const { privateKey } = await keyPair();
      const peers = Array.from({ length: PEERS }, (_, i) => [
        "[Peer]",
        `PublicKey = ${formatBase64(crypto.getRandomValues(new Uint8Array(32)))}`,
        `AllowedIPs = 10.9.${1 + Math.floor(i / 250)}.${1 + i % 250}/32`,
      ]);
      const config = await writeConfig(scope, [
        "[Interface]",
        `PrivateKey = ${privateKey}`,
        "Address = 10.9.0.1/16",
        ...peers.flat(),
      ]);
      const node = scope.use(
        await Moray.start(["wireguard", config, "--socks5", "127.0.0.1:0"], { program: of(scope) }),
      );
      await holdsAtMost(`${name}: a node with ${PEERS} peers`, node, crowdedBytesMax);
    },
  );
}

async function holdsAtMost(what: string, { child }: Moray, bytesMax: number): Promise<void> {
  await new Promise((wake) => setTimeout(wake, REST_MS));
  const bytes = residentBytes(child.pid);
  say(`${what} holds ${(bytes / MIB).toFixed(0)} MiB`);
  assert(bytes <= bytesMax, `${what} holds ${bytes} bytes`);
}
