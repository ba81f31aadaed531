/**
 * Discovery: where the nodes of a mesh find each other's keys, endpoints and NATs. The service, and its client.
 *
 * ```text
 *   colony ----- RegisterColony, Watch -----+           +----- RegisterAgent, Watch ----- agent
 *                                           v           v
 *            HTTP (Connect, JSON or binary) + Discovery + store (SQLite)
 *            UDP (STUN Binding)             ^           ^
 *   its WireGuard socket ------- STUN ------+           +------ STUN ------ its WireGuard socket
 * ```
 *
 * ```ts
 * import { DiscoveryClient, startDiscovery } from "./mod.ts";
 *
 * const log = (): void => {};
 * const local = { hostname: "127.0.0.1", port: 0 };
 * await using server = await startDiscovery({ listen: local, stunListen: [], store: ":memory:", log });
 * const client = new DiscoveryClient({ urls: [server.url], log });
 * console.log((await client.health()).status); // ok
 * ```
 *
 * @module
 */
export * from "./client.ts";
export type { SequenceStore } from "./client/own_statement.ts";
export type { DiscoveryFeatures } from "./client/features.ts";
export type { MembershipList, NewsQuery } from "./client/membership.ts";
export type { DiscoveredPeer } from "./client/peer.ts";
export {
  type PathCause,
  PATHS_PER_REPORT_MAX,
  type PathSaid,
  type PathsReport,
} from "./client/paths.ts";
export type { Identity } from "./client/prover.ts";
export type { RememberedRecords } from "./client/record_book.ts";
export type { Observed, Registered, Registration } from "./client/registration.ts";
export type { RelayChoice, RelayGrant, RelayQuery } from "./client/relay.ts";
export type { RotationAnswer } from "./client/rotation.ts";
export type { BootstrapToken, TokenQuery } from "./client/token.ts";
export type { Fetch } from "./client/transport.ts";
export type { PeerEvent, WatchEnd, WatchOptions, WatchState } from "./client/watch.ts";
export { delay } from "./delay.ts";
export type { Log } from "./log.ts";
export {
  type Admission,
  type AdmissionOrder,
  inviteKeyOf,
  isInviteKey,
  openAdmission,
  signAdmission,
} from "./membership/admission.ts";
export { type Membership, openMembership, signMembership } from "./membership/statement.ts";
export { type Signer, SigningKey, type SigningKeyOptions } from "./signature/signing_key.ts";
export { earlierKeys, openRotation, type Rotation, signRotation } from "./signature/rotation.ts";
export type { Signed } from "./signature/statement.ts";
export type { Cidr, SocketAddress } from "../core/mod.ts";
export type { RequestLimits, RequestRate, RequestSource } from "./service/request_limits.ts";
export type { NatHint, SourceLimiterOptions, StunCredentials } from "../traversal/mod.ts";
export type { RelayIdentity, RelayState, RelayUsage } from "./relay/report.ts";
export { meshTag, volunteerId } from "./relay/names.ts";
export type {
  RelayReporterOptions,
  RelayStanding,
  RunningRelayReporter,
} from "./relay/reporter.ts";
export type { RelayTransport, RelayTransportKind } from "./relay/transport.ts";
export { BODY_MS_MAX, type BodyLimits, readBody } from "./service/read_body.ts";
export type { TurnHandler } from "./service/http.ts";
export type { RelayServer } from "./service/relay_registry.ts";
export type { LocalRelay, RelayLimits, RelayOptions } from "./service/relay_service.ts";
export type { DiscoveryOptions, RunningDiscovery } from "./service/server.ts";
export type { CheckedVolunteer } from "./service/volunteer_check.ts";
export type { CheckResult } from "./service/volunteer_registry.ts";
export type { VolunteerOptions } from "./service/volunteers.ts";
export type { BootstrapClaims } from "./token/claims.ts";
export { keyThumbprint } from "./token/claims.ts";
export {
  type TokenBearer,
  type TokenFault,
  type TokenVerdict,
  TokenVerifier,
  type TokenVerifierOptions,
} from "./token/verifier.ts";
export { readStatusToken, startDiscovery, startRelayReporter } from "./start.ts";
export type { NodeKey, Role, SpendOutcome } from "./store/store.ts";
