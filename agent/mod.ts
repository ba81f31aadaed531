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
export { type PreparedRotation, prepareRotation } from "./key_rotation.ts";
export { connectLocalApi, type RemoteHandle } from "./local_api.ts";
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
export type {
  InviteRequest,
  IssuedInvite,
  MemberList,
  MembershipHandle,
} from "./membership/handle.ts";
export { type JoinedMesh, joinedMesh } from "./membership/join_file.ts";
export { netcheck } from "./netcheck/start.ts";
export {
  type ByteStream,
  type ConnectOptions,
  type DatagramHandler,
  DatagramTooLong,
  type Network,
  type TunnelConn,
  type TunnelDatagrams,
  type TunnelListener,
} from "./network.ts";
export { startAgent, startColony, startWireGuard } from "./node.ts";
export type {
  CommonOptions,
  ExposePathRule,
  ExposePortRule,
  ExposeRule,
  ForwardRule,
  Log,
  MeshNodeOptions,
  ProxyCredentials,
  RunningNode,
  UnixPath,
  WireGuardNodeOptions,
} from "./options.ts";
export type { OfferedRelay, OfferedRelaySpec, RelayOfferOptions } from "./relay_offer_options.ts";
export type {
  CandidateStatus,
  MemberStatus,
  NatStatus,
  NodeHandle,
  NodeStatus,
  PathChange,
  PathDetail,
  PathKind,
  PathStatus,
  PeerStatus,
  PingReply,
  PolicyStatus,
  PortMappingStatus,
  RefusedPort,
  RefusedStatus,
  RelayOfferStatus,
  RelayStatus,
} from "./status.ts";
