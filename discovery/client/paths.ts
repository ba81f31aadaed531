/** What a node says of its paths, as a message. Pure. @module */
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  NatBehavior,
  PathKind,
  PathReason,
  type PathReportSchema,
  type ReportPathRequestSchema,
} from "../../proto/mod.ts";
import type { NatHint } from "../../traversal/mod.ts";
import type { NodeKey } from "../store/store.ts";
import { NAT_NUMBER } from "./peer.ts";

/** Paths in one report. */
export const PATHS_PER_REPORT_MAX = 256;

/** Why a path is not direct. */
export type PathCause =
  | "other"
  | "directOff"
  | "noEndpoint"
  | "udpBlocked"
  | "mappingVariesBoth"
  | "mappingVariesHere"
  | "mappingVariesThere"
  | "noAnswer"
  | "notTried";

/** The path from a node to a peer. */
export interface PathSaid {
  /** The peer's key, base64. */
  readonly publicKey: string;
  /** What is known of the peer's NAT. */
  readonly nat: NatHint;
  /** How it is reached. */
  readonly kind: "direct" | "relayed" | "none";
  /** Why not directly. Absent: it is, or nobody knows. */
  readonly cause?: PathCause;
  /** The same for a person, without addresses. @default none */
  readonly detail?: string;
  /** Punches since the node's start, while the path was not direct. */
  readonly punchAttempts: number;
  /** Those after which it was. */
  readonly punchSuccesses: number;
  /** The relay, where it is this node's. Absent: none, or the peer's. */
  readonly relayId?: string;
  /** Round trip. Absent: not measured. */
  readonly rttMs?: number;
}

/** What a node says of its paths at once: at most {@linkcode PATHS_PER_REPORT_MAX}. */
export interface PathsReport extends NodeKey {
  /** What it found out about its NAT. */
  readonly nat: NatHint;
  /** How its NAT maps, in the words of RFC 4787; any other for unknown. */
  readonly mapping: string;
  /** How its NAT filters. */
  readonly filtering: string;
  /** The paths. */
  readonly paths: readonly PathSaid[];
}

const BEHAVIORS: Readonly<Record<string, NatBehavior>> = {
  endpointIndependent: NatBehavior.ENDPOINT_INDEPENDENT,
  addressDependent: NatBehavior.ADDRESS_DEPENDENT,
  addressAndPortDependent: NatBehavior.ADDRESS_AND_PORT_DEPENDENT,
};
const CAUSES: Readonly<Record<PathCause, PathReason>> = {
  other: PathReason.OTHER,
  directOff: PathReason.DIRECT_OFF,
  noEndpoint: PathReason.NO_ENDPOINT,
  udpBlocked: PathReason.UDP_BLOCKED,
  mappingVariesBoth: PathReason.MAPPING_VARIES_BOTH,
  mappingVariesHere: PathReason.MAPPING_VARIES_HERE,
  mappingVariesThere: PathReason.MAPPING_VARIES_THERE,
  noAnswer: PathReason.NO_ANSWER,
  notTried: PathReason.NOT_TRIED,
};
const KINDS = { direct: PathKind.DIRECT, relayed: PathKind.RELAYED, none: PathKind.NONE } as const;
/** The longest round trip that the message can say. */
const RTT_US_MAX = 0xffff_ffff;

/** The message of a report. */
export function pathsRequest(
  { meshId, publicKey, nat, mapping, filtering, paths }: PathsReport,
): Omit<MessageInitShape<typeof ReportPathRequestSchema>, "$typeName"> {
  return {
    meshId,
    pubkey: publicKey,
    nat: NAT_NUMBER[nat],
    mapping: BEHAVIORS[mapping] ?? NatBehavior.UNSPECIFIED,
    filtering: BEHAVIORS[filtering] ?? NatBehavior.UNSPECIFIED,
    paths: paths.slice(0, PATHS_PER_REPORT_MAX).map(pathReport),
  };
}

function pathReport(
  { publicKey, nat, kind, cause, detail = "", relayId = "", rttMs, ...punches }: PathSaid,
): Omit<MessageInitShape<typeof PathReportSchema>, "$typeName"> {
  return {
    ...punches,
    peerPubkey: publicKey,
    peerNat: NAT_NUMBER[nat],
    kind: KINDS[kind],
    reason: cause === undefined ? PathReason.UNSPECIFIED : CAUSES[cause],
    detail,
    relayId,
    rttUs: rttMs === undefined ? 0 : Math.min(RTT_US_MAX, Math.max(1, Math.round(rttMs * 1000))),
  };
}
