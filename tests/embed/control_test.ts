/** The control service of a colony, by real nodes: addresses, names, and who is there. */
import {
  deepStrictEqual as assertEquals,
  notStrictEqual as assertNotEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { Node, type NodeOptions } from "../../agent/embed/mod.ts";
import type { MemberStatus, NodeStatus } from "../../agent/status.ts";
import { cidrContains, formatBase64, parseCidr, parseIp } from "../../core/mod.ts";
import { startDiscovery } from "../../discovery/mod.ts";
import { ControlService } from "../../proto/control.ts";
import { startEmbeddedMesh } from "../support/embedded_mesh.ts";
import { eventually } from "../support/scope.ts";

/** The status of a node that has got its address. */
function addressed(node: Node): Promise<NodeStatus & { readonly node: { meshIpv4: string } }> {
  return eventually("an IPv4 address", async () => {
    const status = await node.status();
    const { meshIpv4 } = status.node;
    return meshIpv4 === null ? undefined : { ...status, node: { ...status.node, meshIpv4 } };
  }, { timeoutMs: 10_000, everyMs: 50 });
}

/** The member of a name as a node sees it, once it is as wanted. */
function memberAt(
  node: Node,
  name: string,
  isWanted: (member: MemberStatus | undefined) => boolean,
): Promise<{ readonly member: MemberStatus | undefined }> {
  return eventually(`${name} to be as wanted`, async () => {
    const member = (await node.status()).members?.find((one) => one.name === name);
    return isWanted(member) ? { member } : undefined;
  }, { timeoutMs: 15_000, everyMs: 50 });
}

function isInside(address: string, subnet: string): boolean {
  const block = parseCidr(subnet);
  const ip = parseIp(address);
  assert(block && ip);
  return cidrContains(block, ip);
}

async function echoes(from: Node, hostname: string, to: Node): Promise<string> {
  using listener = to.listen({ port: 4000 });
  const served = listener.accept();
  using conn = await from.connect({ hostname, port: 4000 });
  using accepted = await served;
  await accepted.write(new TextEncoder().encode("here"));
  const buffer = new Uint8Array(16);
  const read = await conn.read(buffer) ?? 0;
  return new TextDecoder().decode(buffer.subarray(0, read));
}

Deno.test("agents get IPv4 addresses of their colony, which lead there and back, and names that nobody else has", async () => {
  await using mesh = await startEmbeddedMesh();
  const { colony, agent } = mesh;
  const first = await addressed(agent);
  const twin = await mesh.join({ name: "walker" });
  const second = await addressed(twin);
  assertEquals((await colony.status()).node.meshIpv4, "10.42.0.1");
  for (const { node } of [first, second]) assert(isInside(node.meshIpv4, "10.42.0.0/16"));
  assertNotEquals(first.node.meshIpv4, second.node.meshIpv4);
  assertEquals([first.node.name, first.node.askedName], ["walker", undefined]);
  assertEquals([second.node.name, second.node.askedName], ["walker-2", "walker"]);
  const { peers } = await colony.status();
  assertEquals(
    peers.map(({ name, meshIpv4 }) => [name, meshIpv4]).sort(),
    [["walker", first.node.meshIpv4], ["walker-2", second.node.meshIpv4]],
  );
  assertEquals(await echoes(colony, first.node.meshIpv4, agent), "here");
  assertEquals(await echoes(colony, "walker-2.reef.internal", twin), "here");
  assertEquals(await echoes(twin, "10.42.0.1", colony), "here");
  assertEquals((await colony.whois(second.node.meshIpv4))?.name, "walker-2");
});

Deno.test("agents hear of who comes and who goes", async () => {
  await using mesh = await startEmbeddedMesh();
  const { agent } = mesh;
  await memberAt(agent, "walker", (member) => member?.present === true);
  const other = await mesh.join({ name: "visitor" });
  const { member } = await memberAt(agent, "visitor", (member) => member?.present === true);
  assertEquals(member?.meshIpv4, (await addressed(other)).node.meshIpv4);
  await other.stop();
  await memberAt(agent, "visitor", (member) => member?.present === false);
});

Deno.test("a node keeps its address and name when it or its colony starts anew, and loses them when it is thrown out", async () => {
  const state = { colony: await Deno.makeTempDir(), agent: await Deno.makeTempDir() };
  try {
    await using stack = new AsyncDisposableStack();
    const local = { hostname: "127.0.0.1", port: 0 };
    const discovery = stack.use(
      await startDiscovery({
        listen: local,
        stunListen: [local],
        store: ":memory:",
        log: () => {},
      }),
    );
    const common = { mesh: "reef", discovery: discovery.url, portMapping: false };
    const startColony = (): Promise<Node> =>
      Node.start({
        ...common,
        role: "colony",
        open: true,
        state: state.colony,
        meshSubnet: "192.168.77.0/24",
      });
    const startAgent = (options: Partial<NodeOptions> = {}): Promise<Node> =>
      Node.start({ ...common, ...options });
    let colony = await startColony();
    let agent = await startAgent({ state: state.agent, name: "keeper" });
    const { node: before } = await addressed(agent);
    assert(isInside(before.meshIpv4, "192.168.77.0/24"));
    await agent.stop();
    agent = await startAgent({ state: state.agent, name: "keeper" });
    // It knows it before it has reached its colony again.
    assertEquals((await agent.status()).node.meshIpv4, before.meshIpv4);
    await memberAt(agent, "keeper", (member) => member?.present === true);
    await agent.stop();
    await colony.stop();
    const { mode } = await Deno.stat(`${state.colony}/addresses.json`);
    assertEquals((mode ?? 0) & 0o777, 0o600);
    colony = stack.use(await startColony());
    // The name waits for the one who had it.
    const twin = stack.use(await startAgent({ name: "keeper" }));
    assertEquals((await addressed(twin)).node.name, "keeper-2");
    await Deno.remove(`${state.agent}/mesh.json`);
    agent = stack.use(await startAgent({ state: state.agent, name: "keeper" }));
    const { node: after } = await addressed(agent);
    assertEquals([after.meshIpv4, after.name], [before.meshIpv4, "keeper"]);
    await colony.revoke((await agent.status()).node.publicKey);
    await memberAt(twin, "keeper", (member) => member === undefined);
    await memberAt(colony, "keeper", (member) => member === undefined);
  } finally {
    for (const path of Object.values(state)) await Deno.remove(path, { recursive: true });
  }
});

Deno.test("the control service knows its caller by the tunnel, and no request makes it another", async () => {
  await using mesh = await startEmbeddedMesh();
  const { agent, colony } = mesh;
  const { node } = await addressed(agent);
  const [{ publicKey } = { publicKey: "" }] = await colony.peers();
  const client = createClient(
    ControlService,
    createConnectTransport({
      baseUrl: "http://colony:9000",
      useBinaryFormat: true,
      fetch: (input, init) => agent.fetch(input, init),
    }),
  );
  const ended = new AbortController();
  const header = new Headers({ "x-forwarded-for": "10.42.0.1", "forwarded": "for=10.42.0.1" });
  const asked = { name: "colony", instance: "", revision: 0n };
  for await (
    const { event } of client.watchMesh(asked, { signal: ended.signal, headers: header })
  ) {
    assert(event.case === "view");
    const own = event.value.members.find((member) => formatBase64(member.pubkey) === publicKey);
    assertEquals([own?.name, own?.ipv4], ["colony-2", node.meshIpv4]);
    break;
  }
  ended.abort();
  const missing = await agent.fetch("http://colony:9000/");
  await missing.body?.cancel();
  assertEquals(missing.status, 404);
  const large = await agent.fetch("http://colony:9000/moray.control.v1.ControlService/WatchMesh", {
    method: "POST",
    headers: { "content-type": "application/connect+proto" },
    body: new Uint8Array(100_000),
  });
  assertEquals(large.status, 413);
  await large.body?.cancel();
  // It listens inside the mesh, and nowhere else.
  await assertRejects(Deno.connect({ hostname: "127.0.0.1", port: 9000 }));
});
