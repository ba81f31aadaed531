/**
 * What each method takes: from a request to its values, checked. The rules of a registration's content are in `validate.ts`; what a
 * signature says is checked where it is verified.
 *
 * | method | rules |
 * |---|---|
 * | RegisterColony, RegisterAgent | `colonyContent`, `agentContent` of `validate.ts`, and `statements.ts` |
 * | LookupColony, Watch, Deregister* | `parseMesh`, `parseNode` |
 * | LookupAgent | `parseWanted` |
 * | InitiatePunch | `parsePunch` |
 * | RequestRelay, ReleaseRelay, RegisterRelay of a node | `parseRelayRequest`, `parseRelease`, `parseVolunteer` |
 * | CreateBootstrapToken | `parseTokenRequest` |
 * | PublishMembership, ListMembers | `parsePublication`, `parseMembersPage` |
 * | ReportPath | `parseNode`, `parsePaths` |
 * | RotateKey, RegisterRelay of a relay | nothing but what is signed: `rotation.ts`, `relay/report.ts` |
 *
 * @module
 */
import { formatBase64 } from "../../core/mod.ts";
import type {
  CreateBootstrapTokenRequest,
  InitiatePunchRequest,
  ListMembersRequest,
  LookupAgentRequest,
  PathReport,
  PublishMembershipRequest,
  RegisterRelayRequest,
  ReleaseRelayRequest,
  ReportPathRequest,
  RequestRelayRequest,
} from "../../proto/mod.ts";
import { PATHS_PER_REPORT_MAX } from "../client/paths.ts";
import { isInviteKey } from "../membership/admission.ts";
import { isRelayName } from "../relay/transport.ts";
import { INVITES_PER_MESH_MAX } from "../store/members.ts";
import type { NodeKey } from "../store/store.ts";
import { type PathKind, REASON_WORDS, type ReportedPath } from "./path_book.ts";
import type { SaidReport } from "./path_words.ts";
import { checkAgentId, checkKey, checkMeshId, invalid } from "./validate.ts";

/** Members in one request or answer. */
export const MEMBERS_PER_CALL_MAX = 500;
/** Relays that a node may name as failed. */
export const FAILED_RELAYS_MAX = 16;
/** Characters of a path's detail. */
export const DETAIL_MAX = 160;

/** A mesh. Throws `ConnectError`, as everything here. */
export function parseMesh({ meshId }: { readonly meshId: string }): string {
  return checkMeshId(meshId);
}

/** A node of a mesh. */
export function parseNode(
  { meshId, pubkey }: { readonly meshId: string; readonly pubkey: string },
): NodeKey {
  return { meshId: checkMeshId(meshId), publicKey: checkKey(pubkey) };
}

/** Which agent a look-up asks for. */
export interface WantedAgent {
  /** Its id. Empty: whichever has the key. */
  readonly agentId: string;
  /** Its mesh. Absent: whichever. */
  readonly meshId: string | undefined;
  /** Its key. Absent: whichever has the id. */
  readonly publicKey: string | undefined;
}

/** Whom somebody looks up who has `proven` a key; empty for none. */
export function parseWanted(
  { agentId, meshId, pubkey }: LookupAgentRequest,
  proven: string,
): WantedAgent {
  // Who proves a key asks in its mesh; a key is one of a mesh.
  const scoped = proven !== "" || pubkey !== "" || meshId !== "";
  return {
    agentId: pubkey === "" || agentId !== "" ? checkAgentId(agentId) : "",
    meshId: scoped ? checkMeshId(meshId) : undefined,
    publicKey: pubkey === "" ? undefined : checkKey(pubkey),
  };
}

/** Both sides of a punch. */
export function parsePunch(
  request: InitiatePunchRequest,
): { readonly from: NodeKey; readonly to: NodeKey } {
  const meshId = checkMeshId(request.meshId);
  const from = checkKey(request.fromPubkey, "from_pubkey");
  const to = checkKey(request.toPubkey, "to_pubkey");
  if (from === to) throw invalid("from_pubkey and to_pubkey are the same");
  return { from: { meshId, publicKey: from }, to: { meshId, publicKey: to } };
}

/** What a node wants of a relay. */
export interface RelayWanted {
  /** Who asks. */
  readonly node: NodeKey;
  /** The agent that it is for; empty for none. */
  readonly agentKey: string;
  /** The colony that it is for; empty for any. */
  readonly colonyKey: string;
  /** The wanted relay; empty for Discovery's choice. */
  readonly relayId: string;
  /** Where the node stands; empty for unknown. */
  readonly region: string;
  /** Relays that it could not use. */
  readonly failed: readonly string[];
}

/** A request for a relay. */
export function parseRelayRequest(request: RequestRelayRequest): RelayWanted {
  const meshId = checkMeshId(request.meshId);
  const agentKey = keyOf(request.agentPubkey, "agent_pubkey");
  const colonyKey = keyOf(request.colonyPubkey, "colony_pubkey");
  const nodeKey = keyOf(request.nodePubkey, "node_pubkey");
  if (agentKey !== "" && agentKey === colonyKey) {
    throw invalid("agent_pubkey and colony_pubkey are the same");
  }
  const publicKey = nodeKey !== "" ? nodeKey : agentKey;
  if (publicKey === "") throw invalid("node_pubkey or agent_pubkey is required");
  const { relayId, region, failedRelayIds: failed } = request;
  if (relayId !== "" && !isRelayName(relayId)) throw invalid("relay_id is not a relay's id");
  if (region !== "" && !isRelayName(region)) throw invalid("region is not a name");
  if (failed.length > FAILED_RELAYS_MAX) {
    throw invalid(`failed_relay_ids has more than ${FAILED_RELAYS_MAX} entries`);
  }
  if (!failed.every(isRelayName)) throw invalid("failed_relay_ids holds what is no relay's id");
  return { node: { meshId, publicKey }, agentKey, colonyKey, relayId, region, failed };
}

/** A relay session that is given back. */
export function parseRelease(
  { sessionId, meshId: mesh }: ReleaseRelayRequest,
): { readonly meshId: string; readonly sessionId: string } {
  const meshId = checkMeshId(mesh);
  if (sessionId === "") throw invalid("session_id is required");
  if (!/^[\x21-\x7e]{1,253}$/.test(sessionId)) {
    throw invalid("session_id is not 1 to 253 printable ASCII characters");
  }
  return { meshId, sessionId };
}

/** A node that reports a relay of its own, and the secret of that. */
export function parseVolunteer(
  { secret, ...request }: RegisterRelayRequest,
): { readonly node: NodeKey; readonly secret: string } {
  const node = parseNode(request);
  if (!/^[\x21-\x7e]{32,128}$/.test(secret)) {
    throw invalid("secret is not 32 to 128 printable characters");
  }
  return { node, secret };
}

/** What a bootstrap token is for. */
export interface TokenWanted {
  /** Mesh id. */
  readonly meshId: string;
  /** The agent. */
  readonly agentId: string;
  /** What for. */
  readonly intent: string;
  /** Reef id; empty for none. */
  readonly reefId: string;
}

/** A request for a bootstrap token. */
export function parseTokenRequest(
  { colonyId, agentId, intent, reefId }: CreateBootstrapTokenRequest,
): TokenWanted {
  const wanted = {
    meshId: checkMeshId(colonyId, "colony_id"),
    agentId: checkAgentId(agentId),
    intent,
    reefId,
  };
  if (intent === "") throw invalid("intent is required");
  if (!/^[a-z][a-z0-9_-]{0,63}$/.test(intent)) {
    throw invalid("intent is not 1 to 64 of a-z 0-9 _ -");
  }
  if (!/^[\x21-\x7e]{0,253}$/.test(reefId)) {
    throw invalid("reef_id is not at most 253 printable ASCII characters");
  }
  return wanted;
}

/** What a colony publishes, but for its statements about members, of which there are not too many. */
export interface Publication {
  /** Mesh id. */
  readonly meshId: string;
  /** The colony's key. */
  readonly colonyKey: string;
  /** Every open invite. */
  readonly invites: readonly { readonly key: string; readonly expiresAt: number }[];
  /** What the list is called once it is stored; 0 while more follows. */
  readonly revision: number;
}

/** What a colony publishes. */
export function parsePublication(request: PublishMembershipRequest): Publication {
  const { meshId, publicKey: colonyKey } = parseNode(request);
  if (request.members.length > MEMBERS_PER_CALL_MAX) {
    throw invalid(`members has more than ${MEMBERS_PER_CALL_MAX} entries`);
  }
  if (request.invites.length > INVITES_PER_MESH_MAX) {
    throw invalid(`invites has more than ${INVITES_PER_MESH_MAX} entries`);
  }
  const invites = request.invites.map(({ key, expiresAtMs }) => {
    if (!isInviteKey(key)) throw invalid("invites holds what is no key");
    if (expiresAtMs < 1n) throw invalid("expires_at_ms is no time");
    return { key, expiresAt: safe(expiresAtMs, "expires_at_ms") };
  });
  return { meshId, colonyKey, invites, revision: safe(request.revision, "revision") };
}

/** Which members a node asks for. */
export function parseMembersPage(
  request: ListMembersRequest,
): { readonly meshId: string; readonly after: string; readonly since: number } {
  return {
    meshId: checkMeshId(request.meshId),
    after: request.after === "" ? "" : checkKey(request.after, "after"),
    since: safe(request.since, "since"),
  };
}

/** What a node reports of its paths. Numbers that a newer node has a name for count as not known. */
export function parsePaths(request: ReportPathRequest): SaidReport["report"] {
  if (request.paths.length > PATHS_PER_REPORT_MAX) {
    throw invalid(`paths has more than ${PATHS_PER_REPORT_MAX} entries`);
  }
  return {
    nat: known(request.nat, 3),
    mapping: known(request.mapping, 3),
    filtering: known(request.filtering, 3),
    paths: request.paths.map(parsePath),
  };
}

function parsePath(path: PathReport): ReportedPath {
  const { punchAttempts, punchSuccesses, relayId, rttUs } = path;
  if (relayId !== "" && !isRelayName(relayId)) throw invalid("relay_id is not a relay's id");
  if (punchSuccesses > punchAttempts) {
    throw invalid("punch_successes is greater than punch_attempts");
  }
  return {
    peer: checkKey(path.peerPubkey, "peer_pubkey"),
    peerNat: known(path.peerNat, 3),
    kind: KINDS[path.kind] ?? "none",
    reason: known(path.reason, REASON_WORDS.length - 1),
    detail: shortText(path.detail),
    punchAttempts,
    punchSuccesses,
    relayId,
    rttUs,
  };
}

const KINDS: readonly (PathKind | undefined)[] = [undefined, "direct", "relayed", "none"];

/** A number of an enumeration; 0 for one that a newer node knows. */
function known(value: number, max: number): number {
  return value >= 0 && value <= max ? value : 0;
}

/** A text as it is kept: printable ASCII, short, and without anything that looks like an address. */
export function shortText(text: string): string {
  return text
    .slice(0, 4 * DETAIL_MAX)
    .replaceAll(/[^\x20-\x7e]/g, "?")
    .replaceAll(/\b\d{1,3}(?:\.\d{1,3}){3}\b/g, "(address)")
    .replaceAll(/(?<![0-9A-Za-z])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,}/g, "(address)")
    .slice(0, DETAIL_MAX);
}

/** A key in its text form; empty for none. */
function keyOf(bytes: Uint8Array, field: string): string {
  return bytes.length === 0 ? "" : checkKey(formatBase64(bytes), field);
}

/** A number that arithmetic here can hold. */
function safe(value: bigint, field: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(`${field} is too great`);
  return Number(value);
}
