/** The cases that a node's connections are held to, held against Deno's own: what they ask for is what Deno does. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { NET_CASES, type NetUnderTest } from "../support/net_cases.ts";

const hostname = "127.0.0.1";

for (const { name, run } of NET_CASES) {
  Deno.test(`Deno's TCP: ${name}`, async () => {
    const unused = Deno.listen({ hostname, port: 0 });
    const { port: unusedPort } = unused.addr;
    unused.close();
    const net: NetUnderTest = {
      listen: () => Deno.listen({ hostname, port: 0 }),
      connect: (port, options = {}) => Deno.connect({ hostname, port, ...options }),
      unusedPort,
      resettable,
    };
    await run(net);
  });
}

/** Deno's own connections cannot reset, those of Node can. */
async function resettable(): Promise<{ conn: Deno.Conn; reset: () => void }> {
  using listener = Deno.listen({ hostname, port: 0 });
  const far: Socket = connect(listener.addr.port, hostname);
  far.pause();
  const [conn] = await Promise.all([listener.accept(), once(far, "connect")]);
  return { conn, reset: () => void far.resetAndDestroy() };
}
