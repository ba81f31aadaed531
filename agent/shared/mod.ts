/**
 * The shared memory between a node's main thread and its datapath Worker, and the words spoken through it.
 *
 * ```text
 *   main thread                                            datapath Worker
 *   commands  --------- command ring, 256 KiB ------------>
 *             <-------- event ring, 1 MiB -----------------  replies and events
 *   stream i  --------- slot i: toNet, 128 KiB ----------->  TCP
 *             <-------- slot i: toApp, 128 KiB ------------
 *             <=======> dirty bits and one bell each way
 * ```
 *
 * A Worker that waits in a system call hears no messages, so everything crosses in memory; a wake-up carries nothing.
 * The main thread waits for its bell by `Atomics.waitAsync` (`DatapathClient.listen`); how the Worker is woken is the
 * caller's: `postMessage` or an eventfd.
 *
 * ```ts
 * import { SharedArena } from "./mod.ts";
 *
 * const main = SharedArena.create();
 * const worker = SharedArena.attach(main.buffer); // in the Worker, from a message
 * main.slot(0).toNet.write(new TextEncoder().encode("hello"));
 * main.markForWorker(main.slot(0));
 * if (main.ringWorker()) {
 *   worker.answerWorkerBell();
 *   worker.takeDirtyForWorker((slot) => console.log(slot.toNet.length)); // 5
 * }
 * ```
 *
 * @module
 */
export * from "./arena.ts";
export * from "./byte_ring.ts";
export * from "./datagram_ring.ts";
export * from "./datapath_client.ts";
export * from "./frame_outbox.ts";
export * from "./frame_ring.ts";
export * from "./protocol.ts";
export * from "./slot_stream.ts";
export * from "./stream_slot.ts";
