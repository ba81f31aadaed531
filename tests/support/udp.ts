/** A UDP socket of a test's own, closed with its scope. @module */
import type { Scope } from "./scope.ts";

/** Opens a socket on a port that the system chooses. */
export function openUdp(
  scope: Scope,
  hostname = "127.0.0.1",
): { readonly socket: Deno.DatagramConn; readonly port: number } {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  scope.defer(() => socket.close());
  return { socket, port: (socket.addr as Deno.NetAddr).port };
}
