/**
 * Where the world is touched: clocks, entropy, files, interfaces, signals, and the system's errors in our words.
 *
 * ```text
 *   core machines  <-- now, bytes --  io  <-->  operating system
 * ```
 *
 * ```ts
 * import { readTextFile, systemClock } from "./mod.ts";
 *
 * const startedAt = systemClock.now();
 * const text = await readTextFile("deno.json");
 * console.log(text.length, systemClock.now() - startedAt);
 * ```
 *
 * @module
 */
export * from "./batch_sender.ts";
export * from "./clock.ts";
export * from "./connection_ender.ts";
export * from "./copy.ts";
export { DescriptorFinder } from "./descriptor_finder.ts";
export * from "./entropy.ts";
export * from "./epoll.ts";
export * from "./errors.ts";
export * from "./event_fd.ts";
export * from "./files.ts";
export * from "./gateways.ts";
export * from "./interfaces.ts";
export * from "./libc.ts";
export * from "./link_monitor.ts";
export * from "./memory.ts";
export { type MetricNames, type MetricsServer, serveMetrics } from "./metrics.ts";
export * from "./native_aead.ts";
export * from "./rtnetlink.ts";
export * from "./signals.ts";
export * from "./sleep.ts";
export * from "./tcp_socket.ts";
export * from "./train_receiver.ts";
export * from "./tun.ts";
export * from "./udp_loop.ts";
export * from "./udp_socket.ts";
export * from "./x25519.ts";
