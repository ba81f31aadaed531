/**
 * The datapath Worker: owns the sockets and the engine.
 *
 * Its first message is a {@linkcode WorkerStart}; each later one is a wake-up. It answers with a {@linkcode WorkerHello},
 * then with wake-ups.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { setImmediate } from "node:timers";
import {
  type ErrorCode,
  type Instant,
  messageOf,
  MorayError,
  type SocketAddress,
} from "../../core/mod.ts";
import { Engine } from "../../wg/mod.ts";
import { SharedArena } from "../shared/mod.ts";
import { Datapath } from "./datapath.ts";
import { PortableDriver } from "./portable_driver.ts";

/** How the Worker is started. The key never crosses in a ring. */
export interface WorkerStart {
  /** The memory shared with the main thread. */
  readonly buffer: SharedArrayBuffer;
  /** The compiled `wg/engine.wasm`. */
  readonly module: WebAssembly.Module;
  /** Our static private key. */
  readonly privateKey: Uint8Array;
  /** UDP port; 0 lets the system choose. */
  readonly port: number;
  /** Largest inner packet. */
  readonly mtu: number;
  /** A fixed public endpoint. */
  readonly publicEndpoint: SocketAddress | undefined;
}

/** The Worker's first message. */
export type WorkerHello =
  | {
    readonly ok: true;
    readonly publicKey: Uint8Array;
    /** Where the socket is bound, `host:port`. */
    readonly local: string;
  }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string };

const clock = { now: (): Instant => performance.now() as Instant };
const wallClockMs = (): number => performance.timeOrigin + performance.now();
const rng = { bytes: (n: number): Uint8Array => crypto.getRandomValues(new Uint8Array(n)) };

let running: { readonly datapath: Datapath; readonly driver: PortableDriver } | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;
let timerAt = Infinity;
let stepping = false;

addEventListener("message", ({ data }: MessageEvent<WorkerStart | 0>) => {
  if (data !== 0) {
    postMessage(start(data));
    return;
  }
  running?.datapath.handleBell();
  stepSoon();
});

function start(options: WorkerStart): WorkerHello {
  try {
    const driver = PortableDriver.open({
      port: options.port,
      onDatagram: (source, payload) => {
        running?.datapath.handleDatagram(source, payload);
        stepSoon();
      },
      onIdle: stepSoon,
    });
    const host = {
      wallClockMs,
      rng,
      onPrint: (text: string): void => postMessage({ panic: text }),
    };
    const { privateKey, mtu, publicEndpoint } = options;
    const engine = new Engine(options.module, host, { now: clock.now(), privateKey, mtu });
    privateKey.fill(0);
    const datapath = new Datapath({
      arena: SharedArena.attach(options.buffer),
      engine,
      transport: driver,
      clock,
      wallClockMs,
      rng,
      interfaces: () => Deno.networkInterfaces(),
      ...(publicEndpoint && { publicEndpoint }),
    });
    running = { datapath, driver };
    return { ok: true, publicKey: engine.publicKey, local: driver.localEndpoints[0] ?? "" };
  } catch (error) {
    const code = error instanceof MorayError ? error.code : "internal";
    return { ok: false, code, message: messageOf(error) };
  }
}

/**
 * One step for everything that the sockets hold: `receive` answers from the socket's buffer without leaving this turn
 * of the event loop, so that a step after each datagram would cost ten times its work (measured: 100 us against 10).
 */
function stepSoon(): void {
  if (stepping) return;
  stepping = true;
  setImmediate(step);
}

function step(): void {
  stepping = false;
  if (running === undefined) return;
  const { datapath, driver } = running;
  const dueAt = datapath.step(() => postMessage(0));
  if (datapath.stopped) {
    clearTimeout(timer);
    driver.close();
    running = undefined;
    close();
    return;
  }
  sleepUntil(dueAt);
}

/** Arms the timer. One that is due earlier stays: a step too many costs less than arming one. */
function sleepUntil(dueAt: Instant | undefined): void {
  if (dueAt === undefined || dueAt >= timerAt) return;
  clearTimeout(timer);
  timerAt = dueAt;
  timer = setTimeout(() => {
    timerAt = Infinity;
    step();
  }, Math.max(0, dueAt - clock.now()));
}
