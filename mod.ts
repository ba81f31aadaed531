/**
 * moray in your program: a WireGuard node in userspace, without root.
 *
 * A node is started with the values behind the flags of the `moray` command, runs until it is stopped, and answers
 * for its state and for round trips to its peers. Applications reach the mesh through the node's SOCKS5 or HTTP
 * proxy and its forwarded ports, and are reached through exposed ports.
 *
 * ```ts no-run
 * import { startAgent } from "./mod.ts";
 *
 * await using node = await startAgent({
 *   mesh: "reef",
 *   discovery: ["http://127.0.0.1:8080"],
 *   state: "./moray-state",
 *   socks5: { hostname: "127.0.0.1", port: 1080 },
 *   log: (level, message, fields) => console.error(level, message, fields),
 * });
 * console.log(node.listening, await node.status());
 * ```
 *
 * @module
 */
export {
  type ByteStream,
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
  type PathKind,
  type PathStatus,
  type PeerStatus,
  type PingReply,
  type RunningNode,
  startAgent,
  startColony,
  startWireGuard,
  type TunnelConn,
  type TunnelListener,
  type WireGuardNodeOptions,
} from "./agent/mod.ts";
export { type ErrorCode, MorayError, type SocketAddress } from "./core/mod.ts";
