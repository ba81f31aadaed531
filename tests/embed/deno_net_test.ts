/** The cases that a node's connections are held to, held against Deno's own: what they ask for is what Deno does. */
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
    };
    await run(net);
  });
}
