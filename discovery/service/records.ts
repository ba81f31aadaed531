/** From stored records to messages. @module */
import { create, fromBinary, fromJsonString } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { parseBase64 } from "../../core/mod.ts";
import {
  type Endpoint,
  EndpointSchema,
  type LookupAgentResponse,
  LookupAgentResponseSchema,
  type LookupColonyResponse,
  LookupColonyResponseSchema,
  NatHint,
  type PeerRecord,
  PeerRecordSchema,
  PeerRole,
  PublicEndpointInfoSchema,
  type SignedStatement,
  SignedStatementSchema,
} from "../../proto/mod.ts";
import type { NodeRecord, ObservedEndpoint } from "../store/store.ts";

const HINTS = [
  NatHint.NAT_UNKNOWN,
  NatHint.NAT_CONE,
  NatHint.NAT_RESTRICTED,
  NatHint.NAT_SYMMETRIC,
];

/** An instant as a message. */
export function timestamp(unixMs: number): Timestamp {
  const seconds = Math.floor(unixMs / 1000);
  const nanos = Math.floor((unixMs - seconds * 1000) * 1e6);
  return create(TimestampSchema, { seconds: BigInt(seconds), nanos });
}

/** An observed endpoint as a message. */
export function endpoint({ ip, port, viaRelay }: ObservedEndpoint): Endpoint {
  return create(EndpointSchema, { ip, port, protocol: "udp", viaRelay });
}

/** A node's record for a Watch stream or a punch. */
export function peerRecord(record: NodeRecord): PeerRecord {
  return create(PeerRecordSchema, {
    ...common(record),
    role: record.role === "colony" ? PeerRole.COLONY : PeerRole.AGENT,
    agentId: record.agentId,
    connectPort: record.connectPort,
    admission: record.admission,
  });
}

/** A colony's record for a lookup. */
export function colonyResponse(record: NodeRecord): LookupColonyResponse {
  const response = create(LookupColonyResponseSchema, {
    ...common(record),
    connectPort: record.connectPort,
    publicPort: record.publicPort,
  });
  if (record.publicEndpoint !== "") {
    response.publicEndpoint = fromJsonString(PublicEndpointInfoSchema, record.publicEndpoint);
  }
  return response;
}

/** An agent's record for a lookup. */
export function agentResponse(record: NodeRecord): LookupAgentResponse {
  const { agentId, admission } = record;
  return create(LookupAgentResponseSchema, { ...common(record), agentId, admission });
}

/** The fields that every message about a node has. */
interface CommonFields {
  meshId: string;
  pubkey: string;
  name: string;
  endpoints: string[];
  observedEndpoints: Endpoint[];
  nat: NatHint;
  meshIpv4: string;
  meshIpv6: string;
  metadata: Record<string, string>;
  lastSeen: Timestamp;
  registeredAt: Timestamp;
  generation: bigint;
  noRelay: boolean;
  statement?: SignedStatement;
}

function common(record: NodeRecord): CommonFields {
  return {
    meshId: record.meshId,
    pubkey: record.publicKey,
    name: record.name,
    endpoints: [...record.endpoints],
    observedEndpoints: record.observedEndpoints.map(endpoint),
    nat: HINTS[record.nat] ?? NatHint.NAT_UNKNOWN,
    meshIpv4: record.meshIpv4,
    meshIpv6: record.meshIpv6,
    metadata: { ...record.metadata },
    lastSeen: timestamp(record.lastSeenAt),
    registeredAt: timestamp(record.registeredAt),
    generation: BigInt(record.generation),
    noRelay: record.noRelay,
    ...record.statement !== "" && { statement: signedStatement(record.statement) },
  };
}

/** A record's statement as it is stored. */
function signedStatement(base64: string): SignedStatement {
  return fromBinary(SignedStatementSchema, parseBase64(base64) ?? new Uint8Array());
}
