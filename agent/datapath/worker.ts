/**
 * The datapath Worker: owns the sockets and the engine.
 *
 * Its first message is a {@linkcode WorkerStart}, which it answers with a {@linkcode WorkerHello}; each later one is a wake-up.
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
import {
  LinkMonitor,
  listInterfaces,
  NativeAead,
  type NativeAeadFile,
  systemClock,
  systemRng,
} from "../../io/mod.ts";
import { isVirtualInterface } from "../../traversal/mod.ts";
import { AEAD_DIGEST, Engine } from "../../wg/mod.ts";
import { SharedArena } from "../shared/mod.ts";
import { Datapath } from "./datapath.ts";
import { FastDriver } from "./fast_driver.ts";
import { PortableDriver } from "./portable_driver.ts";
import { SocketSplices } from "./socket_splice.ts";
import { TunPort } from "./tun_port.ts";

/** How the Worker is started. The key never crosses in a ring. */
export interface WorkerStart {
  /** The memory shared with the main thread. */
  readonly buffer: SharedArrayBuffer;
  /** The compiled `wg/engine.wasm`. */
  readonly module: WebAssembly.Module;
  /** The engine's cipher as native code, where there is one for this system. */
  readonly aead: NativeAeadFile | undefined;
  /** Our static private key. */
  readonly privateKey: Uint8Array;
  /** UDP port; 0 lets the system choose. */
  readonly port: number;
  /** Largest inner packet. */
  readonly mtu: number;
  /** A fixed public endpoint. */
  readonly publicEndpoint: SocketAddress | undefined;
  /** Guess no ports. */
  readonly noGuess: boolean;
  /** Reach peers through relays only. */
  readonly noDirect: boolean;
  /** Which driver; `auto` takes the fast one where it works, `wasm` is the fast one without the native cipher. */
  readonly driver: "auto" | "portable" | "fast" | "wasm";
  /** Name of the interface to make in the kernel. */
  readonly tun: string | undefined;
  /** What the main thread rings, or why it cannot. */
  readonly eventFd: number | string;
}

/** The Worker's first message. */
export type WorkerHello =
  | {
    readonly ok: true;
    readonly publicKey: Uint8Array;
    /** Where the socket is bound, `host:port`. */
    readonly local: string;
    /** Whether a wake-up is a ring of the eventfd, not a message. */
    readonly rings: boolean;
    /** Whether changes of the system's links are told as they happen, each as `{ links: true }`. */
    readonly watchesLinks: boolean;
  }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string };

/** What the Worker says besides: first its hello, then why it panicked, and that the system's links have changed. */
export type WorkerMessage = WorkerHello | { readonly panic: string } | { readonly links: true };

/**
 * The wall clock for handshakes: set once and monotonic from there, since a peer refuses every timestamp that is older
 * than the last, and the system's clock may be set back.
 */
const wallClockMs = (): number => performance.timeOrigin + performance.now();
/** The fast driver wakes up at least this often, so that a Worker that must end ends. */
const SLEEP_MS_MAX = 1000;

/** Whatever runs once the Worker has started. */
interface Running {
  readonly datapath: Datapath;
  /** Wakes the main thread. */
  readonly wakeMain: () => void;
  readonly driver: PortableDriver | FastDriver;
  readonly sockets: SocketSplices | undefined;
  readonly tun: TunPort | undefined;
  readonly links: LinkMonitor | undefined;
}

let running: Running | undefined;
let timer: ReturnType<typeof setTimeout> | undefined;
let timerAt = Infinity;
let stepping = false;

addEventListener("message", async ({ data }: MessageEvent<WorkerStart | 0>) => {
  if (data !== 0) {
    postMessage(await start(data));
    if (running?.driver instanceof FastDriver) loop(running, running.driver);
    return;
  }
  running?.datapath.handleBell();
  stepSoon();
});

async function start(options: WorkerStart): Promise<WorkerHello> {
  // The descriptors of libc are the process's: they would outlive this Worker, and hold the port.
  using opened = new DisposableStack();
  try {
    const driver = openDriver(options);
    opened.defer(() => driver.close());
    const tun = openTun(driver, options);
    opened.defer(() => tun?.close());
    const aead = driver instanceof FastDriver ? await openAead(options) : "wasm";
    if (typeof aead !== "string") opened.use(aead);
    const host = {
      wallClockMs,
      rng: systemRng,
      onPrint: (text: string): void => postMessage({ panic: text }),
      ...(typeof aead !== "string" && { aead }),
    };
    const { privateKey, mtu, publicEndpoint, noGuess, noDirect } = options;
    const engine = new Engine(options.module, host, { now: systemClock.now(), privateKey, mtu });
    privateKey.fill(0);
    const sockets = driver instanceof FastDriver ? new SocketSplices(engine) : undefined;
    opened.use(sockets);
    const arena = SharedArena.attach(options.buffer);
    const datapath = new Datapath({
      arena,
      engine,
      cipher: typeof aead === "string" ? aead : "native",
      transport: driver,
      clock: systemClock,
      wallClockMs,
      rng: systemRng,
      // What leads into the tunnel is no way to this node.
      interfaces: () => listInterfaces().filter(({ name }) => name !== tun?.name),
      noGuess,
      noDirect,
      ...(publicEndpoint && { publicEndpoint }),
      ...(sockets && { sockets }),
      ...(tun && { tun }),
    });
    if (driver instanceof FastDriver && sockets !== undefined) {
      driver.watch(sockets.fd, () => sockets.handleReady());
      driver.receiveInto(() => engine.receiveBuffer, () => datapath.handleBatch());
    }
    if (tun !== undefined && driver instanceof FastDriver) {
      driver.watch(tun.fd, () => {
        if (!datapath.handleTun()) driver.unwatch(tun.fd);
      });
    }
    const links = driver instanceof FastDriver ? openLinks(driver, tun?.name) : undefined;
    opened.use(links);
    const { publicKey } = engine;
    const [local = ""] = driver.localEndpoints;
    opened.move();
    const wakeMain = (): void => arena.notifyMain();
    running = { datapath, wakeMain, driver, sockets, tun, links };
    const rings = driver instanceof FastDriver;
    return { ok: true, publicKey, local, rings, watchesLinks: links !== undefined };
  } catch (error) {
    const code = error instanceof MorayError ? error.code : "internal";
    return { ok: false, code, message: messageOf(error) };
  }
}

/** Has the kernel's notices told to the main thread; `undefined` where there are none, and the main thread has to look. */
function openLinks(driver: FastDriver, own: string | undefined): LinkMonitor | undefined {
  try {
    const ignores = (name: string): boolean => name === own || isVirtualInterface(name);
    const links = LinkMonitor.open({ ignores });
    driver.watch(links.fd, () => {
      if (links.read()) postMessage({ links: true });
    });
    return links;
  } catch (error) {
    if (error instanceof MorayError && error.code === "unsupported") return undefined;
    throw error;
  }
}

/** The native cipher; where it cannot be had, the name of the engine's own, for `status`, and why. */
async function openAead({ aead: file, driver }: WorkerStart): Promise<NativeAead | string> {
  if (file === undefined || driver === "wasm") return "wasm";
  try {
    return await NativeAead.load(file, { known: AEAD_DIGEST });
  } catch (error) {
    if (error instanceof MorayError && error.code === "unsupported") {
      return `wasm (${error.message})`;
    }
    throw error;
  }
}

function openDriver({ driver, port, eventFd }: WorkerStart): PortableDriver | FastDriver {
  let reason: string | undefined;
  if (driver !== "portable") {
    try {
      if (typeof eventFd === "string") throw new MorayError("unsupported", eventFd);
      return FastDriver.open({
        port,
        eventFd,
        onDatagrams: (source, bytes, segment, local) =>
          running?.datapath.handleTrain(source, bytes, segment, local),
        onPathError: (error) => running?.datapath.handlePathError(error),
      });
    } catch (error) {
      const unsupported = error instanceof MorayError && error.code === "unsupported";
      if (driver !== "auto" && unsupported) {
        throw new MorayError(
          "unsupported",
          `The fast datapath does not work here: ${error.message}`,
        );
      }
      if (!unsupported) throw error;
      reason = error.message;
    }
  }
  return PortableDriver.open({
    port,
    onDatagram: (source, payload, local) => {
      running?.datapath.handleDatagram(source, payload, local);
      stepSoon();
    },
    onIdle: stepSoon,
    ...(reason !== undefined && { reason }),
  });
}

function openTun(
  driver: PortableDriver | FastDriver,
  { tun: name, mtu }: WorkerStart,
): TunPort | undefined {
  if (name === undefined) return undefined;
  if (driver instanceof FastDriver) return TunPort.open({ name, mtu });
  throw new MorayError(
    "unsupported",
    `Cannot make interface ${name}: it needs the fast datapath, and this is ${driver.name}`,
  );
}

/** The fast driver's life: never returns to the event loop before the end. */
function loop({ datapath, wakeMain, sockets, tun, links }: Running, driver: FastDriver): void {
  let more = false;
  while (!datapath.stopped) {
    const dueAt = datapath.step(wakeMain);
    const sleepMs = dueAt === undefined ? SLEEP_MS_MAX : dueAt - systemClock.now();
    if (driver.wait(more ? 0 : Math.min(sleepMs, SLEEP_MS_MAX))) datapath.handleBell();
    more = driver.receive();
  }
  datapath.step(wakeMain);
  sockets?.[Symbol.dispose]();
  links?.[Symbol.dispose]();
  tun?.close();
  driver.close();
  close();
}

/**
 * One step for everything that the socket holds: `receive` answers from the socket's buffer without leaving this turn
 * of the event loop, so that a step after each datagram costs most of the speed (over loopback on a busy machine: 104 Mbit/s, and 309
 * with one step a turn).
 */
function stepSoon(): void {
  if (stepping) return;
  stepping = true;
  setImmediate(step);
}

function step(): void {
  stepping = false;
  if (running === undefined) return;
  const { datapath, wakeMain, driver } = running;
  const dueAt = datapath.step(wakeMain);
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
  }, Math.max(0, dueAt - systemClock.now()));
}
