/** What a mesh node registers of itself with Discovery. Pure. @module */
import { parseSocketAddress, type SocketAddress } from "../core/mod.ts";
import type { Registration } from "../discovery/mod.ts";
import { COLONY_IPV4 } from "./addressing.ts";
import type { MeshControlOptions } from "./mesh_messages.ts";
import type { CandidateInfo } from "./shared/mod.ts";
import type { NatStatus } from "./status.ts";

/**
 * Candidates that only others could find out: Discovery keeps them apart from those that a node names itself. `sampled`: nobody is
 * there, it is where a NAT counts.
 */
const OBSERVED = ["serverReflexive", "portMapped", "peerReflexive", "sampled"];
/** Where relays listen for it. */
const RELAYED = ["relayed"];
/** Candidates that a node knows by itself. */
const OWN = ["host", "configured"];

/** Returns the record for a node's candidates, best first, and its NAT, where that is known. */
export function ownRecord(
  options: MeshControlOptions,
  { candidates, nat }: {
    readonly candidates: readonly CandidateInfo[];
    readonly nat: NatStatus | undefined;
  },
): Registration {
  const { mesh: meshId, publicKey, role, name, meshIpv6, connectPort, noRelay = false } = options;
  const { rotations = [], ownIpv4 = () => COLONY_IPV4 } = options;
  const of = (kinds: readonly string[]): SocketAddress[] =>
    candidates.filter(({ kind }) => kinds.includes(kind))
      .map(({ address }) => parseSocketAddress(address)).filter((a) => a !== undefined);
  const hint = nat?.hint as Registration["nat"];
  return {
    meshId,
    publicKey,
    role,
    name,
    endpoints: of(OWN),
    observedEndpoints: of(OBSERVED),
    ...(noRelay ? { noRelay } : { relayedEndpoints: of(RELAYED) }),
    meshIpv6,
    ...(rotations.length > 0 && { rotations }),
    ...(hint && { nat: hint }),
    ...(role === "colony" && { meshIpv4: ownIpv4() ?? COLONY_IPV4, connectPort }),
  };
}
