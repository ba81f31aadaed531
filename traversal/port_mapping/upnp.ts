/**
 * What is said to a UPnP gateway over HTTP: its description, and the actions of its WAN connection service (WANIPConnection
 * versions 1 and 2, WANPPPConnection version 1) in SOAP.
 *
 * Answers are a stranger's: every value is checked, and only the gateway's own host is ever talked to.
 *
 * @module
 */
import { canonicalIp, type SocketAddress } from "../../core/mod.ts";
import { type HttpLocation, parseHttpLocation } from "./ssdp.ts";
import { childText, escapeXml, findElement, findElements, parseXml } from "./xml.ts";

/** A request to the gateway. */
export interface HttpRequest {
  /** Where it goes. */
  readonly location: HttpLocation;
  /** GET without, POST with `action` and `body`. */
  readonly method: "GET" | "POST";
  /** The value of SOAPACTION. */
  readonly action?: string;
  /** The SOAP envelope. */
  readonly body?: string;
}

/** A response, whatever its status. */
export interface HttpResponse {
  /** HTTP status. */
  readonly status: number;
  /** The body, complete, bounded by whoever fetched it. */
  readonly body: string;
}

/** A service that can map ports. */
export interface WanService {
  /** Its type, with version. */
  readonly type: string;
  /** Where its actions go. */
  readonly control: HttpLocation;
}

/** A mapping as AddPortMapping takes it. */
export interface UpnpMapping {
  /** The port outside. */
  readonly externalPort: number;
  /** Our port. */
  readonly internalPort: number;
  /** Our address. */
  readonly client: string;
  /** Seconds; 0 for ever. */
  readonly leaseSeconds: number;
}

/** The result of an action: its values, or the gateway's error code. */
export type ActionResult =
  | { readonly kind: "done"; readonly value: (name: string) => string }
  | { readonly kind: "refused"; readonly code: number; readonly description: string };

/** Error codes that a client treats apart (WANIPConnection:2 section 2.5). */
export const UPNP_ERROR = {
  invalidAction: 401,
  invalidArguments: 402,
  noSuchEntry: 714,
  conflict: 718,
  samePortRequired: 724,
  onlyPermanentLeases: 725,
  conflictWithOthers: 729,
} as const;

/** Most services of a gateway that are tried. */
export const SERVICES_MAX = 4;

const SERVICE_TYPES: readonly string[] = [
  "urn:schemas-upnp-org:service:WANIPConnection:2",
  "urn:schemas-upnp-org:service:WANIPConnection:1",
  "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
const DESCRIPTION_CHARACTERS_MAX = 80;

/** The request for a gateway's description. */
export function describe(location: HttpLocation): HttpRequest {
  return { location, method: "GET" };
}

/**
 * Reads a description: the services that can map ports, best first. Empty for what is no description, and without services
 * that are not on the host of `location`.
 */
export function parseDescription(
  { status, body }: HttpResponse,
  location: HttpLocation,
): readonly WanService[] {
  const root = status === 200 ? parseXml(body) : undefined;
  if (root === undefined) return [];
  // Version 1.0 of the architecture has a base for relative URLs.
  const base = parseHttpLocation(childText(root, "URLBase"), location) ?? location;
  return findElements(root, "service").flatMap((service): WanService[] => {
    const type = childText(service, "serviceType");
    const control = parseHttpLocation(childText(service, "controlURL"), base);
    if (!SERVICE_TYPES.includes(type) || control === undefined) return [];
    return control.server.hostname === location.server.hostname ? [{ type, control }] : [];
  }).sort((a, b) => SERVICE_TYPES.indexOf(a.type) - SERVICE_TYPES.indexOf(b.type))
    .slice(0, SERVICES_MAX);
}

/** The action that asks for the external address. */
export function getExternalAddress(service: WanService): HttpRequest {
  return act(service, "GetExternalIPAddress", []);
}

/** The action that maps a port. Version 2 has one that may give another port than the one asked for. */
export function addPortMapping(
  service: WanService,
  { externalPort, internalPort, client, leaseSeconds }: UpnpMapping,
  { any }: { readonly any: boolean },
): HttpRequest {
  return act(service, any ? "AddAnyPortMapping" : "AddPortMapping", [
    ["NewRemoteHost", ""],
    ["NewExternalPort", externalPort],
    ["NewProtocol", "UDP"],
    ["NewInternalPort", internalPort],
    ["NewInternalClient", client],
    ["NewEnabled", 1],
    ["NewPortMappingDescription", "moray"],
    ["NewLeaseDuration", leaseSeconds],
  ]);
}

/** The action that tells where a port leads. */
export function getPortMapping(service: WanService, externalPort: number): HttpRequest {
  return act(service, "GetSpecificPortMappingEntry", keyOf(externalPort));
}

/** The action that ends a mapping. */
export function deletePortMapping(service: WanService, externalPort: number): HttpRequest {
  return act(service, "DeletePortMapping", keyOf(externalPort));
}

/** Reads the answer to an action. `undefined` for what is none. */
export function parseActionResult({ status, body }: HttpResponse): ActionResult | undefined {
  const root = parseXml(body);
  if (root === undefined) return undefined;
  if (status !== 200) {
    const error = findElement(root, "UPnPError");
    const code = Number(error && childText(error, "errorCode") || NaN);
    if (error === undefined || !Number.isInteger(code)) return undefined;
    const description = childText(error, "errorDescription").replaceAll(/[^ -~]/g, "");
    return { kind: "refused", code, description: description.slice(0, DESCRIPTION_CHARACTERS_MAX) };
  }
  const answer = findElement(root, "Body")?.children[0];
  if (answer === undefined || !answer.name.endsWith("Response")) return undefined;
  return { kind: "done", value: (name) => childText(answer, name) };
}

/** Reads an external address; `undefined` for anything but an IPv4 literal. */
export function parseExternalAddress(text: string): string | undefined {
  const hostname = text.includes(":") ? undefined : canonicalIp(text);
  return hostname === "0.0.0.0" ? undefined : hostname;
}

/** Reads a port, 1 to 65535. */
export function parsePort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65535 ? port : undefined;
}

/** Returns whether an entry of the gateway's table leads to us. */
export function leadsTo(
  value: (name: string) => string,
  { hostname, port }: SocketAddress,
): boolean {
  return canonicalIp(value("NewInternalClient")) === hostname &&
    parsePort(value("NewInternalPort")) === port;
}

type Arguments = readonly (readonly [name: string, value: string | number])[];

function keyOf(externalPort: number): Arguments {
  return [["NewRemoteHost", ""], ["NewExternalPort", externalPort], ["NewProtocol", "UDP"]];
}

function act({ type, control }: WanService, name: string, values: Arguments): HttpRequest {
  const inside = values.map(([key, value]) => `<${key}>${escapeXml(String(value))}</${key}>`);
  const body = '<?xml version="1.0"?>\r\n' +
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ' +
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">' +
    `<s:Body><u:${name} xmlns:u="${type}">${inside.join("")}</u:${name}></s:Body></s:Envelope>\r\n`;
  return { location: control, method: "POST", action: `"${type}#${name}"`, body };
}
