/**
 * moray in your program: a WireGuard node in userspace, without root.
 *
 * {@linkcode Node} joins a mesh from inside a program, and does there what Deno's own network functions do outside:
 *
 * ```ts ignore
 * import { Node } from "./mod.ts";
 *
 * await using node = await Node.start({ mesh: "reef", discovery: "https://discovery.example" });
 * const page = await node.fetch("http://colony/");
 * node.serve((request) => new Response(`you asked for ${new URL(request.url).pathname}`));
 * ```
 *
 * {@linkcode startColony}, {@linkcode startAgent} and {@linkcode startWireGuard} start what the commands start, with the values behind
 * their flags: other programs reach the mesh through the node's proxies and forwarded ports, and are reached through exposed ports.
 *
 * ```ts
 * import { startWireGuard } from "./mod.ts";
 *
 * // The keys of the manual page of wg(8). An Endpoint would make it talk to somebody.
 * const text = `
 * [Interface]
 * PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
 * Address = 10.192.122.2/32
 *
 * [Peer]
 * PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
 * AllowedIPs = 10.192.122.1/32
 * `;
 * await using node = await startWireGuard({ file: "wg0.conf", text, log: () => {} });
 * console.log(node.listening, (await node.status()).peers);
 * ```
 *
 * @module
 */
export {
  type ConnectTo,
  type InviteOptions,
  type IssuedInvite,
  type ListenDatagramOn,
  type ListenOn,
  type MemberList,
  MeshConn,
  MeshDatagramConn,
  type MeshDatagramConnOptions,
  MeshListener,
  type MeshServeHandler,
  type MeshServeInfo,
  type MeshServeOptions,
  MeshServer,
  Node,
  type NodeOptions,
} from "./agent/embed/mod.ts";
export {
  type AllocationReport,
  type ByteStream,
  type CandidateStatus,
  type CommonOptions,
  type ConnectOptions,
  type DatagramHandler,
  DatagramTooLong,
  type DiscoveryReport,
  type ExposePathRule,
  type ExposePortRule,
  type ExposeRule,
  type FamilyReport,
  type ForwardRule,
  type InviteRequest,
  type LifetimeReport,
  type Log,
  type MembershipHandle,
  type MemberStatus,
  type MeshNodeOptions,
  type NatStatus,
  type NetcheckReport,
  type Network,
  type NodeHandle,
  type NodeStatus,
  type OfferedRelay,
  type OfferedRelaySpec,
  type PathChange,
  type PathDetail,
  type PathKind,
  type PathStatus,
  type PeerStatus,
  type PingReply,
  type PolicyStatus,
  type PortMappingReport,
  type PortMappingStatus,
  type ProxyCredentials,
  type RefusedPort,
  type RefusedStatus,
  type RelayOfferOptions,
  type RelayOfferStatus,
  type RelayStatus,
  type RunningNode,
  startAgent,
  startColony,
  startWireGuard,
  type StunServerReport,
  type TunnelConn,
  type TunnelDatagrams,
  type TunnelListener,
  type UnixPath,
  type WireGuardNodeOptions,
} from "./agent/mod.ts";
export { type ErrorCode, MorayError, type SocketAddress } from "./core/mod.ts";
export type {
  NatHint,
  RelayState,
  RelayTransport,
  RelayTransportKind,
  RelayUsage,
} from "./discovery/mod.ts";
