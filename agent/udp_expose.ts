/** Mesh UDP ports that lead to local services: `--expose MESHPORT:HOST:PORT/udp`. @module */
import { familyOf, formatSocketAddress, messageOf, type SocketAddress } from "../core/mod.ts";
import {
  DatagramFlows,
  type DatagramServer,
  type Flow,
  type FlowOptions,
} from "./datagram_server.ts";
import { LocalDatagrams } from "./local_datagrams.ts";
import { DatagramTooLong, type Network } from "./network.ts";
import type { Log } from "./options.ts";
import { resolveHost } from "./resolve_host.ts";

/** What is exposed. */
export interface UdpExposeRule {
  /** Port inside the mesh, 1 to 65535. */
  readonly meshPort: number;
  /** Local service: name or literal. */
  readonly hostname: string;
  /** Local service's port. */
  readonly port: number;
}

/** What {@linkcode startUdpExpose} needs besides the rule. */
export interface UdpExposeOptions extends FlowOptions {
  /** The mesh. */
  readonly network: Network;
  /** One line for the first of each kind of failure. */
  readonly log: Log;
}

/** Datagrams of a flow that wait for the service's name to be resolved. One more is dropped. */
const EARLY_MAX = 16;

interface ExposeFlow extends Flow {
  /** Sends a peer's datagram to the service. */
  send(payload: Uint8Array): void;
}

/**
 * Receives on a mesh port and sends each peer's datagrams to a local service, from a socket of the peer's own, to which only the service
 * may answer. A name is resolved for each peer, and its first address taken. Throws `portInUse` or `limit`.
 */
export function startUdpExpose(
  { meshPort, hostname, port }: UdpExposeRule,
  { network, log, ...limits }: UdpExposeOptions,
): DatagramServer {
  const flows = new DatagramFlows<ExposeFlow>({ name: "expose", log, ...limits });
  const { counts } = flows;
  const where = formatSocketAddress({ hostname, port });

  function lose(kind: "dropped" | "tooLong" | "failed", error: unknown): void {
    if (counts[kind]++ === 0) {
      log("warn", `expose: ${messageOf(error)}`, { meshPort, service: where });
    }
  }

  function answer(client: SocketAddress, payload: Uint8Array): void {
    counts.datagramsIn++;
    counts.bytesIn += payload.length;
    mesh.send(payload, client).catch((error: unknown) => {
      lose(error instanceof DatagramTooLong ? "tooLong" : "dropped", error);
    });
  }

  function open(key: string, client: SocketAddress): ExposeFlow {
    const early: Uint8Array[] = [];
    let local: LocalDatagrams | undefined;
    let closed = false;
    let service: SocketAddress | undefined;
    const send = (payload: Uint8Array): void => {
      if (local === undefined || service === undefined) {
        if (early.length < EARLY_MAX) early.push(payload);
        else counts.dropped++;
        return;
      }
      counts.datagramsOut++;
      counts.bytesOut += payload.length;
      local.send(payload, service);
    };
    const begin = async (): Promise<void> => {
      // As the system's resolver orders them; `localhost` has an IPv4 address everywhere, and services listen there first.
      const [first = hostname] = hostname.toLowerCase() === "localhost"
        ? ["127.0.0.1"]
        : await resolveHost(hostname);
      if (closed) return;
      const to = { hostname: first, port };
      local = new LocalDatagrams({
        listen: { hostname: nearEnd(first), port: 0 },
        take(payload, from): void {
          if (from.port !== port || from.hostname !== first) {
            counts.strangers++;
            return;
          }
          flows.touch(key);
          answer(client, payload);
        },
      });
      service = to;
      early.splice(0).forEach(send);
    };
    const beginning = begin().catch((error: unknown) => {
      lose("failed", error);
      flows.end(key);
    });
    return {
      send,
      async close(): Promise<void> {
        closed = true;
        await beginning;
        counts.dropped += local?.dropped ?? 0;
        await local?.close();
      },
    };
  }

  const mesh = network.openDatagrams(meshPort, {
    datagram(payload, from): void {
      const key = formatSocketAddress(from);
      // Part of a larger buffer, and maybe kept until a name is resolved.
      flows.use(key, () => open(key, from))?.send(payload.slice());
    },
    refused(): void {
      counts.refused++;
    },
    closed: (error) => log("warn", `expose: ${messageOf(error)}`, { meshPort }),
  });
  let stopped: Promise<void> | undefined;
  return {
    get counters() {
      return flows.counters;
    },
    stop(): Promise<void> {
      mesh.close();
      return stopped ??= flows.stop();
    },
  };
}

/** Where a socket that talks with a service is bound: what is on this host is reached from this host only. */
function nearEnd(hostname: string): string {
  if (familyOf(hostname) === 4) return hostname.startsWith("127.") ? "127.0.0.1" : "0.0.0.0";
  return hostname === "::1" ? "::1" : "::";
}
