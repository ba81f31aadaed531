/**
 * A node: its life, its datapath, and the ways into the mesh.
 *
 * ```text
 *   socks5_server  http_proxy  forward  expose          local_api (status, ping)
 *          \            |         |       /                  |
 *           +---- Network (tunnel_network) ----+   node: mesh_node | wireguard_node
 *                             ||                             ||
 *                  streams, in shared memory       commands and events (shared/)
 *                             ||                             ||
 *                  +----------------- datapath/ (Worker) -----------------+
 *                  |  sockets   engine   path agents   STUN   streams     |
 *                  +------------------------------------------------------+
 * ```
 *
 * @module
 */
export { publicKeyOf } from "../io/mod.ts";
export { generatePrivateKey, type KeyPair, loadOrCreateKey } from "./key_file.ts";
export { connectLocalApi } from "./local_api.ts";
export type { NetcheckOptions } from "./netcheck/netcheck.ts";
export type {
  AllocationReport,
  DiscoveryReport,
  FamilyReport,
  LifetimeReport,
  NetcheckReport,
  PortMappingReport,
  StunServerReport,
} from "./netcheck/report.ts";
export { netcheck } from "./netcheck/start.ts";
export type { ByteStream, ConnectOptions, Network, TunnelConn, TunnelListener } from "./network.ts";
export { startAgent, startColony, startWireGuard } from "./node.ts";
export type {
  CommonOptions,
  ExposeRule,
  ForwardRule,
  Log,
  MeshNodeOptions,
  RunningNode,
  WireGuardNodeOptions,
} from "./options.ts";
export type { OfferedRelay, OfferedRelaySpec, RelayOfferOptions } from "./relay_offer_options.ts";
export type {
  CandidateStatus,
  NatStatus,
  NodeHandle,
  NodeStatus,
  PathDetail,
  PathKind,
  PathStatus,
  PeerStatus,
  PingReply,
  PortMappingStatus,
  RelayOfferStatus,
  RelayStatus,
} from "./status.ts";
