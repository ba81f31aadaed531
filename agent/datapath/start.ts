/** Starts the datapath Worker from the main thread. @module */
import { messageOf, MorayError, type SocketAddress } from "../../core/mod.ts";
import { EventFd, TcpSockets } from "../../io/mod.ts";
import { DatapathClient, type NodeEvent, SharedArena } from "../shared/mod.ts";
import { LoadingDatapath } from "./loading.ts";
import type { WorkerHello, WorkerMessage, WorkerStart } from "./worker.ts";

/** Options of {@linkcode startDatapath}. */
export interface StartDatapathOptions {
  /** Our static private key, 32 bytes; the caller's copy stays as it is. */
  readonly privateKey: Uint8Array;
  /** UDP port; 0 lets the system choose. */
  readonly port: number;
  /** Largest inner packet in bytes. */
  readonly mtu: number;
  /** A fixed public endpoint, announced as a candidate. */
  readonly publicEndpoint?: SocketAddress;
  /** Which driver; `wasm` is `fast` without the native cipher. @default "auto" */
  readonly driver?: "auto" | "portable" | "fast" | "wasm";
  /** Name of an interface to make in the kernel. Absent: none. */
  readonly tun?: string;
  /** Guess no ports. @default false */
  readonly noGuess?: boolean;
  /** Reach peers through relays only. @default false */
  readonly noDirect?: boolean;
  /** Takes what the Worker tells of the node. */
  readonly onEvent: (event: NodeEvent) => void;
}

/** A running datapath. */
export interface RunningDatapath {
  /** Commands and streams. */
  readonly client: DatapathClient;
  /** Our static public key. */
  readonly publicKey: Uint8Array;
  /** Where the socket is bound, `host:port`. */
  readonly local: string;
  /** Whether the event `linksChanged` comes; otherwise somebody has to look at the interfaces. */
  readonly watchesLinks: boolean;
  /** Ends the Worker: in order if it answers within `graceMs`, else at once. Safe to call twice. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Starts a Worker, or one that loads already, and waits until its sockets are bound. Rejects with `portInUse`, `permission` or
 * `internal`.
 */
export async function startDatapath(
  options: StartDatapathOptions,
  given?: LoadingDatapath,
): Promise<RunningDatapath> {
  using loading = given ?? LoadingDatapath.begin();
  const { worker } = loading;
  const [module, aead] = await Promise.all([loading.engine, loading.aead]);
  const arena = SharedArena.create();
  let wake = (): void => worker.postMessage(0);
  let sockets: TcpSockets | undefined;
  const client = new DatapathClient({
    arena,
    wake: () => wake(),
    onEvent: options.onEvent,
    takeSocket: (conn) => sockets?.take(conn),
  });
  const hello = Promise.withResolvers<WorkerHello>();
  worker.onmessage = ({ data }: MessageEvent<WorkerMessage>): void => {
    if ("links" in data) options.onEvent({ kind: "linksChanged" });
    else if ("panic" in data) client.close(data.panic);
    else hello.resolve(data);
  };
  loading.take((message) => {
    hello.resolve({ ok: false, code: "internal", message });
    options.onEvent({ kind: "fatal", message });
    client.close(message);
  });
  const { privateKey, port, mtu, publicEndpoint, tun, driver = "auto" } = options;
  const { noGuess = false, noDirect = false } = options;
  const bell = openBell(driver);
  const closeBell = (): void => {
    if (typeof bell !== "string") bell[Symbol.dispose]();
  };
  const start: WorkerStart = {
    buffer: arena.buffer,
    module,
    aead,
    privateKey,
    port,
    mtu,
    publicEndpoint,
    noGuess,
    noDirect,
    driver,
    tun,
    eventFd: typeof bell === "string" ? bell : bell.fd,
  };
  worker.postMessage(start);
  const listening = client.listen();
  const answer = await hello.promise;
  if (!answer.ok) {
    client.close(answer.message);
    worker.terminate();
    closeBell();
    throw new MorayError(answer.code, answer.message);
  }
  if (!answer.rings) closeBell();
  else if (typeof bell !== "string") {
    wake = () => bell.ring();
    sockets = openSockets();
  }
  return {
    client,
    publicKey: answer.publicKey,
    local: answer.local,
    watchesLinks: answer.watchesLinks,
    stop: async (graceMs) => {
      // A timer that keeps the program running: who waits for a bell does not, nor a Worker that has ended.
      const late = Promise.withResolvers<void>();
      const timer = setTimeout(late.resolve, graceMs);
      await Promise.race([client.stop().catch(() => {}), late.promise]);
      client.close();
      await listening;
      clearTimeout(timer);
      worker.terminate();
      closeBell();
      sockets?.[Symbol.dispose]();
      sockets = undefined;
    },
  };
}

/** Opens what takes connections from Deno; without it their bytes cross the main thread. */
function openSockets(): TcpSockets | undefined {
  try {
    return new TcpSockets();
  } catch (error) {
    if (error instanceof MorayError && error.code === "unsupported") return undefined;
    throw error;
  }
}

/** Opens the bell of the fast driver; the reason where there is none. */
function openBell(driver: WorkerStart["driver"]): EventFd | string {
  if (driver === "portable") return "not asked for";
  try {
    return new EventFd();
  } catch (error) {
    return messageOf(error);
  }
}
