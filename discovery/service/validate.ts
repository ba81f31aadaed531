/**
 * From a request to a {@linkcode NodeContent}: everything that a registration may hold, with its limits.
 *
 * A fault becomes `INVALID_ARGUMENT` that names the field as the `.proto` file does. Nothing is taken from the HTTP
 * connection: an endpoint is what the node says, or what STUN showed it.
 *
 * @module
 */
import { toJsonString } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  canonicalIp,
  cidrContains,
  familyOf,
  formatSocketAddress,
  parseCidr,
  parseIp,
  parseKey,
  parseSocketAddress,
} from "../../core/mod.ts";
import {
  type Endpoint,
  type NatHint,
  type PublicEndpointInfo,
  PublicEndpointInfoSchema,
  type RegisterAgentRequest,
  type RegisterColonyRequest,
} from "../../proto/mod.ts";
import { ADMISSION_LENGTH_MAX } from "../membership/admission.ts";
import type { NodeContent, ObservedEndpoint } from "../store/store.ts";
import { type Observation, RECEIPT_BYTES } from "./stun_receipts.ts";

/** Endpoints of either kind in one registration. */
export const ENDPOINTS_MAX = 32;
/** Entries of `metadata`. */
export const METADATA_ENTRIES_MAX = 32;
/** Bytes of all keys and values of `metadata`, in UTF-8. */
export const METADATA_BYTES_MAX = 8 * 1024;
/** Bytes of a `public_endpoint` in JSON. */
export const PUBLIC_ENDPOINT_BYTES_MAX = 32 * 1024;

/** Nobody can be reached at these: unspecified, multicast, reserved. */
const UNREACHABLE = ["0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8"].map((text) => {
  const block = parseCidr(text);
  if (block === undefined) throw new TypeError(`Not an address block: ${text}`);
  return block;
});

/**
 * Returns the content of a colony's registration, whose sender has `proven` to hold the key or not, without the record that it signed.
 * Throws `ConnectError`.
 */
export function colonyContent(request: RegisterColonyRequest, proven: boolean): NodeContent {
  return {
    ...commonContent(request),
    proven,
    role: "colony",
    agentId: "",
    connectPort: checkPort(request.connectPort, "connect_port"),
    publicPort: checkPort(request.publicPort, "public_port"),
    publicEndpoint: checkPublicEndpoint(request.publicEndpoint),
    admission: "",
  };
}

/** Returns the content of an agent's registration, as {@linkcode colonyContent}. Throws `ConnectError`. */
export function agentContent(request: RegisterAgentRequest, proven: boolean): NodeContent {
  return {
    ...commonContent(request),
    proven,
    role: "agent",
    agentId: checkAgentId(request.agentId),
    connectPort: 0,
    publicPort: 0,
    publicEndpoint: "",
    admission: checkAdmission(request.admission),
  };
}

function checkAdmission(text: string): string {
  if (text.length <= ADMISSION_LENGTH_MAX) return text;
  throw invalid(
    `admission has ${text.length} characters, at most ${ADMISSION_LENGTH_MAX} are allowed`,
  );
}

/** Returns a mesh id. `field` names it in the error. Throws `ConnectError`. */
export function checkMeshId(text: string, field = "mesh_id"): string {
  if (text === "") throw invalid(`${field} is required`);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/.test(text)) {
    throw invalid(`${field} ${show(text)} is not 1 to 253 letters, digits, ".", "_" or "-"`);
  }
  return text;
}

/** Returns an agent's id. Throws `ConnectError`. */
export function checkAgentId(text: string): string {
  if (text === "") throw invalid("agent_id is required");
  if (!/^[\x21-\x7e]{1,253}$/.test(text)) {
    throw invalid(`agent_id ${show(text)} is not 1 to 253 printable ASCII characters`);
  }
  return text;
}

/** Returns a public key in its text form. `field` names it in the error. Throws `ConnectError`. */
export function checkKey(text: string, field = "pubkey"): string {
  if (text === "") throw invalid(`${field} is required`);
  const key = parseKey(text);
  if (key === undefined) throw invalid(`${field} is not 32 bytes in base64`);
  if (key.every((byte) => byte === 0)) throw invalid(`${field} is all zeros`);
  return text;
}

/** The fields that both kinds of registration share. */
type Common = Pick<
  RegisterAgentRequest,
  | "meshId"
  | "pubkey"
  | "name"
  | "endpoints"
  | "observedEndpoint"
  | "observedEndpoints"
  | "nat"
  | "meshIpv4"
  | "meshIpv6"
  | "metadata"
  | "noRelay"
>;

type CommonContent = Omit<
  NodeContent,
  "role" | "agentId" | "connectPort" | "publicPort" | "publicEndpoint" | "proven" | "admission"
>;

function commonContent(request: Common): CommonContent {
  const meshId = checkMeshId(request.meshId);
  const publicKey = checkKey(request.pubkey);
  const endpoints = checkEndpoints(request.endpoints);
  const observedEndpoints = checkObserved(request);
  if (endpoints.length + observedEndpoints.length === 0) {
    throw invalid("at least one of endpoints and observed_endpoint is required");
  }
  return {
    meshId,
    publicKey,
    statement: "",
    sequence: 0,
    name: checkName(request.name),
    endpoints,
    observedEndpoints,
    nat: checkNat(request.nat),
    meshIpv4: checkMeshAddress(request.meshIpv4, { field: "mesh_ipv4", family: 4 }),
    meshIpv6: checkMeshAddress(request.meshIpv6, { field: "mesh_ipv6", family: 6 }),
    metadata: checkMetadata(request.metadata),
    noRelay: request.noRelay,
  };
}

function checkEndpoints(texts: readonly string[]): string[] {
  if (texts.length > ENDPOINTS_MAX) {
    throw invalid(`endpoints has ${texts.length} entries, at most ${ENDPOINTS_MAX} are allowed`);
  }
  const endpoints = texts.map((text, i) => {
    const field = `endpoints[${i}]`;
    const address = parseSocketAddress(text);
    if (address === undefined) {
      throw invalid(`${field} ${show(text)} ${endpointFault(text)}`);
    }
    checkReachable(address.hostname, field);
    if (address.port === 0) throw invalid(`${field} ${show(text)} has port 0`);
    return formatSocketAddress(address);
  });
  return [...new Set(endpoints)];
}

/** Says what is wrong with a text that is no endpoint. */
function endpointFault(text: string): string {
  const split = /^(.*):(\d*)$/.exec(text);
  if (text === "") return "is empty";
  if (split === null || (split[2] === "" && !text.endsWith("]:"))) return "has no port";
  const [, host = "", port = ""] = split;
  if (host === "" || host === "[]") return "has no host";
  if (Number(port) > 65535 || port.length > 5) return "has a port above 65535";
  if (parseIp(text) !== undefined || parseIp(host)?.length === 16) {
    return "is an IPv6 address that needs brackets and a port";
  }
  if (/^\[[0-9.]+\]$/.test(host)) return "has an IPv4 address in brackets";
  return "is not an IP literal with a port";
}

function checkObserved(
  { observedEndpoint, observedEndpoints }: Common,
): ObservedEndpoint[] {
  if (observedEndpoints.length > ENDPOINTS_MAX) {
    throw invalid(
      `observed_endpoints has ${observedEndpoints.length} entries, at most ${ENDPOINTS_MAX} are allowed`,
    );
  }
  const all = observedEndpoints.map((endpoint, i) =>
    checkEndpoint(endpoint, `observed_endpoints[${i}]`)
  );
  // The single one is the first of the list for clients that know both.
  if (observedEndpoint !== undefined) {
    all.unshift(checkEndpoint(observedEndpoint, "observed_endpoint"));
  }
  const unique = new Map(all.map((e) => [`${e.ip} ${e.port} ${e.viaRelay}`, e]));
  return [...unique.values()];
}

/** Returns the observations of a registration. Throws `ConnectError`. */
export function checkObservations(
  { observations }: Pick<RegisterAgentRequest, "observations">,
): Observation[] {
  if (observations.length > ENDPOINTS_MAX) {
    throw invalid(
      `observations has ${observations.length} entries, at most ${ENDPOINTS_MAX} are allowed`,
    );
  }
  return observations.map(({ endpoint, receipt }, i) => {
    const field = `observations[${i}]`;
    if (endpoint === undefined) throw invalid(`${field}.endpoint is required`);
    if (receipt.length !== RECEIPT_BYTES) {
      throw invalid(`${field}.receipt has ${receipt.length} bytes, not ${RECEIPT_BYTES}`);
    }
    const { ip: hostname, port } = checkEndpoint(endpoint, `${field}.endpoint`);
    return { address: { hostname, port }, receipt };
  });
}

function checkEndpoint(
  { ip, port, protocol, viaRelay }: Endpoint,
  field: string,
): ObservedEndpoint {
  if (ip === "") throw invalid(`${field}.ip is required`);
  const canonical = canonicalIp(ip);
  if (canonical === undefined) throw invalid(`${field}.ip ${show(ip)} is not an IP literal`);
  checkReachable(canonical, `${field}.ip`);
  if (port < 1 || port > 65535) throw invalid(`${field}.port ${port} is not 1 to 65535`);
  if (protocol !== "" && protocol !== "udp") {
    throw invalid(`${field}.protocol ${show(protocol)} is not "udp"`);
  }
  return { ip: canonical, port, viaRelay };
}

function checkReachable(hostname: string, field: string): void {
  const ip = parseIp(hostname);
  if (ip !== undefined && UNREACHABLE.some((block) => cidrContains(block, ip))) {
    throw invalid(`${field} ${hostname} is an address that nobody can send to`);
  }
}

function checkMeshAddress(
  text: string,
  { field, family }: { field: string; family: 4 | 6 },
): string {
  if (text === "") return "";
  const canonical = canonicalIp(text);
  if (canonical === undefined || familyOf(canonical) !== family) {
    throw invalid(`${field} ${show(text)} is not an IPv${family} literal`);
  }
  return canonical;
}

function checkName(text: string): string {
  if (text !== "" && !/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text)) {
    throw invalid(`name ${show(text)} is not a DNS label in lower case`);
  }
  return text;
}

function checkNat(hint: NatHint): number {
  // Open enums carry numbers that this version has no name for.
  if (!Number.isInteger(hint) || hint < 0 || hint > 3) {
    throw invalid(`nat ${Number(hint)} is not a NatHint`);
  }
  return hint;
}

function checkPort(port: number, field: string): number {
  if (port > 65535) throw invalid(`${field} ${port} is above 65535`);
  return port;
}

function checkMetadata(metadata: Readonly<Record<string, string>>): Record<string, string> {
  const entries = Object.entries(metadata);
  if (entries.length > METADATA_ENTRIES_MAX) {
    throw invalid(
      `metadata has ${entries.length} entries, at most ${METADATA_ENTRIES_MAX} are allowed`,
    );
  }
  const encoder = new TextEncoder();
  const bytes = entries.flat().reduce((sum, text) => sum + encoder.encode(text).length, 0);
  if (bytes > METADATA_BYTES_MAX) {
    throw invalid(`metadata has ${bytes} bytes, at most ${METADATA_BYTES_MAX} are allowed`);
  }
  return Object.fromEntries(entries.sort(([a], [b]) => a < b ? -1 : 1));
}

function checkPublicEndpoint(info: PublicEndpointInfo | undefined): string {
  if (info === undefined) return "";
  let text: string;
  try {
    text = toJsonString(PublicEndpointInfoSchema, info);
  } catch {
    // The one part of it that has no JSON form for every value.
    throw invalid("public_endpoint.updated_at is out of range");
  }
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > PUBLIC_ENDPOINT_BYTES_MAX) {
    throw invalid(
      `public_endpoint has ${bytes} bytes, at most ${PUBLIC_ENDPOINT_BYTES_MAX} are allowed`,
    );
  }
  return text;
}

/** An `INVALID_ARGUMENT` with this message. */
export function invalid(message: string): ConnectError {
  return new ConnectError(message, Code.InvalidArgument);
}

/** A text of the client's, quoted and cut, so that a message stays one short line. */
function show(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}
