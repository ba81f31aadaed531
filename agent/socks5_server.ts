/** The SOCKS5 proxy into the mesh: `--socks5 H:P`. @module */
import { canonicalIp, messageOf, MorayError } from "../core/mod.ts";
import { fromSystem } from "../io/mod.ts";
import { dialFor, HANDSHAKE_TIMEOUT_MS, type ProxyClient, type ProxyOptions } from "./proxy.ts";
import { startProxy } from "./proxy.ts";
import type { ProxyCredentials } from "./options.ts";
import { encodeSocks5Reply, SOCKS5_REPLY } from "./socks5.ts";
import { type Socks5Event, Socks5Handshake, socks5ReplyOf } from "./socks5.ts";
import { type Association, type AssociationCounters, Socks5Associations } from "./socks5_udp.ts";
import { abortStream, splice, writeAll } from "./splice.ts";
import { abortable, closeGently, type LocalListener, NOT_CONNECTED } from "./stream_server.ts";
import { sendAtOnce, type StreamOutcome, withDeadline } from "./stream_server.ts";

/** What a SOCKS5 proxy is started with. */
export interface Socks5Options extends ProxyOptions {
  /** Who may use it. Absent: whoever reaches the port. */
  readonly credentials?: ProxyCredentials;
}

/**
 * Starts a SOCKS5 proxy. It leads to names and addresses of the mesh and nowhere else, so it is no open proxy;
 * who can reach the port, and knows the credentials if there are any, can reach the mesh as this node. Throws as {@linkcode startLocalServer}.
 */
export function startSocks5(options: Socks5Options): Socks5Proxy {
  const { credentials, network, log } = options;
  const associations = new Socks5Associations({ network, log, random: Math.random });
  const proxy = startProxy(
    "socks5",
    options,
    (client) => serve(client, { credentials, associations }),
  );
  return {
    address: proxy.address,
    get counters() {
      return proxy.counters;
    },
    get associations() {
      return associations.counters;
    },
    stop: () => proxy.stop(),
  };
}

/** A running SOCKS5 proxy. */
export interface Socks5Proxy extends LocalListener {
  /** What happened in UDP associations since the start. */
  readonly associations: AssociationCounters;
}

async function serve(
  client: ProxyClient,
  { credentials, associations }: {
    readonly credentials: ProxyCredentials | undefined;
    readonly associations: Socks5Associations;
  },
): Promise<StreamOutcome> {
  const { conn, signal, options: { log } } = client;
  let target: Socks5Event;
  try {
    sendAtOnce(conn);
    target = await shakeHands(client, new Socks5Handshake(credentials));
  } catch (error) {
    log("info", `socks5: no request: ${fromSystem(error, "read").message}`);
    return NOT_CONNECTED;
  }
  if (target.kind === "rejected") {
    log("info", `socks5: refused: ${target.reason}`);
    await closeGently(conn, signal);
    return NOT_CONNECTED;
  }
  if (target.kind === "associate") return await associate(client, target.port, associations);
  const { host, port, rest } = target;
  let replied = false;
  try {
    using tunnel = await dialFor(client, { host, port });
    replied = true;
    await writeAll(conn, encodeSocks5Reply(SOCKS5_REPLY.succeeded, tunnel.local));
    await writeAll(tunnel, rest);
    const { aToB, bToA, end } = await splice(conn, tunnel, { signal });
    const [sent, received] = [rest.length + aToB, bToA];
    log("debug", "socks5: connection ended", { host, port, sent, received, end });
    return { connected: true, bytesOut: sent, bytesIn: received };
  } catch (error) {
    log("info", `socks5: no connection: ${messageOf(error)}`, { host, port });
    const code = error instanceof MorayError ? error.code : "internal";
    if (!replied) {
      await writeAll(conn, encodeSocks5Reply(socks5ReplyOf(code))).catch(() => {});
      await closeGently(conn, signal);
    }
    return NOT_CONNECTED;
  }
}

/** Carries a client's datagrams until its connection ends. */
async function associate(
  { conn, signal, options: { log } }: ProxyClient,
  port: number,
  associations: Socks5Associations,
): Promise<StreamOutcome> {
  const { hostname } = conn.remoteAddr;
  let association: Association;
  try {
    const near = canonicalIp(conn.localAddr.hostname) ?? conn.localAddr.hostname;
    const from = canonicalIp(hostname) ?? hostname;
    association = associations.open({ hostname: from, port }, near);
  } catch (error) {
    log("info", `socks5: no association: ${messageOf(error)}`);
    await writeAll(conn, encodeSocks5Reply(SOCKS5_REPLY.generalFailure)).catch(() => {});
    await closeGently(conn, signal);
    return NOT_CONNECTED;
  }
  try {
    await writeAll(conn, encodeSocks5Reply(SOCKS5_REPLY.succeeded, association.address));
    // Nothing more is said on it; its end is the association's (RFC 1928 section 7).
    const buffer = new Uint8Array(256);
    while (await abortable(conn.read(buffer), signal) !== null);
    conn.close();
  } catch {
    // It is over either way.
    abortStream(conn);
  } finally {
    await association.close();
  }
  return { connected: true, bytesOut: 0, bytesIn: 0 };
}

/** Reads until the handshake has ended. Rejects if the client leaves or takes too long. */
async function shakeHands(
  { conn, signal, options }: ProxyClient,
  handshake: Socks5Handshake,
): Promise<Socks5Event> {
  const ms = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS;
  const buffer = new Uint8Array(4096);
  return await withDeadline({ signal, ms, what: "handshake" }, async (deadline) => {
    while (true) {
      const n = await abortable(conn.read(buffer), deadline);
      if (n === null) throw new MorayError("closed", "The client left during the handshake");
      handshake.handleInput(buffer.subarray(0, n));
      for (let out; (out = handshake.pollTransmit()) !== undefined;) {
        await abortable(writeAll(conn, out), deadline);
      }
      const event = handshake.pollEvent();
      if (event !== undefined) return event;
    }
  });
}
