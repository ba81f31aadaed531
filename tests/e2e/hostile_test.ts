/** Hostile datagrams against every open UDP port of a running mesh, and a search of all output for secrets. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { NodeStatus } from "../../agent/status.ts";
import { parseKey } from "../../core/mod.ts";
import { MIB, sha256Of, testSha256 } from "../support/bytes.ts";
import { Capture, type PayloadKind, payloadKind } from "../support/capture.ts";
import { ownBytes } from "../support/child.ts";
import { Dice, flood, hostileDatagram, shapes } from "../support/hostile.ts";
import { keyPair, presharedKey, secretForms } from "../support/keys.ts";
import { type Mesh, startMesh } from "../support/mesh.ts";
import { Moray, moray, SOURCE } from "../support/moray.ts";
import { unmet } from "../support/needs.ts";
import { say } from "../support/say.ts";
import { e2e, eventually, type Scope, within } from "../support/scope.ts";
import { openUdp } from "../support/udp.ts";
import { writeConfig } from "../support/wireguard_pair.ts";
import { LOOPBACK } from "./loopback.ts";

const DATAGRAMS = 10_000;
/** What a process may grow by at the second time: V8 lets garbage lie until it needs the room. */
const GROWTH_BYTES_MAX = 24 * MIB;
const SEED = 0x5eed;

e2e(
  "10,000 random and mutated datagrams to every open UDP port change nothing, and the next 10,000 cost no memory",
  { timeoutMs: 180_000 },
  async (scope) => {
    const capture = unmet(["root", "tcpdump"]) === undefined
      ? scope.use(await Capture.start({ device: "lo", bytes: 2_048 }))
      : undefined;
    if (capture === undefined) {
      say("hostile datagrams: without a real session's (needs root, tcpdump)");
    }
    const mesh = await startMesh(scope, { ...LOOPBACK, program: SOURCE });
    await download(scope, mesh);
    const ports = {
      colony: mesh.colony.port("wg"),
      agent: mesh.agent.port("wg"),
      stun: mesh.discovery.port("stun"),
    };
    const before = { colony: await mesh.status("colony"), agent: await mesh.status("agent") };

    const dice = new Dice(SEED);
    const wires = Object.values(ports);
    const session = (await capture?.stop() ?? [])
      .filter(({ sourcePort, targetPort }) =>
        wires.includes(sourcePort) && wires.includes(targetPort)
      )
      .map(({ payload }) => payload.slice());
    if (capture !== undefined) assert(session.some((payload) => payloadKind(payload) === "data"));
    const templates = [
      ...shapes(dice),
      ...sample(session, (kind) => kind !== "data"),
      ...sample(session, (kind) => kind === "data"),
      await initiationTo(scope, before.colony.node.publicKey),
      await initiationTo(scope, before.agent.node.publicKey),
    ];

    // The second time nothing is new: code is compiled, tables are full.
    const memory: Record<string, number>[] = [];
    for (let round = 0; round < 2; round++) {
      // The tunnel carries data all the while.
      const meanwhile = download(scope, mesh, 32);
      for (const [name, port] of Object.entries(ports)) {
        const { sentBytes, answeredBytes } = await flood(
          port,
          DATAGRAMS,
          () => hostileDatagram(dice, templates),
        );
        say(`hostile datagrams to ${name}: ${sentBytes} bytes sent, ${answeredBytes} came back`);
        assert(answeredBytes <= sentBytes, `${name} amplifies`);
      }
      await meanwhile;
      memory.push(memoryOf(mesh));
    }

    await download(scope, mesh);
    for (const node of ["colony", "agent"] as const) {
      const after = await mesh.status(node);
      assertEquals(identityOf(after), identityOf(before[node]), node);
      const counted = total(after) - total(before[node]);
      assert(
        counted > DATAGRAMS / 2,
        `${node} counted ${counted}: ${JSON.stringify(after.counters)}`,
      );
    }
    await stunAnswers(scope, ports.stun);
    for (const [name, bytes] of Object.entries(memory[1] ?? {})) {
      const growth = bytes - (memory[0]?.[name] ?? 0);
      const figures = `${Math.round(bytes / MIB)} MiB, ${(growth / MIB).toFixed(1)} more`;
      say(`hostile datagrams: ${name} has ${figures} than after the first time`);
      assert(growth < GROWTH_BYTES_MAX, `${name} grew by ${growth} bytes`);
    }
    for (const part of [mesh.agent, mesh.colony, mesh.discovery]) {
      assertEquals(await part.stop(2_000), 0, part.child.log);
    }
  },
);

e2e(
  "no key is ever printed, at the most talkative log level, in answers or in errors",
  { timeoutMs: 120_000 },
  async (scope) => {
    const nodeFlags = ["--log-level", "debug"];
    const mesh = await startMesh(scope, { ...LOOPBACK, program: SOURCE, nodeFlags });
    await download(scope, mesh);
    const [own, other, psk] = [await keyPair(), await keyPair(), presharedKey()];
    const config = await writeConfig(scope, [
      "[Interface]",
      `PrivateKey = ${own.privateKey}`,
      "Address = 10.9.0.1/24",
      "[Peer]",
      `PublicKey = ${other.publicKey}`,
      `PresharedKey = ${psk}`,
      "AllowedIPs = 10.9.0.2/32",
    ]);
    const plain = scope.use(
      await Moray.start(["wireguard", config, "--log-level", "debug"], { program: SOURCE }),
    );
    const damaged = await writeConfig(scope, ["[Interface]", `PrivateKey = ${own.privateKey}x`]);
    const refused = await moray(["wireguard", damaged, "--log-level", "debug"]);
    assertEquals(refused.code, 3, refused.stderr);
    const answers = [
      refused,
      await mesh.command("agent", ["status", "--json"]),
      await mesh.command("agent", ["status"]),
      await mesh.command("colony", ["peers", "--json"]),
      await mesh.command("agent", ["ping", "colony", "--count", "1"]),
    ].map(({ stdout, stderr }) => stdout + stderr);
    await Promise.all([mesh.agent.stop(), mesh.colony.stop(), plain.stop()]);

    const secrets = [
      own.privateKey,
      psk,
      await privateKeyIn(mesh.state.colony),
      await privateKeyIn(mesh.state.agent),
    ];
    const printed = [
      mesh.discovery.child.log,
      mesh.colony.child.log,
      mesh.agent.child.log,
      plain.child.log,
      ...answers,
    ];
    assert(printed.join("").length > 500, "something was printed");
    for (const text of printed) {
      for (const form of secrets.flatMap(secretForms)) {
        assert(!text.includes(form), "a key was printed");
      }
    }
  },
);

/** A few of the datagrams of some kinds, so that no kind drowns the others. */
function sample(
  datagrams: readonly Uint8Array[],
  wanted: (kind: PayloadKind) => boolean,
): readonly Uint8Array[] {
  return datagrams.filter((payload) => wanted(payloadKind(payload))).slice(0, 12);
}

/** Fetches through the tunnel and checks every byte. */
async function download(scope: Scope, mesh: Mesh, mib = 1): Promise<void> {
  const { signal } = scope;
  const response = await fetch(`http://${mesh.agent.address("forward")}/bytes?mib=${mib}`, {
    signal,
  });
  assert(response.body !== null);
  const expected = { sha256: testSha256(mib * MIB), bytes: mib * MIB };
  assertEquals(await sha256Of(response.body), expected);
}

/** A genuine handshake initiation to a key, from a peer that nobody knows. */
async function initiationTo(scope: Scope, publicKey: string): Promise<Uint8Array> {
  const { socket: trap, port } = openUdp(scope);
  const config = await writeConfig(scope, [
    "[Interface]",
    `PrivateKey = ${(await keyPair()).privateKey}`,
    "Address = 10.9.0.1/24",
    "[Peer]",
    `PublicKey = ${publicKey}`,
    "AllowedIPs = 10.9.0.2/32",
    `Endpoint = 127.0.0.1:${port}`,
    "PersistentKeepalive = 1",
  ]);
  const stranger = await Moray.start(["wireguard", config], { program: SOURCE });
  try {
    const [datagram] = await within(10_000, "a handshake initiation", trap.receive());
    assertEquals(payloadKind(datagram), "initiation");
    return datagram.slice();
  } finally {
    await stranger.stop();
  }
}

function identityOf({ node, peers }: NodeStatus): unknown {
  return {
    key: node.publicKey,
    peers: peers.map(({ name, publicKey, path }) => [name, publicKey, path.kind, path.remote]),
  };
}

function total({ counters }: NodeStatus): number {
  return Object.values(counters).reduce((sum, count) => sum + count, 0);
}

function memoryOf(mesh: Mesh): Record<string, number> {
  if (Deno.build.os !== "linux") return {};
  return {
    discovery: ownBytes(mesh.discovery.child.pid),
    colony: ownBytes(mesh.colony.child.pid),
    agent: ownBytes(mesh.agent.child.pid),
  };
}

/**
 * Asks for a Binding as a client does, again and again, until a success response with our transaction id comes.
 * The flood came from our address too, so its limit may silence the first tries.
 */
async function stunAnswers(scope: Scope, port: number): Promise<void> {
  const { socket } = openUdp(scope);
  const id = crypto.getRandomValues(new Uint8Array(12));
  const request = new Uint8Array([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, ...id]);
  const answered = socket.receive();
  await eventually("a STUN answer", async () => {
    await socket.send(request, { transport: "udp", hostname: "127.0.0.1", port });
    const pause = new Promise<undefined>((wake) => setTimeout(() => wake(undefined), 400));
    const got = await Promise.race([answered, pause]);
    if (got === undefined) return undefined;
    assertEquals([...got[0].subarray(0, 2), ...got[0].subarray(8, 20)], [1, 1, ...id]);
    return true;
  });
}

/** The private key in a state directory, found by its form: no name of a file is part of the contract. */
async function privateKeyIn(state: string): Promise<string> {
  for await (const { name, isFile } of Deno.readDir(state)) {
    if (!isFile) continue;
    const path = `${state}/${name}`;
    const text = (await Deno.readTextFile(path)).trim();
    if (parseKey(text) === undefined) continue;
    assertEquals(
      ((await Deno.stat(path)).mode ?? 0) & 0o777,
      0o600,
      `${path} is for its owner only`,
    );
    return text;
  }
  throw new Error(`No key file in ${state}`);
}
