/** Nodes that relay for their mesh (`--offer-relay`), behind real NATs. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { Buffer } from "node:buffer";
import { connectLocalApi, type RelayOfferStatus } from "../../agent/mod.ts";
import { Capture, type CapturedDatagram, parsePcap, payloadKind } from "../support/capture.ts";
import { run } from "../support/child.ts";
import { curl } from "../support/http.ts";
import { Moray, SOURCE } from "../support/moray.ts";
import { LabNode, nodeArguments, startNatWorld } from "../support/nat_mesh.ts";
import { Lab } from "../support/natlab.ts";
import { DELAY, startWalker, startWebColony } from "../support/relayed_pair.ts";
import { e2e, eventually } from "../support/scope.ts";

const PORT = 3490;
const PAGE = "hello from behind the colony";

/** Issue 8: a revoked node is cut off everywhere within this time. */
const CUT_OFF_MS_MAX = 5000;

/** Waits until Discovery sends nodes to what a node offers. */
function offeredBy(node: LabNode): Promise<RelayOfferStatus> {
  return eventually("the node's relay to be offered", async () => {
    const { relayOffer } = await node.status();
    return relayOffer?.offered === true ? relayOffer : undefined;
  }, { timeoutMs: 30_000 });
}

e2e(
  "a node with a public address carries a pair of its mesh that finds no direct path, and nobody else",
  { needs: ["full", "natlab", "curl", "tcpdump"], timeoutMs: 180_000 },
  async (scope) => {
    const lab = scope.use(
      await Lab.up("volunteer", {
        servers: ["disco:2"],
        sites: [`c=symmetric,${DELAY}`, `a=symmetric,${DELAY}`, `v=none,${DELAY}`],
      }),
    );
    // Discovery has no relay of its own.
    const world = await startNatWorld(scope, { lab });
    const colony = await startWebColony(scope, { lab, world });
    const helper = await world.start("agent", {
      mesh: "reef",
      host: "v1",
      name: "helper",
      flags: ["--offer-relay", "--offer-relay-port", `${PORT}`],
    });
    const offer = await offeredBy(helper);
    const address = `${lab.address("v1", 4)}:${PORT}`;
    assert(offer.addresses.includes(address), offer.addresses.join());
    const capture = scope.use(
      await Capture.start({
        namespace: lab.namespace("v1"),
        device: "eth0",
        bytes: 262_144,
        filter: "",
      }),
    );
    const walker = await startWalker({ world });
    const { kind, relay } = await walker.path("colony") ?? {};
    assertEquals([kind, relay], ["relayed", offer.id]);
    const page = await run([
      ...curl({ socks5: walker.process.address("socks5"), timeoutMs: 20_000 }),
      "http://colony:8080/hello",
    ], { namespace: lab.namespace("a1") });
    assertEquals(page.stdout, `${PAGE}\n`);

    // What was carried stands in the relay's books, and was never the helper's own traffic: it has no path to the walker.
    await eventually("the helper to say what it carried", async () => {
      const { relayOffer } = await helper.status();
      const { sessions = 0, rxBytes = 0, txBytes = 0 } = relayOffer ?? {};
      return sessions >= 2 && rxBytes > PAGE.length && txBytes > PAGE.length ? true : undefined;
    }, { timeoutMs: 25_000 });
    assertEquals(await helper.peer("walker"), undefined);
    const file = await capture.stopRaw();
    assert(!Buffer.from(file).includes(PAGE));
    const atPort = parsePcap(file).filter(({ sourcePort, targetPort }) =>
      sourcePort === PORT || targetPort === PORT
    );
    const isTurn = ({ payload }: CapturedDatagram): boolean =>
      payloadKind(payload) === "stun" || (payload[0] ?? 0) >> 4 === 4;
    assert(atPort.length > 20, `${atPort.length} datagrams`);
    assert(atPort.every(isTurn));

    // Another mesh is not told of it. With its address and credentials of another secret, its nodes are refused.
    await world.start("colony", { mesh: "atoll", host: "a1" });
    const stranger = await world.start("agent", { mesh: "atoll", host: "c1", name: "stranger" });
    const seen = await stranger.status();
    assertEquals(seen.relays, []);
    assertMatch(seen.relayReason ?? "", /no relay is available now/);
    const server = lab.address("disco", 4);
    scope.use(
      await Moray.start([
        ...["discovery", "--listen", `${server}:8081`, "--store", ":memory:"],
        ...["--stun-listen", `${server}:3500`, "--relay-server", `stolen=turn:${address}`],
        ...["--relay-server-secret", "stolen=guessed"],
      ], { program: SOURCE, namespace: lab.namespace("disco"), timeoutMs: 60_000 }),
    );
    const state = scope.directory();
    const words = nodeArguments(lab, { role: "colony", mesh: "atoll", state, httpPort: 8081 });
    const process = await Moray.start(words, {
      program: SOURCE,
      namespace: lab.namespace("c1"),
      timeoutMs: 60_000,
    });
    const thief = scope.use(new LabNode({ process, state, startedAt: performance.now() }));
    await eventually("the volunteer to refuse", async () => {
      const [relay] = (await thief.status()).relays ?? [];
      return relay?.state === "failed" && /^udp: 401 /.test(relay.reason ?? "") ? true : undefined;
    }, { timeoutMs: 20_000 });

    // Who is thrown out of the mesh loses its session there too, long before the next report is due.
    const flags = ["--no-direct"];
    const guest = await world.start("agent", { mesh: "reef", host: "a1", name: "guest", flags });
    const sessions = async (): Promise<number> => (await helper.status()).relayOffer?.sessions ?? 0;
    const before = await sessions();
    const { node: { publicKey } } = await guest.status();
    await eventually("the helper to serve the guest", async () => {
      const ready = (await guest.status()).relays?.some(({ state }) => state === "ready");
      return ready === true && await sessions() > before || undefined;
    }, { timeoutMs: 30_000 });
    const served = await sessions();
    using api = await connectLocalApi(colony.state);
    assertEquals((await api.membership.revoke(publicKey)).published, true);
    await eventually("the helper to end the guest's session", async () => {
      return await sessions() < served || undefined;
    }, { timeoutMs: CUT_OFF_MS_MAX });
    assertEquals((await walker.path("colony"))?.kind, "relayed");

    // It withdraws when it leaves.
    assertEquals(await helper.process.stop(), 0);
    await eventually("the walker to know of no relay", async () => {
      const { relays: own } = await walker.status();
      return own?.every(({ state }) => state !== "ready") ? true : undefined;
    }, { timeoutMs: 20_000 });
  },
);
