/**
 * moray in your program: a WireGuard node in userspace, without root.
 *
 * A node is started with the values behind the flags of the `moray` command, runs until it is stopped, and answers
 * for its state and for round trips to its peers. Applications reach the mesh through the node's SOCKS5 or HTTP
 * proxy and its forwarded ports, and are reached through exposed ports.
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
 * {@linkcode startColony} and {@linkcode startAgent} start the nodes of a mesh; they need a Discovery service.
 *
 * @module
 */
export {
  type ByteStream,
  type CandidateStatus,
  type CommonOptions,
  type ConnectOptions,
  type ExposeRule,
  type ForwardRule,
  type Log,
  type MeshNodeOptions,
  type NatStatus,
  type Network,
  type NodeHandle,
  type NodeStatus,
  type OfferedRelay,
  type OfferedRelaySpec,
  type PathDetail,
  type PathKind,
  type PathStatus,
  type PeerStatus,
  type PingReply,
  type PortMappingStatus,
  type RelayOfferOptions,
  type RelayOfferStatus,
  type RelayStatus,
  type RunningNode,
  startAgent,
  startColony,
  startWireGuard,
  type TunnelConn,
  type TunnelListener,
  type WireGuardNodeOptions,
} from "./agent/mod.ts";
export { type ErrorCode, MorayError, type SocketAddress } from "./core/mod.ts";
