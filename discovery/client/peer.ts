/** What the client makes of a Discovery's records: values whose form cannot be wrong, whatever the server says. @module */
import {
  canonicalIp,
  familyOf,
  parseKey,
  parseSocketAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import {
  type Endpoint,
  type LookupAgentResponse,
  type LookupColonyResponse,
  NatHint as NatHintNumber,
  type PeerRecord,
  PeerRole,
} from "../../proto/mod.ts";
import type { NatHint } from "../../traversal/mod.ts";
import type { Role } from "../store/store.ts";

/** Endpoints taken from one record; further ones are left out. */
const ENDPOINTS_MAX = 64;
/** Timestamps before this, or more than a day ahead, make no sense: 2020-01-01. */
const EARLIEST_MS = 1_577_836_800_000;
const AHEAD_MAX_MS = 86_400_000;

/** A node as Discovery knows it. */
export interface DiscoveredPeer {
  /** Mesh id. */
  readonly meshId: string;
  /** WireGuard public key, base64 of 32 bytes. */
  readonly publicKey: string;
  /** Colony or agent. */
  readonly role: Role;
  /** The agent's id; empty for a colony. */
  readonly agentId: string;
  /** The node's name, a DNS label; empty for none. */
  readonly name: string;
  /** Candidates as registered, valid ones only. */
  readonly endpoints: readonly SocketAddress[];
  /** Where STUN saw the node's sockets, valid ones only. */
  readonly observedEndpoints: readonly SocketAddress[];
  /** Where relays listen for the node, valid ones only. */
  readonly relayedEndpoints: readonly SocketAddress[];
  /** Whether it wants no relay between itself and others. */
  readonly noRelay: boolean;
  /** What the node found out about its NAT. */
  readonly nat: NatHint;
  /** Address inside the mesh; `undefined` for none. */
  readonly meshIpv4: string | undefined;
  /** Address inside the mesh; `undefined` for none. */
  readonly meshIpv6: string | undefined;
  /** Port of a colony's control service; 0 for none. */
  readonly connectPort: number;
  /** Free text of the owner's. */
  readonly metadata: Readonly<Record<string, string>>;
  /** When the node last registered, unix milliseconds; `undefined` where the server does not say, or talks nonsense. */
  readonly lastSeenAt: number | undefined;
  /** Grows with every change of the record; 0 on a Discovery that does not count. */
  readonly generation: number;
  /** Keys that the node had before this one and signed for the next, the last first. @default none */
  readonly earlierKeys?: readonly string[];
  /** Grows with every record that the node signs; 0 where nobody has signed this one. */
  readonly sequence: number;
  /** How an agent that is no member yet shows its colony that it holds an invite. Absent: it does not. */
  readonly admission?: string;
}

/** Returns a peer from a record; `undefined` if there is no valid key in it. */
export function parsePeer(record: PeerRecord, now: number): DiscoveredPeer | undefined {
  const role = record.role === PeerRole.COLONY
    ? "colony"
    : record.role === PeerRole.AGENT
    ? "agent"
    : undefined;
  if (role === undefined) return undefined;
  return parseCommon(record, { role, now });
}

/** Returns a colony from the answer to a lookup; `undefined` if there is no valid key in it. */
export function parseColony(
  response: LookupColonyResponse,
  now: number,
): DiscoveredPeer | undefined {
  return parseCommon({ ...response, agentId: "", admission: "" }, { role: "colony", now });
}

/** Returns an agent from the answer to a lookup; `undefined` if there is no valid key in it. */
export function parseAgent(response: LookupAgentResponse, now: number): DiscoveredPeer | undefined {
  return parseCommon({ ...response, connectPort: 0 }, { role: "agent", now });
}

type Common = Omit<
  PeerRecord,
  "$typeName" | "$unknown" | "role" | "registeredAt" | "statement" | "sequence" | "rotations"
>;

function parseCommon(
  record: Common,
  { role, now }: { role: Role; now: number },
): DiscoveredPeer | undefined {
  if (parseKey(record.pubkey) === undefined) return undefined;
  return {
    meshId: record.meshId,
    publicKey: record.pubkey,
    role,
    agentId: record.agentId,
    name: /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(record.name) ? record.name : "",
    endpoints: unique(record.endpoints.map(parseSocketAddress)),
    observedEndpoints: unique(record.observedEndpoints.filter(isDirect).map(parseEndpoint)),
    relayedEndpoints: unique(
      record.observedEndpoints.filter((one) => !isDirect(one)).map(parseEndpoint),
    ),
    noRelay: record.noRelay,
    nat: NAMES[record.nat] ?? "NAT_UNKNOWN",
    meshIpv4: meshAddress(record.meshIpv4, 4),
    meshIpv6: meshAddress(record.meshIpv6, 6),
    connectPort: record.connectPort <= 65535 ? record.connectPort : 0,
    metadata: record.metadata,
    lastSeenAt: parseTime(record.lastSeen, now),
    generation: Number(BigInt.asUintN(53, record.generation)),
    sequence: 0,
    ...(record.admission !== "" && { admission: record.admission }),
  };
}

/** The number that stands for a hint in messages. */
export const NAT_NUMBER = {
  NAT_UNKNOWN: NatHintNumber.NAT_UNKNOWN,
  NAT_CONE: NatHintNumber.NAT_CONE,
  NAT_RESTRICTED: NatHintNumber.NAT_RESTRICTED,
  NAT_SYMMETRIC: NatHintNumber.NAT_SYMMETRIC,
} as const satisfies Record<NatHint, NatHintNumber>;
const NAMES: Readonly<Record<number, NatHint>> = {
  [NatHintNumber.NAT_UNKNOWN]: "NAT_UNKNOWN",
  [NatHintNumber.NAT_CONE]: "NAT_CONE",
  [NatHintNumber.NAT_RESTRICTED]: "NAT_RESTRICTED",
  [NatHintNumber.NAT_SYMMETRIC]: "NAT_SYMMETRIC",
};

/** Whether an observed endpoint is the node's own, and not one where a relay listens for it. */
function isDirect({ viaRelay }: Endpoint): boolean {
  return !viaRelay;
}

/** Returns the address of an observed endpoint that datagrams can be sent to. */
function parseEndpoint({ ip, port, protocol }: Endpoint): SocketAddress | undefined {
  const hostname = canonicalIp(ip);
  if (hostname === undefined || (protocol !== "" && protocol !== "udp")) return undefined;
  return { hostname, port };
}

function unique(addresses: readonly (SocketAddress | undefined)[]): SocketAddress[] {
  const found = new Map<string, SocketAddress>();
  for (const address of addresses) {
    if (address === undefined || address.port < 1 || address.port > 65535) continue;
    if (found.size < ENDPOINTS_MAX) found.set(`${address.hostname} ${address.port}`, address);
  }
  return [...found.values()];
}

function meshAddress(text: string, family: 4 | 6): string | undefined {
  const canonical = canonicalIp(text);
  return canonical !== undefined && familyOf(canonical) === family ? canonical : undefined;
}

function parseTime(
  time: { readonly seconds: bigint; readonly nanos: number } | undefined,
  now: number,
): number | undefined {
  if (time === undefined) return undefined;
  const ms = Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6);
  return ms >= EARLIEST_MS && ms <= now + AHEAD_MAX_MS ? ms : undefined;
}
