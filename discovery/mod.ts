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
export type { DiscoveredPeer } from "./client/peer.ts";
export type { Identity } from "./client/prover.ts";
export type { RelayChoice, RelayGrant, RelayQuery } from "./client/relay.ts";
export type { Fetch } from "./client/transport.ts";
export type { PeerEvent, WatchEnd, WatchOptions, WatchState } from "./client/watch.ts";
export type { Log } from "./log.ts";
export type { SocketAddress } from "../core/mod.ts";
export type { NatHint, SourceLimiterOptions, StunCredentials } from "../traversal/mod.ts";
export type { RelayIdentity, RelayState, RelayUsage } from "./relay/report.ts";
export { meshTag, volunteerId } from "./relay/names.ts";
export type {
  RelayReporterOptions,
  RelayStanding,
  RunningRelayReporter,
} from "./relay/reporter.ts";
export type { RelayTransport, RelayTransportKind } from "./relay/transport.ts";
export type { TurnHandler } from "./service/http.ts";
export type { RelayServer } from "./service/relay_registry.ts";
export type { LocalRelay, RelayLimits, RelayOptions } from "./service/relay_service.ts";
export type { DiscoveryOptions, RunningDiscovery } from "./service/server.ts";
export type { CheckedVolunteer } from "./service/volunteer_check.ts";
export type { CheckResult } from "./service/volunteer_registry.ts";
export type { VolunteerOptions } from "./service/volunteers.ts";
export { startDiscovery, startRelayReporter } from "./start.ts";
export type { NodeKey, Role } from "./store/store.ts";
