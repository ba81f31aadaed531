/** How a relay can be reached, as Discovery tells it: values that cannot be wrong, whoever they come from. Pure. @module */
import { create } from "@bufbuild/protobuf";
import { canonicalIp, parseSocketAddress, type SocketAddress } from "../../core/mod.ts";
import {
  type RelayTransport as RelayTransportMessage,
  RelayTransportSchema,
} from "../../proto/mod.ts";

/** Transports of one relay; further ones are left out. */
export const RELAY_TRANSPORTS_MAX = 8;

/** What carries TURN between a node and a relay. */
export type RelayTransportKind = "udp" | "tcp" | "tls" | "websocket";

const KINDS: readonly RelayTransportKind[] = ["udp", "tcp", "tls", "websocket"];

/** One way to reach a relay. */
export interface RelayTransport {
  /** What carries TURN. */
  readonly kind: RelayTransportKind;
  /**
   * `host:port`, names allowed. For a WebSocket its `ws://` or `wss://` URL, or a path below Discovery's own URL, which
   * begins with a slash.
   */
  readonly endpoint: string;
  /** The name that the relay's certificate is for. Absent: the endpoint's host. */
  readonly serverName?: string;
}

/** Whether a text is a relay's id or a region. */
export function isRelayName(text: string): boolean {
  return /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(text);
}

/** Returns a transport from a message; `undefined` for what nobody could use. */
export function parseRelayTransport(
  { kind: text, endpoint, serverName }: Pick<
    RelayTransportMessage,
    "kind" | "endpoint" | "serverName"
  >,
): RelayTransport | undefined {
  const kind = KINDS.find((known) => known === text);
  if (kind === undefined) return undefined;
  const valid = kind === "websocket" ? isWebsocket(endpoint) : isHostAndPort(endpoint);
  if (!valid || (serverName !== "" && !isName(serverName))) return undefined;
  return { kind, endpoint, ...(serverName !== "" && { serverName }) };
}

/** Returns a transport as a message. */
export function relayTransport(
  { kind, endpoint, serverName = "" }: RelayTransport,
): RelayTransportMessage {
  return create(RelayTransportSchema, { kind, endpoint, serverName });
}

/** The address of the first UDP transport whose host is a literal. */
export function udpAddress(transports: readonly RelayTransport[]): SocketAddress | undefined {
  for (const { kind, endpoint } of transports) {
    const address = kind === "udp" ? parseSocketAddress(endpoint) : undefined;
    if (address !== undefined) return address;
  }
  return undefined;
}

function isHostAndPort(text: string): boolean {
  const [, host = "", port = ""] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  if (Number(port) < 1 || Number(port) > 65535) return false;
  if (host.startsWith("[") && host.endsWith("]")) {
    return host.includes(":") && canonicalIp(host.slice(1, -1)) !== undefined;
  }
  return /^[\d.]+$/.test(host) ? canonicalIp(host) !== undefined : isName(host);
}

function isName(text: string): boolean {
  return /^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?$/.test(text);
}

function isWebsocket(text: string): boolean {
  if (text.length > 512) return false;
  if (/^\/[!-~]*$/.test(text)) return !text.startsWith("//");
  const url = URL.parse(text);
  return url !== null && /^wss?:$/.test(url.protocol) && url.username === "" &&
    url.password === "" && url.hash === "";
}
