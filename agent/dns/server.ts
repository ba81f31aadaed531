/** A DNS server for the names of the mesh: `--dns H:P`, by UDP and by TCP (RFC 1035 section 4.2, RFC 7766). @module */
import { MorayError, type SocketAddress } from "../../core/mod.ts";
import { fromSystem } from "../../io/mod.ts";
import { LocalDatagrams } from "../local_datagrams.ts";
import type { NameTable } from "../names.ts";
import type { Log } from "../options.ts";
import { abortStream, writeAll } from "../splice.ts";
import {
  abortable,
  type LocalListener,
  NOT_CONNECTED,
  startLocalServer,
  type StreamOutcome,
  withDeadline,
} from "../stream_server.ts";
import { type DnsReply, QUERY_BYTES_MAX, replyTo } from "./reply.ts";
import { MeshZone } from "./zone.ts";

/** TCP connections at once; one more is closed and counted. */
export const DNS_CONNECTIONS_MAX = 64;
/** How long a TCP connection may be silent (RFC 7766 section 6.2.3 asks for some seconds). */
export const DNS_IDLE_MS = 10_000;
/** How often a free port for both transports is looked for. */
const PORT_TRIES = 16;

/** What a DNS server is started with. */
export interface DnsOptions {
  /** Where to listen; port 0 lets the system choose. */
  readonly listen: SocketAddress;
  /** Mesh id. */
  readonly mesh: string;
  /** What the mesh's names stand for. */
  readonly names: NameTable;
  /** Where failures go. */
  readonly log: Log;
  /** How long a TCP connection may be silent, in milliseconds. @default DNS_IDLE_MS */
  readonly idleMs?: number;
}

/** What happened since the start. */
export interface DnsCounters {
  /** Questions answered, by an empty answer too. */
  readonly answered: number;
  /** Names of the mesh that nobody has. */
  readonly noName: number;
  /** Questions about what is not the mesh's. */
  readonly refused: number;
  /** Queries that make no sense, or ask for what is not done here. */
  readonly malformed: number;
  /** Messages without a reply: no queries, or too short for one. */
  readonly ignored: number;
  /** Replies by UDP that were not sent, as too many were on their way. */
  readonly dropped: number;
  /** TCP connections beyond the limit. */
  readonly connectionsRefused: number;
}

/** A running DNS server. */
export interface DnsServer {
  /** Where it listens, by UDP and TCP; the port is the real one where 0 was asked for. */
  readonly address: SocketAddress;
  /** Counters since the start. */
  readonly counters: DnsCounters;
  /** Stops listening. Safe to call twice. */
  stop(): Promise<void>;
}

/** Starts a DNS server. Throws `portInUse`, `permission` or `usage` with the address in the message. */
export async function startDns(
  { listen, mesh, names, log, idleMs = DNS_IDLE_MS }: DnsOptions,
): Promise<DnsServer> {
  const zone = new MeshZone(mesh, names);
  const counts = { answered: 0, noName: 0, refused: 0, malformed: 0, ignored: 0 };

  function reply(query: Uint8Array): DnsReply {
    const answer = replyTo(query, zone);
    counts[answer.outcome]++;
    return answer;
  }

  const { tcp, udp } = await listenBoth(listen, {
    tcp: (at) =>
      startLocalServer({
        name: "dns",
        listen: at,
        log,
        connectionsMax: DNS_CONNECTIONS_MAX,
        graceMs: 0,
        serve: (conn, signal) =>
          converse(conn, { signal, idleMs, reply: (query) => reply(query).bytes }),
      }),
    udp: (at) => {
      const socket: LocalDatagrams = new LocalDatagrams({
        listen: at,
        take: (query, from) => {
          const { bytes } = reply(query);
          if (bytes !== undefined) socket.send(bytes, from);
        },
      });
      return socket;
    },
  });
  return {
    address: tcp.address,
    get counters() {
      return {
        ...counts,
        dropped: udp.dropped,
        connectionsRefused: tcp.counters.refused,
      };
    },
    stop: async () => {
      await Promise.all([udp.close(), tcp.stop()]);
    },
  };
}

/** Listens by both on one port. A port that the system chose for one may be taken for the other: then it chooses again. */
async function listenBoth(
  listen: SocketAddress,
  { tcp: listenTcp, udp: listenUdp }: {
    readonly tcp: (at: SocketAddress) => LocalListener;
    readonly udp: (at: SocketAddress) => LocalDatagrams;
  },
): Promise<{ readonly tcp: LocalListener; readonly udp: LocalDatagrams }> {
  for (let tries = listen.port === 0 ? PORT_TRIES : 1;; tries--) {
    const tcp = listenTcp(listen);
    try {
      return { tcp, udp: listenUdp({ ...listen, port: tcp.address.port }) };
    } catch (error) {
      await tcp.stop();
      const taken = error instanceof MorayError && error.code === "portInUse";
      if (!taken || tries <= 1) throw error;
    }
  }
}

/** Answers queries, each behind two bytes of its length, until the client leaves or is silent for too long. */
async function converse(
  conn: Deno.TcpConn,
  { signal, idleMs, reply }: {
    readonly signal: AbortSignal;
    readonly idleMs: number;
    readonly reply: (query: Uint8Array) => Uint8Array | undefined;
  },
): Promise<StreamOutcome> {
  let received = 0;
  let sent = 0;
  const buffer = new Uint8Array(2 + QUERY_BYTES_MAX);
  let filled = 0;
  try {
    while (true) {
      const length = 2 + (((buffer[0] ?? 0) << 8) | (buffer[1] ?? 0));
      // A longer query is none of the DNS's that is read here.
      if (filled >= 2 && length > buffer.length) break;
      if (filled >= 2 && filled >= length) {
        const bytes = reply(buffer.slice(2, length));
        buffer.copyWithin(0, length, filled);
        filled -= length;
        if (bytes === undefined) break;
        const framed = new Uint8Array(2 + bytes.length);
        new DataView(framed.buffer).setUint16(0, bytes.length);
        framed.set(bytes, 2);
        await withDeadline(
          { signal, ms: idleMs, what: "dns" },
          (late) => abortable(writeAll(conn, framed), late),
        );
        sent += framed.length;
        continue;
      }
      const read = await withDeadline(
        { signal, ms: idleMs, what: "dns" },
        (late) => abortable(conn.read(buffer.subarray(filled)), late),
      );
      if (read === null) break;
      filled += read;
      received += read;
    }
  } catch (error) {
    // Silence, a reset, our own end.
    void fromSystem(error, "answer a query");
    abortStream(conn);
    return sent > 0 ? { connected: true, bytesOut: received, bytesIn: sent } : NOT_CONNECTED;
  }
  conn.close();
  return { connected: true, bytesOut: received, bytesIn: sent };
}
