/** A node's connections and listeners do what Deno's own do: the same cases, through a real tunnel. */
import { startEmbeddedMesh } from "../support/embedded_mesh.ts";
import { NET_CASES, type NetUnderTest } from "../support/net_cases.ts";

/** Nobody listens there. */
const UNUSED_PORT = 9;

Deno.test("a node's connections do what Deno's do", async (test) => {
  await using mesh = await startEmbeddedMesh();
  const net: NetUnderTest = {
    listen: () => mesh.colony.listen({ port: 0 }),
    connect: (port, options = {}) => mesh.agent.connect({ hostname: "colony", port, ...options }),
    unusedPort: UNUSED_PORT,
    resettable: async () => {
      using listener = mesh.colony.listen({ port: 0 });
      const [far, conn] = await Promise.all([
        listener.accept(),
        mesh.agent.connect({ hostname: "colony", port: listener.addr.port }),
      ]);
      return { conn, reset: () => far.abort() };
    },
  };
  for (const { name, run } of NET_CASES) await test.step(name, () => run(net));
});
