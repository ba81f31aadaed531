/** The cases that a node's UDP ports are held to, held against Deno's own: what they ask for is what Deno does. */
import { DATAGRAM_CASES, type DatagramsUnderTest } from "../support/datagram_cases.ts";

for (const hostname of ["127.0.0.1", "::1"]) {
  const open = (port: number): Deno.DatagramConn =>
    Deno.listenDatagram({ transport: "udp", hostname, port });
  const net: DatagramsUnderTest = {
    near: (port = 0) => open(port),
    far: () => open(0),
    farAddress: (port) => ({ transport: "udp", hostname, port }),
    // 65,535 bytes less the headers that count: UDP's, and IPv4's.
    longest: hostname === "::1" ? 65_527 : 65_507,
  };
  for (const { name, run } of DATAGRAM_CASES) {
    Deno.test(`Deno's UDP on ${hostname}: ${name}`, () => run(net));
  }
}
