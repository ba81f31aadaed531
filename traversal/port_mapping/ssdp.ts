/**
 * The search for UPnP gateways (UPnP Device Architecture 1.1 section 1.3): HTTP's first lines over UDP.
 *
 * @module
 */
import { canonicalIp, type SocketAddress } from "../../core/mod.ts";

/** Where searches go. */
export const SSDP_ADDRESS: SocketAddress = { hostname: "239.255.255.250", port: 1900 };
/** What is searched for. A gateway of version 2 answers to version 1 as well (section 1.3.2); a careless one does not. */
export const SSDP_TARGETS: readonly string[] = [
  "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
  "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
];

/** Where a gateway's description is. */
export interface HttpLocation {
  /** Host and port. */
  readonly server: SocketAddress;
  /** Path and query, from the first slash. */
  readonly path: string;
}

const ANSWER_BYTES_MAX = 2048;
const PATH_CHARACTERS_MAX = 512;

/** Encodes a search for one of {@linkcode SSDP_TARGETS}. */
export function encodeSearch(target: string): Uint8Array<ArrayBuffer> {
  const lines = [
    "M-SEARCH * HTTP/1.1",
    `HOST: ${SSDP_ADDRESS.hostname}:${SSDP_ADDRESS.port}`,
    'MAN: "ssdp:discover"',
    "MX: 1",
    `ST: ${target}`,
  ];
  return new TextEncoder().encode(lines.join("\r\n") + "\r\n\r\n");
}

/**
 * Decodes the answer of a gateway: where its description is. Accepts anything; `undefined` for the answers of other devices and
 * for descriptions that are not on the host that answered.
 */
export function decodeSearchAnswer(
  { source, payload }: { readonly source: SocketAddress; readonly payload: Uint8Array },
): HttpLocation | undefined {
  if (payload.length > ANSWER_BYTES_MAX) return undefined;
  const [status = "", ...lines] = new TextDecoder().decode(payload).split(/\r?\n/);
  if (!/^HTTP\/1\.[01] 200\b/.test(status)) return undefined;
  const header = (name: string): string | undefined =>
    lines.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1).trim();
  if (!/:InternetGatewayDevice:[12]$/.test(header("st") ?? "")) return undefined;
  const location = parseHttpLocation(header("location") ?? "");
  return location?.server.hostname === source.hostname ? location : undefined;
}

/**
 * Parses an `http:` URL whose host is an IPv4 literal, against a base if it is relative. `undefined` for anything else, and
 * for a path longer than 512 characters.
 */
export function parseHttpLocation(text: string, base?: HttpLocation): HttpLocation | undefined {
  const from = base && `http://${base.server.hostname}:${base.server.port}${base.path}`;
  if (!URL.canParse(text, from)) return undefined;
  const url = new URL(text, from);
  const hostname = canonicalIp(url.hostname);
  if (url.protocol !== "http:" || hostname === undefined || url.username !== "") return undefined;
  const path = url.pathname + url.search;
  if (path.length > PATH_CHARACTERS_MAX || url.port === "0") return undefined;
  return { server: { hostname, port: url.port === "" ? 80 : Number(url.port) }, path };
}
