/** A node's UDP ports do what Deno's own do: the same cases, through a real tunnel, from the agent to the colony and back. */
import { deepStrictEqual as assertEquals, ok as assert, rejects, throws } from "node:assert/strict";
import { DATAGRAM_CASES, type DatagramsUnderTest } from "../support/datagram_cases.ts";
import { startEmbeddedMesh } from "../support/embedded_mesh.ts";

Deno.test("a node's UDP ports do what Deno's do", async (test) => {
  await using mesh = await startEmbeddedMesh();
  const { agent, colony } = mesh;
  // Over loopback the path carries the engine's largest packet, once that is known: until then the shortest path's.
  const limitOf = async (): Promise<number> => {
    using conn = agent.listenDatagram({ port: 0 });
    const to: Deno.NetAddr = { transport: "udp", hostname: "colony", port: 9 };
    for (let before = 0;;) {
      const message = await conn.send(new Uint8Array(60_000), to).then(() => "", String);
      const limit = Number(/datagrams of (\d+) bytes$/.exec(message)?.[1]);
      if (limit === before) return limit;
      before = limit;
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
  };
  const longest = await limitOf();
  assert(longest >= 1232, `${longest} bytes`);
  const nobody: Deno.NetAddr = { transport: "udp", hostname: "nobody", port: 9 };
  const nets: Record<string, DatagramsUnderTest> = {
    "agent to colony": {
      near: (port = 0) => agent.listenDatagram({ port }),
      far: () => colony.listenDatagram({ port: 0 }),
      farAddress: (port) => ({ transport: "udp", hostname: "colony", port }),
      longest,
      nobody,
    },
    "colony to agent": {
      near: (port = 0) => colony.listenDatagram({ port }),
      far: () => agent.listenDatagram({ port: 0 }),
      farAddress: (port) => ({ transport: "udp", hostname: "walker", port }),
      longest,
      nobody: { transport: "udp", hostname: "fd00::9", port: 9 },
    },
  };
  for (const [direction, net] of Object.entries(nets)) {
    for (const { name, run } of DATAGRAM_CASES) {
      await test.step(`${direction}: ${name}`, () => run(net));
    }
  }
  await test.step("a signal closes a port", async () => {
    const aborting = new AbortController();
    const conn = agent.listenDatagram({ port: 0, signal: aborting.signal });
    const waiting = conn.receive();
    aborting.abort();
    await rejects(waiting, Deno.errors.Interrupted);
    throws(
      () => agent.listenDatagram({ port: 0, signal: aborting.signal }),
      aborting.signal.reason,
    );
  });
  await test.step("who does not read loses the newest, and it is counted", async () => {
    using far = colony.listenDatagram({ port: 0 });
    using near = agent.listenDatagram({ port: 0 });
    const to: Deno.NetAddr = { transport: "udp", hostname: "colony", port: far.addr.port };
    const payload = new Uint8Array(1000);
    for (let i = 0; far.dropped === 0 && i < 100_000; i++) {
      new DataView(payload.buffer).setUint32(0, i);
      await near.send(payload, to);
      if (i % 64 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert(far.dropped > 0);
    const [first] = await far.receive();
    assertEquals(new DataView(first.buffer, first.byteOffset).getUint32(0), 0, "the oldest stays");
  });
  await test.step("the node's end is the ports' end", async () => {
    const guest = await mesh.join({ name: "guest" });
    const conn = guest.listenDatagram({ port: 0 });
    const waiting = conn.receive();
    const ended = rejects(waiting, Deno.errors.ConnectionReset);
    await guest.stop();
    await ended;
    await rejects(conn.send(new Uint8Array(1), nobody), Deno.errors.NetworkUnreachable);
  });
});
