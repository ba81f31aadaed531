/**
 * A relay in a Worker: what a node runs for its mesh beside itself. The Worker loads this folder and what that stands on, nothing that
 * knows WireGuard, and is told nothing but how to relay.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { messageOf, MorayError } from "../core/mod.ts";
import type { RelayReply, RelayTask, WorkerRelayOptions } from "./worker_protocol.ts";
import { type RunningRelay, startRelay } from "./server.ts";

let relay: RunningRelay | undefined;

self.onmessage = ({ data }: MessageEvent<RelayTask>): void => {
  take(data).catch((error) => {
    const code = error instanceof MorayError ? error.code : "internal";
    reply({ kind: "failed", code, message: messageOf(error) });
  });
};

async function take(task: RelayTask): Promise<void> {
  switch (task.kind) {
    case "start":
      return await start(task.options);
    case "report":
      return report();
    case "revoke":
      return relay?.revoke(task.sessions);
    case "drain":
      await relay?.drain({ ms: task.ms });
      return reply({ kind: "drained" });
    case "stop":
      await relay?.stop();
      return reply({ kind: "stopped" });
  }
}

async function start(options: WorkerRelayOptions): Promise<void> {
  const running = await startRelay({
    ...options,
    log: (level, message, fields) =>
      reply({ kind: "log", level, message, ...fields && { fields } }),
  });
  relay = running;
  const { transports, listening, driver } = running;
  reply({ kind: "started", transports, listening, driver });
  await running.finished;
}

function report(): void {
  if (relay === undefined) return;
  reply({ kind: "report", report: relay.report(), counters: relay.counters() });
}

function reply(message: RelayReply): void {
  self.postMessage(message);
}
