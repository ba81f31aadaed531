/**
 * Nobody who cannot decrypt steers a path: real processes behind NATs that let everybody in, and an attacker who sees
 * their packets and sends what he likes from where he likes. Each attack must arrive, and must change nothing.
 */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { parseSocketAddress, type SocketAddress } from "../../core/mod.ts";
import {
  decodeStun,
  encodeStun,
  encodeXorAddress,
  type StunMessage,
  XOR_MAPPED_ADDRESS,
} from "../../traversal/mod.ts";
import { Capture, type CapturedDatagram, payloadKind } from "../support/capture.ts";
import { type Forged, icmpUnreachable, sendForged, udpPacket } from "../support/forge.ts";
import { Dice } from "../support/hostile.ts";
import type { LabNode } from "../support/nat_mesh.ts";
import { wallMs } from "../support/path_watch.ts";
import { openScene, type Scene } from "../support/scene.ts";
import { say } from "../support/say.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";

/** Lets everybody's packets in. */
const OPEN = "fullcone,delay=10ms,rate=20mbit";
const NEEDS = ["full", "natlab", "tcpdump"] as const;
/** Where an attacker would like traffic to go. */
const LURE: SocketAddress = { hostname: "198.51.100.66", port: 6_666 };
const EVIL_PORT = 41_820;
/** Packets up to here are captured whole: handshakes, keepalives, probes, echoes. */
const WHOLE_BYTES = 200;
const SNAP_BYTES = 300;
const SOME = 40;
/** How long after an attack its effects would show: longer than the trust in a path lasts. */
const AFTERMATH_MS = 8_000;
const BACK_MS_MAX = 2_000;
const RESPONSES_MS_MAX = 30_000;

/** A scene with an attacker on host `evil` and eyes at both ends. */
interface Crime extends Scene {
  readonly seen: { readonly colony: Capture; readonly agent: Capture };
  /** Where the colony and the agent are reached from outside. */
  readonly outside: { readonly colony: SocketAddress; readonly agent: SocketAddress };
  readonly evil: SocketAddress;
}

async function openCrime(scope: Scope, sites: readonly string[] = []): Promise<Crime> {
  const seen: Capture[] = [];
  const scene = await openScene(scope, {
    colony: OPEN,
    agent: OPEN,
    sites,
    servers: ["evil"],
    prepare: async (lab) => {
      for (const host of ["c1", "a1"]) {
        const place = { namespace: lab.namespace(host), device: "eth0", bytes: SNAP_BYTES };
        seen.push(scope.use(await Capture.start(place)));
      }
    },
  });
  const [colony, agent] = seen;
  assert(colony !== undefined && agent !== undefined);
  return {
    ...scene,
    seen: { colony, agent },
    outside: {
      colony: await remoteOf(scene.agent, "colony"),
      agent: await remoteOf(scene.colony, "walker"),
    },
    evil: { hostname: scene.lab.address("evil"), port: EVIL_PORT },
  };
}

e2e("spoofed STUN answers change nothing", { needs: NEEDS, timeoutMs: 120_000 }, async (scope) => {
  const crime = await openCrime(scope);
  const { seen, outside } = crime;
  const answers = await seen.agent.until(
    1,
    ({ payload, targetPort }) => answerIn(payload) && targetPort === outside.agent.port,
  );
  const dice = new Dice(5);
  const forged = answers.flatMap(({ sourceIp, sourcePort, payload }): Forged[] => {
    const source = { hostname: sourceIp, port: sourcePort };
    const message = decodeStun(payload);
    assert(message !== undefined);
    // The answer to a question that was answered, and answers to questions that nobody asked.
    const ids = [message.transactionId, ...Array.from({ length: SOME }, () => dice.bytes(12))];
    return ids.map((id) => ({ source, target: outside.agent, payload: lured(message, id) }));
  });
  await attack(scope, crime, { forged, at: "agent" });
});

e2e(
  "replayed handshakes and data from elsewhere change nothing",
  { needs: NEEDS, timeoutMs: 120_000 },
  async (scope) => {
    const crime = await openCrime(scope);
    const { seen, outside, evil } = crime;
    const heard = {
      colony: recorded(await seen.colony.datagrams(), outside.agent.hostname),
      agent: recorded(await seen.agent.datagrams(), outside.colony.hostname),
    };
    const kinds = [...heard.colony, ...heard.agent].map(({ payload }) => payloadKind(payload));
    for (const kind of ["initiation", "response", "data"] as const) {
      assert(kinds.includes(kind), `the attacker has seen a packet of kind ${kind}`);
    }
    for (const at of ["colony", "agent"] as const) {
      const forged = heard[at].flatMap(({ payload }) =>
        [evil, LURE].map((source) => ({ source, target: outside[at], payload }))
      );
      await attack(scope, crime, { forged, at });
    }
  },
);

e2e(
  "packets of a third member and damaged ones move nobody's path",
  { needs: NEEDS, timeoutMs: 150_000 },
  async (scope) => {
    const crime = await openCrime(scope, [`b=${OPEN}`]);
    const { world, seen, outside, evil, colony } = crime;
    const third = await world.start("agent", { mesh: "reef", host: "b1", name: "third" });
    await eventually(
      "the third member to reach the colony",
      async () => await third.echo("colony") === undefined ? undefined : true,
      { timeoutMs: RESPONSES_MS_MAX },
    );
    const thirdOutside = await remoteOf(colony, "third");
    const all = await seen.colony.datagrams();
    const data = (from: SocketAddress): Uint8Array[] =>
      recorded(all, from.hostname).map(({ payload }) => payload)
        .filter((payload) => payloadKind(payload) === "data");
    const [victims, own] = [data(outside.agent), data(thirdOutside)];
    const [victim] = victims;
    assert(victim !== undefined && own.length > 0);
    const payloads = [
      // Valid packets of another session, given out as the victim's.
      ...own.map((payload) => withReceiver(payload, victim.subarray(4, 8))),
      // The victim's own, as if they were new.
      ...victims.map((payload) => withCounter(payload, 1n << 40n)),
      ...own,
    ];
    const forged = payloads.flatMap((payload) =>
      [evil, thirdOutside].map((source) => ({ source, target: outside.colony, payload }))
    );
    await attack(scope, crime, { forged, at: "colony" });
    assertEquals(await remoteOf(colony, "third"), thirdOutside);
  },
);

e2e(
  "forged ICMP errors neither move nor narrow a path",
  { needs: NEEDS, timeoutMs: 120_000 },
  async (scope) => {
    const crime = await openCrime(scope);
    const { lab, outside, agent } = crime;
    const icmp = scope.use(
      lab.spawn("a1", ["tcpdump", "-Z", "root", "-l", "-n", "-i", "eth0", "icmp"]),
    );
    await icmp.line(/listening on/);
    const mtu = (await agent.path("colony"))?.mtu;
    const about = { source: outside.agent, target: outside.colony, payload: new Uint8Array(100) };
    // A router that nobody knows.
    const from = "198.51.100.77";
    const packets = Array.from(
      { length: SOME },
      (_, i) =>
        icmpUnreachable(about, i % 2 === 0 ? { from, code: 3 } : { from, code: 4, mtu: 68 + i }),
    );
    const before = await snapshot(crime);
    const since = wallMs();
    await sendForged(scope, { lab, host: "evil", packets });
    await eventually(
      "the forged errors to arrive",
      () =>
        icmp.log.split("\n").filter((line) => / ICMP /.test(line)).length >= SOME
          ? true
          : undefined,
    );
    await unchanged(crime, { before, since });
    const after = (await agent.path("colony"))?.mtu ?? 0;
    assert(after >= (mtu ?? 0), `packets of ${mtu} bytes before, of ${after} after`);
  },
);

/** Sends forged datagrams, sees them arrive at an end, and finds everything as it was. */
async function attack(
  scope: Scope,
  crime: Crime,
  { forged, at }: { readonly forged: readonly Forged[]; readonly at: "colony" | "agent" },
): Promise<void> {
  assert(forged.length > 0);
  const { lab, seen } = crime;
  const key = (source: string, payload: Uint8Array): string => `${source} ${payload.toHex()}`;
  const sent = new Set(forged.map(({ source, payload }) => key(source.hostname, payload)));
  const before = await snapshot(crime);
  const since = wallMs();
  await sendForged(scope, { lab, host: "evil", packets: forged.map(udpPacket) });
  await eventually(`${sent.size} forged datagrams at the ${at}`, async () => {
    const arrived = (await seen[at].datagrams()).map(({ sourceIp, payload }) =>
      key(sourceIp, payload)
    );
    return sent.isSubsetOf(new Set(arrived)) ? true : undefined;
  });
  say(`${forged.length} forged datagrams arrived at the ${at}`);
  await unchanged(crime, { before, since });
}

interface Snapshot {
  readonly endpoints: readonly (readonly string[])[];
  readonly remotes: readonly SocketAddress[];
}

async function snapshot({ colony, agent }: Scene): Promise<Snapshot> {
  const statuses = [await colony.status(), await agent.status()];
  return {
    endpoints: statuses.map(({ node }) => [...node.endpoints].sort()),
    remotes: [await remoteOf(colony, "walker"), await remoteOf(agent, "colony")],
  };
}

/** Watches until the effects would show: paths, candidates and streams must be what they were. */
async function unchanged(
  crime: Crime,
  { before, since }: { readonly before: Snapshot; readonly since: number },
): Promise<void> {
  const { watch } = crime;
  const seen = await watch.resumed(since + AFTERMATH_MS, {
    timeoutMs: AFTERMATH_MS + BACK_MS_MAX,
  });
  assert(Math.max(...Object.values(seen)) < BACK_MS_MAX, JSON.stringify(seen));
  assertEquals(watch.broken, undefined);
  assertEquals(await snapshot(crime), before);
  assertEquals(
    { colony: watch.changesSince("colony", since), agent: watch.changesSince("agent", since) },
    { colony: 0, agent: 0 },
    watch.story(since),
  );
}

async function remoteOf(node: LabNode, peer: string): Promise<SocketAddress> {
  const path = await node.path(peer);
  const remote = parseSocketAddress(path?.remote ?? "");
  assert(path?.kind === "direct" && remote !== undefined, `a direct path to ${peer}`);
  return remote;
}

/** WireGuard's packets from an address that were captured whole; of the data some are enough. */
function recorded(all: readonly CapturedDatagram[], from: string): readonly CapturedDatagram[] {
  const whole = all.filter(({ sourceIp, payload }) =>
    sourceIp === from && payload.length <= WHOLE_BYTES
  );
  const of = (...kinds: string[]): CapturedDatagram[] =>
    whole.filter(({ payload }) => kinds.includes(payloadKind(payload)));
  return [...of("initiation", "response"), ...of("data").slice(-SOME)];
}

function answerIn(payload: Uint8Array): boolean {
  return payloadKind(payload) === "stun" && decodeStun(payload)?.class === "success";
}

/** An answer with another address in it. */
function lured(answer: StunMessage, transactionId: Uint8Array): Uint8Array {
  const value = encodeXorAddress(LURE, transactionId);
  assert(value !== undefined);
  const attributes = answer.attributes.map((one) =>
    one.type === XOR_MAPPED_ADDRESS ? { ...one, value } : one
  );
  return encodeStun({ ...answer, transactionId, attributes }, { fingerprint: true });
}

function withReceiver(data: Uint8Array, receiver: Uint8Array): Uint8Array {
  const copy = data.slice();
  copy.set(receiver, 4);
  return copy;
}

function withCounter(data: Uint8Array, more: bigint): Uint8Array {
  const copy = data.slice();
  const view = new DataView(copy.buffer);
  view.setBigUint64(8, view.getBigUint64(8, true) + more, true);
  return copy;
}
