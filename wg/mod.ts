/**
 * WireGuard: the engine (`wg/engine.wasm`, built from the Rust crate in `wg/engine`) and its typed binding.
 *
 * ```text
 *   datagrams --receive()--> +-----------------------------+ --transmit()--> datagrams
 *                            | boringtun | TCP | UDP, ICMP |
 *   streamWrite() ---------> +-----------------------------+ --event()-----> streamRead(), datagrams()
 * ```
 *
 * @module
 */
export * from "./aead_digest.ts";
export * from "./counters.ts";
export * from "./engine.ts";
export * from "./engine_types.ts";
export type { HostAead } from "./host_aead.ts";
export { packetsOfTrain, type TunOptions, type TunWriter } from "./tun_exchange.ts";
export { type UdpDatagram, UdpExchange, type UdpRefusal, type UdpTaker } from "./udp_exchange.ts";
export type { EngineHost } from "./wasi.ts";
