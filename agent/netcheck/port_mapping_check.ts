/** Asks the gateways for a port, as a node would, and gives it back. @module */
import { messageOf } from "../../core/mod.ts";
import type { Log } from "../options.ts";
import { PortMapper } from "../port_mapper.ts";
import type { PortMappingStatus } from "../status.ts";
import type { PortMappingReport } from "./report.ts";

/** How long the gateways may take. Whoever speaks PCP or NAT-PMP answers within milliseconds; UPnP is searched for after 1.5 s. */
const WAIT_MS = 5_000;
/** How often the mapper is looked at. */
const LOOK_MS = 100;
/** How long the deletion may take. */
const GOODBYE_MS = 800;

/** Returns what each gateway offers: empty where no gateway is known. Rejects only when aborted. */
export async function checkPortMapping(
  { log, signal }: { readonly log: Log; readonly signal: AbortSignal },
): Promise<readonly PortMappingReport[]> {
  signal.throwIfAborted();
  let socket: Deno.DatagramConn;
  try {
    // A port of our own, so that what is mapped for a moment leads to nobody else.
    socket = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
  } catch (error) {
    log("debug", `port mapping: ${messageOf(error)}`);
    return [];
  }
  const { port } = socket.addr as Deno.NetAddr;
  const mapper = new PortMapper({ port, log, onOffer: () => {} });
  try {
    const until = performance.now() + WAIT_MS;
    while (performance.now() < until && mapper.status.some(({ protocol }) => protocol === null)) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      signal.throwIfAborted();
    }
    return mapper.status.map(reportOf);
  } finally {
    await mapper.stop(GOODBYE_MS);
    socket.close();
  }
}

function reportOf(
  { family, protocol, gateway, external, offered, reason }: PortMappingStatus,
): PortMappingReport {
  const asked = family === 6 ? "pcp" : "pcp, nat-pmp, upnp";
  return {
    protocol: protocol ?? asked,
    gateway,
    external: offered ? external : null,
    reason: reason === "asking" ? "no answer" : reason,
  };
}
