/** Local UDP ports that lead to peers: `--forward H:P:PEER:PORT/udp`. @module */
import {
  formatSocketAddress,
  messageOf,
  MorayError,
  sameAddress,
  type SocketAddress,
} from "../core/mod.ts";
import {
  DatagramFlows,
  type DatagramServer,
  type Flow,
  type FlowOptions,
} from "./datagram_server.ts";
import { openPort } from "./dynamic_port.ts";
import { LocalDatagrams } from "./local_datagrams.ts";
import { DatagramTooLong, type Network } from "./network.ts";
import type { Log } from "./options.ts";

/** What is forwarded. */
export interface UdpForwardRule {
  /** Where to receive. */
  readonly listen: SocketAddress;
  /** Node name, `<node>.<mesh>.internal` or mesh address literal. */
  readonly peer: string;
  /** Port on the peer, 1 to 65535. */
  readonly port: number;
}

/** What {@linkcode startUdpForward} needs besides the rule. */
export interface UdpForwardOptions extends FlowOptions {
  /** The mesh. */
  readonly network: Network;
  /** One line for the first of each kind of failure. */
  readonly log: Log;
  /** A number of [0, 1), by which mesh ports are chosen. */
  readonly random: () => number;
}

/** A running forward with its address. */
export interface UdpForward extends DatagramServer {
  /** Where it receives; the port is the real one where 0 was asked for. */
  readonly address: SocketAddress;
}

interface ForwardFlow extends Flow {
  /** Sends a client's datagram to the peer. */
  send(payload: Uint8Array): void;
}

/**
 * Receives on a local port and sends each client's datagrams to a peer, from a mesh port of the client's own, to which only that peer
 * may answer. The peer's name is resolved for each client, so it may appear later. Throws `portInUse`, `permission` or `usage`.
 */
export function startUdpForward(
  { listen, peer, port }: UdpForwardRule,
  { network, log, random, ...limits }: UdpForwardOptions,
): UdpForward {
  const flows = new DatagramFlows<ForwardFlow>({ name: "forward", log, ...limits });
  const { counts } = flows;

  function open(key: string, client: SocketAddress): ForwardFlow {
    const hostname = network.resolve(peer);
    if (hostname === undefined) throw new MorayError("unreachable", `No node is called ${peer}`);
    const remote = { hostname, port };
    const mesh = openPort(0, random, (chosen) =>
      network.openDatagrams(chosen, {
        datagram(payload, from): void {
          if (!sameAddress(from, remote)) {
            counts.strangers++;
            return;
          }
          flows.touch(key);
          counts.datagramsIn++;
          counts.bytesIn += payload.length;
          local.send(payload, client);
        },
        refused(): void {
          counts.refused++;
        },
      }));
    return {
      send(payload): void {
        counts.datagramsOut++;
        counts.bytesOut += payload.length;
        mesh.send(payload, remote).catch((error: unknown) => {
          const kind = error instanceof DatagramTooLong ? "tooLong" : "dropped";
          if (counts[kind]++ === 0) log("warn", `forward: ${messageOf(error)}`, { peer, port });
        });
      },
      close: () => mesh.close(),
    };
  }

  const local = new LocalDatagrams({
    listen,
    take(payload, from): void {
      const key = formatSocketAddress(from);
      flows.use(key, () => open(key, from))?.send(payload);
    },
  });
  let stopped: Promise<void> | undefined;
  return {
    address: local.address,
    get counters() {
      const { counters } = flows;
      return { ...counters, dropped: counters.dropped + local.dropped };
    },
    stop: () => stopped ??= Promise.all([local.close(), flows.stop()]).then(() => {}),
  };
}
