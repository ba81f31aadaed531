/** What the client asks about relays, and what it makes of the answer: values that cannot be wrong. @module */
import { create } from "@bufbuild/protobuf";
import { parseKey } from "../../core/mod.ts";
import {
  type RequestRelayRequest,
  RequestRelayRequestSchema,
  type RequestRelayResponse,
} from "../../proto/mod.ts";
import {
  isRelayName,
  parseRelayTransport,
  RELAY_TRANSPORTS_MAX,
  type RelayTransport,
} from "../relay/transport.ts";
import type { NodeKey, Role } from "../store/store.ts";

/** Bounds of a session's life that is believed. */
const LIFE_MIN_MS = 30_000;
const LIFE_MAX_MS = 86_400_000;
/** Relays taken of one answer. */
const RELAYS_MAX = 16;

/** Who asks for a relay. */
export interface RelayQuery extends NodeKey {
  /** What the node is. */
  readonly role: Role;
  /** The colony that an agent wants to reach. @default any */
  readonly colonyKey?: string;
  /** The wanted relay. @default the server's choice */
  readonly relayId?: string;
  /** Where the node stands. @default unknown */
  readonly region?: string;
  /** Relays that the node could not use. @default [] */
  readonly failed?: readonly string[];
}

/** A relay that may be asked for. */
export interface RelayChoice {
  /** Its id. */
  readonly relayId: string;
  /** Where it stands; empty for unknown. */
  readonly region: string;
  /** Load, 0 to 100. */
  readonly load: number;
}

/** The permission to use a relay. */
export interface RelayGrant {
  /** The relay's id. */
  readonly relayId: string;
  /** The session's id. */
  readonly sessionId: string;
  /** How long it lives from now, in milliseconds. */
  readonly lifeMs: number;
  /** Every way to reach the relay, the best first; WebSockets by their whole URL. */
  readonly transports: readonly RelayTransport[];
  /** TURN's USERNAME. */
  readonly username: string;
  /** TURN's password: a secret. */
  readonly password: string;
  /** The relay's realm; empty for the one that it names in its challenges. */
  readonly realm: string;
  /** Most that it carries, in bytes a second; 0 for no limit. */
  readonly bandwidthBytesPerSecond: number;
  /** Every relay that may be asked for. */
  readonly relays: readonly RelayChoice[];
}

/** Returns the request. */
export function relayRequest(
  { meshId, publicKey, role, colonyKey, relayId = "", region = "", failed = [] }: RelayQuery,
): RequestRelayRequest {
  const node = parseKey(publicKey) ?? new Uint8Array();
  const colony = colonyKey === undefined ? undefined : parseKey(colonyKey);
  return create(RequestRelayRequestSchema, {
    meshId,
    nodePubkey: node,
    ...(role === "agent" && { agentPubkey: node, ...colony && { colonyPubkey: colony } }),
    ...(role === "colony" && { colonyPubkey: node }),
    relayId,
    region,
    failedRelayIds: failed.slice(0, RELAYS_MAX),
  });
}

/** Returns what a server at `url` granted; `undefined` if nothing could be done with it, as with Coral's placeholders. */
export function parseGrant(
  response: RequestRelayResponse,
  { url, now }: { readonly url: string; readonly now: number },
): RelayGrant | undefined {
  const { relayId, sessionId, username, password, realm } = response;
  const transports = response.transports.slice(0, RELAY_TRANSPORTS_MAX).map(parseRelayTransport)
    .filter((one) => one !== undefined).map((one) => absolute(one, url));
  const printable = /^[\x21-\x7e]{1,500}$/;
  const valid = isRelayName(relayId) && transports.length > 0 && printable.test(sessionId) &&
    printable.test(username) && printable.test(password) && realm.length <= 128;
  if (!valid) return undefined;
  const lifeMs = response.ttl > 0
    ? response.ttl * 1000
    : Number(BigInt.asIntN(53, response.expiresAt)) * 1000 - now;
  return {
    relayId,
    sessionId,
    lifeMs: Math.min(LIFE_MAX_MS, Math.max(LIFE_MIN_MS, lifeMs)),
    transports,
    username,
    password,
    realm,
    bandwidthBytesPerSecond: Number(BigInt.asUintN(53, response.bandwidthBytesPerSecond)),
    relays: response.relays.slice(0, RELAYS_MAX).filter((one) => isRelayName(one.relayId))
      .map(({ relayId, region, load }) => ({
        relayId,
        region: isRelayName(region) ? region : "",
        load: Math.min(100, load),
      })),
  };
}

/** A WebSocket below Discovery's own URL by its whole URL: on the scheme, host and port that the node itself uses. */
function absolute(transport: RelayTransport, url: string): RelayTransport {
  if (!transport.endpoint.startsWith("/")) return transport;
  return { ...transport, endpoint: `${url.replace(/^http/, "ws")}${transport.endpoint}` };
}
