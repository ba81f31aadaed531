/**
 * The relay: TURN (RFC 8656) for nodes that find no direct path. It carries ciphertext and holds no key that opens it.
 *
 * ```text
 *   client --- UDP, TCP, TLS, WebSocket ---> listeners --> core --> one UDP socket per relayed address ---> peer
 *                                                           |
 *                            credentials by a shared secret, permissions, channels, limits, accounting
 * ```
 *
 * ```ts
 * import { startRelay } from "./mod.ts";
 *
 * await using relay = await startRelay({
 *   listenUdp: [{ hostname: "127.0.0.1", port: 0 }],
 *   externalIps: ["127.0.0.1"],
 *   secret: "only for this example",
 *   log: () => {},
 * });
 * console.log(relay.transports[0]?.kind); // udp
 * ```
 *
 * @module
 */
export type { SocketAddress } from "../core/mod.ts";
export { externalIpsOf } from "./external_ips.ts";
export type { SessionUsage } from "./core/allocation_table.ts";
export type { RelayProtocol } from "./core/flow.ts";
export {
  RELAY_LIMITS,
  type RelayLimits,
  type RelayRate,
  type ScopeKind,
  type ScopeLimits,
} from "./core/limits.ts";
export type { PortRange } from "./core/relayed_ports.ts";
export type { Log } from "./log.ts";
export type { RelayOptions, RelayReport, RelayTransport, RunningRelay } from "./server.ts";
export { startRelay } from "./start.ts";
export {
  type RelayWorkerOptions,
  type RunningRelayWorker,
  startRelayWorker,
} from "./worker_relay.ts";
export type { WorkerRelayOptions } from "./worker_protocol.ts";
export { readTlsFiles, type TlsPem } from "./tls_files.ts";
