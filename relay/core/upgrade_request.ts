/**
 * The request that makes an HTTP connection a WebSocket of TURN (RFC 6455 section 4): `GET /turn` with the subprotocol `turn`.
 *
 * @module
 */
import { formatBase64 } from "../../core/mod.ts";
import { sha1 } from "../../traversal/mod.ts";

/** Longest head of a request that is read. */
export const HEAD_BYTES_MAX = 8192;
/** The path of TURN. */
export const TURN_PATH = "/turn";
/** The subprotocol of TURN. */
export const TURN_SUBPROTOCOL = "turn";

const ACCEPT_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** What a request is answered with. */
export interface UpgradeAnswer {
  /** Whether a WebSocket follows the answer. */
  readonly isUpgraded: boolean;
  /** The answer as bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Where the head of a request ends in `bytes`; `undefined` if it has not come whole. */
export function headEnd(bytes: Uint8Array): number | undefined {
  for (let at = 3; at < bytes.length; at++) {
    const isEnd = bytes[at] === 10 && bytes[at - 1] === 13 && bytes[at - 2] === 10 &&
      bytes[at - 3] === 13;
    if (isEnd) return at + 1;
  }
  return undefined;
}

/** Answers the head of a request, whatever its bytes are. */
export function answerUpgrade(head: Uint8Array): UpgradeAnswer {
  const [first = "", ...lines] = new TextDecoder().decode(head).split("\r\n");
  const match = /^([A-Z]{1,16}) (\/[^ ]*) HTTP\/1\.[01]$/.exec(first);
  if (match === null) return refuse("400 Bad Request");
  const [, method, target = ""] = match;
  const path = target.split("?")[0];
  if (path === "/health" && method === "GET") return refuse("200 OK", "ok\n");
  if (path !== TURN_PATH) return refuse("404 Not Found");
  if (method !== "GET") return refuse("405 Method Not Allowed");
  const headers = headersOf(lines);
  const key = headers.get("sec-websocket-key") ?? "";
  const isUpgrade = hasToken(headers.get("upgrade"), "websocket") &&
    hasToken(headers.get("connection"), "upgrade");
  if (!isUpgrade) return refuse("426 Upgrade Required", "", ["Upgrade: websocket"]);
  if (headers.get("sec-websocket-version") !== "13") {
    return refuse("426 Upgrade Required", "", ["Sec-WebSocket-Version: 13"]);
  }
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) return refuse("400 Bad Request");
  if (!hasToken(headers.get("sec-websocket-protocol"), TURN_SUBPROTOCOL)) {
    return refuse("400 Bad Request", `the subprotocol is ${TURN_SUBPROTOCOL}\n`);
  }
  return {
    isUpgraded: true,
    bytes: encodeLines([
      "HTTP/1.1 101 Switching Protocols",
      "Upgrade: websocket",
      "Connection: Upgrade",
      `Sec-WebSocket-Accept: ${acceptOf(key)}`,
      `Sec-WebSocket-Protocol: ${TURN_SUBPROTOCOL}`,
    ]),
  };
}

/** What proves to a client that a server of WebSockets has read its key. */
function acceptOf(key: string): string {
  return formatBase64(sha1(new TextEncoder().encode(key + ACCEPT_GUID)));
}

/** The fields by name in lower case; of several with one name, all with commas between. */
function headersOf(lines: readonly string[]): ReadonlyMap<string, string> {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const known = headers.get(name);
    headers.set(name, known === undefined ? value : `${known},${value}`);
  }
  return headers;
}

function hasToken(value: string | undefined, token: string): boolean {
  return (value ?? "").split(",").some((word) => word.trim().toLowerCase() === token);
}

function refuse(status: string, body = "", headers: readonly string[] = []): UpgradeAnswer {
  const lines = [
    `HTTP/1.1 ${status}`,
    ...headers,
    "Connection: close",
    "Content-Type: text/plain",
    `Content-Length: ${body.length}`,
  ];
  return { isUpgraded: false, bytes: encodeLines(lines, body) };
}

function encodeLines(lines: readonly string[], body = ""): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n${body}`);
}
