/** The SOCKS5 proxy into the mesh: `--socks5 H:P`. @module */
import { messageOf, MorayError } from "../core/mod.ts";
import { fromSystem } from "../io/mod.ts";
import { dialFor, HANDSHAKE_TIMEOUT_MS, type ProxyClient, type ProxyOptions } from "./proxy.ts";
import { startProxy } from "./proxy.ts";
import { encodeSocks5Reply, SOCKS5_REPLY, Socks5Handshake } from "./socks5.ts";
import { type Socks5Event, socks5ReplyOf } from "./socks5.ts";
import { splice, writeAll } from "./splice.ts";
import { abortable, closeGently, type LocalListener, NOT_CONNECTED } from "./stream_server.ts";
import { sendAtOnce, type StreamOutcome, withDeadline } from "./stream_server.ts";

/**
 * Starts a SOCKS5 proxy. It leads to names and addresses of the mesh and nowhere else, so it is no open proxy;
 * who can reach the port can reach the mesh as this node. Throws as {@linkcode startLocalServer}.
 */
export function startSocks5(options: ProxyOptions): LocalListener {
  return startProxy("socks5", options, serve);
}

async function serve(client: ProxyClient): Promise<StreamOutcome> {
  const { conn, signal, options: { log } } = client;
  let target: Socks5Event;
  try {
    sendAtOnce(conn);
    target = await shakeHands(client);
  } catch (error) {
    log("info", `socks5: no request: ${fromSystem(error, "read").message}`);
    return NOT_CONNECTED;
  }
  if (target.kind === "rejected") {
    log("info", `socks5: refused: ${target.reason}`);
    await closeGently(conn, signal);
    return NOT_CONNECTED;
  }
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

/** Reads until the handshake has ended. Rejects if the client leaves or takes too long. */
async function shakeHands({ conn, signal, options }: ProxyClient): Promise<Socks5Event> {
  const ms = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS;
  const handshake = new Socks5Handshake();
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
