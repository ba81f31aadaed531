/** What a node registers, and what the server answers. @module */
import { create } from "@bufbuild/protobuf";
import { formatSocketAddress, type SocketAddress } from "../../core/mod.ts";
import {
  type Endpoint,
  EndpointSchema,
  type NatHint as NatHintNumber,
  type Observation,
  ObservationSchema,
  PeerRole,
  type RegisterAgentResponse,
  type RegisterColonyResponse,
  type SignedStatement,
  SignedStatementSchema,
} from "../../proto/mod.ts";
import type { NatHint } from "../../traversal/mod.ts";
import type { Signed } from "../signature/statement.ts";
import type { NodeKey, Role } from "../store/store.ts";
import { NAT_NUMBER } from "./peer.ts";

/** Life of a registration where the server says nothing sensible. */
const TTL_DEFAULT_MS = 300_000;
/** Bounds of a TTL that is believed. */
const TTL_MIN_MS = 1000;
const TTL_MAX_MS = 86_400_000;
/** STUN servers of one answer that are used. */
const STUN_SERVERS_MAX = 8;

/** An address of a node and the receipt of the STUN server that saw it there. */
export interface Observed {
  /** The address. */
  readonly address: SocketAddress;
  /** The receipt, as it came. */
  readonly receipt: Uint8Array;
}

/** What a node registers. */
export interface Registration extends NodeKey {
  /** Colony or agent. */
  readonly role: Role;
  /** The agent's id. @default the public key for an agent; a colony has none */
  readonly agentId?: string;
  /** The node's name, a DNS label. @default none */
  readonly name?: string;
  /** Candidates. Together with the observed endpoints at least one, or the server refuses. */
  readonly endpoints: readonly SocketAddress[];
  /** Where STUN saw the node's sockets, best first. @default [] */
  readonly observedEndpoints?: readonly SocketAddress[];
  /** What Discovery's STUN vouches for of these. @default [] */
  readonly observations?: readonly Observed[];
  /** Where relays listen for the node. @default [] */
  readonly relayedEndpoints?: readonly SocketAddress[];
  /** Whether the node wants no relay between itself and others. @default false */
  readonly noRelay?: boolean;
  /** What the node found out about its NAT. @default NAT_UNKNOWN */
  readonly nat?: NatHint;
  /** Address inside the mesh. @default none */
  readonly meshIpv4?: string;
  /** Address inside the mesh. @default none */
  readonly meshIpv6?: string;
  /** Port of a colony's control service. @default none */
  readonly connectPort?: number;
  /** How the node came to its key: goes into the record that it signs. @default [] */
  readonly rotations?: readonly Signed[];
  /** Free text. @default {} */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Colony only: whether every node may register in the mesh. @default as it is, which is open at first */
  readonly open?: boolean;
  /** Agent only: shows that it holds an invite. @default none */
  readonly admission?: string;
}

/** The answer to a registration. */
export interface Registered {
  /** Life of the registration; refresh at a third of it. */
  readonly ttlMs: number;
  /** STUN servers as `host:port`, names allowed. Empty where the server has none. */
  readonly stunServers: readonly string[];
  /** What a colony called the list of members that it published last; 0 for none, and for an agent. */
  readonly membersRevision: number;
  /** The URL that took the registration. */
  readonly url: string;
}

/** The record of a registration: what its node signs. */
export interface OwnRecord {
  /** Mesh id. */
  meshId: string;
  /** The node's public key, base64. */
  pubkey: string;
  /** Colony or agent. */
  role: PeerRole;
  /** The agent's id; empty for a colony. */
  agentId: string;
  /** The node's name; empty for none. */
  name: string;
  /** Candidates. */
  endpoints: string[];
  /** Where STUN saw the node's sockets, and then where relays listen for it. */
  observedEndpoints: Endpoint[];
  /** What the node found out about its NAT. */
  nat: NatHintNumber;
  /** Address inside the mesh; empty for none. */
  meshIpv4: string;
  /** Address inside the mesh; empty for none. */
  meshIpv6: string;
  /** Port of a colony's control service; 0 for none. */
  connectPort: number;
  /** Free text. */
  metadata: Record<string, string>;
  /** Whether the node wants no relay between itself and others. */
  noRelay: boolean;
  /** How the node came to its key. */
  rotations: SignedStatement[];
}

/** A request that registers a record, of either kind. */
export interface RegistrationRequest extends Omit<OwnRecord, "role" | "rotations"> {
  /** The first place where STUN saw the node: all that a plain Coral Discovery knows. */
  observedEndpoint?: Endpoint;
  /** The record as its node signed it. */
  statement?: SignedStatement;
  /** What Discovery's STUN vouches for. */
  observations: Observation[];
}

/** Returns the record that a registration makes. */
export function recordOf(registration: Registration): OwnRecord {
  const { role, publicKey, observedEndpoints = [], relayedEndpoints = [] } = registration;
  return {
    meshId: registration.meshId,
    pubkey: publicKey,
    role: role === "colony" ? PeerRole.COLONY : PeerRole.AGENT,
    agentId: role === "colony" ? "" : registration.agentId ?? publicKey,
    name: registration.name ?? "",
    endpoints: registration.endpoints.map(formatSocketAddress),
    observedEndpoints: [
      ...observedEndpoints.map((address) => endpointOf(address, false)),
      ...relayedEndpoints.map((address) => endpointOf(address, true)),
    ],
    nat: NAT_NUMBER[registration.nat ?? "NAT_UNKNOWN"],
    meshIpv4: registration.meshIpv4 ?? "",
    meshIpv6: registration.meshIpv6 ?? "",
    connectPort: role === "colony" ? registration.connectPort ?? 0 : 0,
    metadata: { ...registration.metadata },
    noRelay: registration.noRelay ?? false,
    rotations: (registration.rotations ?? []).map((one) => create(SignedStatementSchema, one)),
  };
}

/** Returns the request that registers a record: `statement` is the same as its node signed it, `observed` what is vouched for. */
export function registrationRequest(
  { role: _, rotations: __, ...record }: OwnRecord,
  statement: SignedStatement | undefined,
  observed: readonly Observed[] = [],
): RegistrationRequest {
  const observedEndpoint = record.observedEndpoints.find(({ viaRelay }) => !viaRelay);
  return {
    ...record,
    ...(observedEndpoint && { observedEndpoint }),
    ...(statement && { statement }),
    observations: observed.map(({ address, receipt }) =>
      create(ObservationSchema, { endpoint: endpointOf(address, false), receipt })
    ),
  };
}

function endpointOf({ hostname, port }: SocketAddress, viaRelay: boolean): Endpoint {
  return create(EndpointSchema, { ip: hostname, port, protocol: "udp", viaRelay });
}

/** Returns the answer to a registration, as far as it makes sense. */
export function parseRegistered(
  answer: RegisterColonyResponse | RegisterAgentResponse,
  url: string,
): Registered {
  const { ttl, stunServers } = answer;
  const ttlMs = ttl * 1000;
  const revision = "membersRevision" in answer ? Number(answer.membersRevision) : 0;
  return {
    ttlMs: ttlMs >= TTL_MIN_MS && ttlMs <= TTL_MAX_MS ? ttlMs : TTL_DEFAULT_MS,
    stunServers: stunAddresses(stunServers),
    membersRevision: Number.isSafeInteger(revision) ? revision : 0,
    url,
  };
}

/** Those texts that are a host and a port, without repetition. */
export function stunAddresses(texts: readonly string[]): string[] {
  const valid = texts.filter((text) => {
    const port = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253}):(\d{1,5})$/.exec(text)?.[1];
    return port !== undefined && isPort(Number(port));
  });
  return [...new Set(valid)].slice(0, STUN_SERVERS_MAX);
}

/** Whether a number is a port to send to. */
export function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65535;
}
