/** WebSockets of somebody else's HTTP server, such as Discovery's. @module */
import { canonicalIp, type SocketAddress } from "../../core/mod.ts";
import { TURN_SUBPROTOCOL } from "../core/upgrade_request.ts";
import type { StreamCarrier, StreamClient, StreamDesk } from "./stream_desk.ts";

/** What the runtime may hold for one client before the next chunk waits. */
const BUFFERED_BYTES_MAX = 64 << 10;
/** How often that is looked at: nobody tells when it has gone. */
const BUFFERED_CHECK_MS = 10;

/** Makes a request a WebSocket of TURN; a request for anything else is refused. */
export function serveUpgrade(
  desk: StreamDesk,
  request: Request,
  remote: SocketAddress,
): Response {
  const isUpgrade = request.headers.get("upgrade")?.toLowerCase() === "websocket";
  const protocols = (request.headers.get("sec-websocket-protocol") ?? "").split(",");
  if (!isUpgrade || !protocols.some((name) => name.trim().toLowerCase() === TURN_SUBPROTOCOL)) {
    return new Response(`a WebSocket with the subprotocol ${TURN_SUBPROTOCOL}\n`, { status: 426 });
  }
  const { socket, response } = Deno.upgradeWebSocket(request, { protocol: TURN_SUBPROTOCOL });
  const source = { hostname: canonicalIp(remote.hostname) ?? remote.hostname, port: remote.port };
  carry(desk, socket, source);
  return response;
}

function carry(desk: StreamDesk, socket: WebSocket, source: SocketAddress): void {
  socket.binaryType = "arraybuffer";
  const client: StreamClient = desk.admit("websocket", source, new WebSocketCarrier(socket));
  socket.onmessage = ({ data }: MessageEvent<unknown>): void => {
    if (data instanceof ArrayBuffer) client.receive(new Uint8Array(data));
    else client.close();
  };
  socket.onclose = (): void => client.close();
  // An error is followed by the end.
  socket.onerror = (event): void => event.preventDefault();
}

class WebSocketCarrier implements StreamCarrier {
  readonly #socket: WebSocket;

  constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  async send(bytes: Uint8Array): Promise<void> {
    if (this.#socket.readyState !== WebSocket.OPEN) throw new TypeError("the WebSocket is closed");
    this.#socket.send(bytes as Uint8Array<ArrayBuffer>);
    while (this.#socket.bufferedAmount > BUFFERED_BYTES_MAX) {
      await new Promise((wake) => setTimeout(wake, BUFFERED_CHECK_MS));
      if (this.#socket.readyState !== WebSocket.OPEN) return;
    }
  }

  close(): void {
    const { readyState } = this.#socket;
    if (readyState === WebSocket.OPEN || readyState === WebSocket.CONNECTING) this.#socket.close();
  }
}
