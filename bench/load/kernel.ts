/** A load between two kernels: iperf3 for bulk, and round trips by the native `tcp_ping`. @module */
import { formatSocketAddress, type SocketAddress } from "../../core/mod.ts";
import { Child, must } from "../../tests/support/child.ts";
import { unmet } from "../../tests/support/needs.ts";
import type { Scope } from "../../tests/support/scope.ts";
import type { Bulk, End, Load } from "../cases/tunnel.ts";
import { built, unbuildable } from "../peers/cache.ts";
import { nativeProgram } from "../peers/programs.ts";
import type { RoundTrips } from "./protocol.ts";

/** Where iperf3 listens at end B; `tcp_ping` is on the port after it. */
export const BULK_PORT = 5201;
/** Where `tcp_ping` listens at end B. */
export const PING_PORT: number = BULK_PORT + 1;
/** What a command may take beyond the time that it measures. */
const GRACE_MS = 30_000;
/** How often a busy iperf3 is asked, and how long it is left alone in between. */
const ATTEMPTS_MAX = 10;
const BUSY_MS = 300;

/** Why this load cannot be made here, or `undefined`. */
export async function kernelLoadUnmet(): Promise<string | undefined> {
  return unmet(["iperf3"]) ?? unbuildable(await nativeProgram("tcp_ping"));
}

/** Starts the servers at an end, on every address: iperf3, which serves one at a time, and `tcp_ping` after it. */
export async function startKernelServers(
  scope: Scope,
  { end, port = BULK_PORT }: {
    /** Where they run. */
    readonly end: End;
    /** iperf3's port. @default BULK_PORT */
    readonly port?: number;
  },
): Promise<void> {
  const { namespace } = end;
  const bulk = scope.use(
    new Child(["iperf3", "--server", "--forceflush", "--port", `${port}`], { namespace }),
  );
  const ping = scope.use(
    new Child([await built(await nativeProgram("tcp_ping")), "serve", `${port + 1}`], {
      namespace,
    }),
  );
  await bulk.line(/Server listening/);
  await ping.line(/^ready/);
}

/** What is read of iperf3's report. */
interface Iperf3Report {
  readonly end?: { readonly "sum_received"?: { readonly "bits_per_second": number } };
  readonly error?: string;
}

/** Kernel sockets at both ends. */
export class KernelLoad implements Load {
  readonly #from: End;
  readonly #bulk: SocketAddress;
  readonly #ping: SocketAddress;
  readonly #congestion: string | undefined;

  /** Loads the servers through the addresses where `from` reaches them. */
  constructor({ from, bulk, ping, congestion }: {
    /** Where the load comes from. */
    readonly from: End;
    /** Where it reaches iperf3. */
    readonly bulk: SocketAddress;
    /** Where it reaches `tcp_ping`. */
    readonly ping: SocketAddress;
    /** Congestion control of the sender. Absent: the system's default. */
    readonly congestion?: string;
  }) {
    this.#from = from;
    this.#bulk = bulk;
    this.#ping = ping;
    this.#congestion = congestion;
  }

  /** Moves bytes and returns Mbit/s at the receiver. */
  async bulk({ direction, streams, seconds, skipSeconds = 0 }: Bulk): Promise<number> {
    const { hostname, port } = this.#bulk;
    const command = ["iperf3", "--json", "--client", hostname, "--port", `${port}`];
    command.push("--time", `${seconds}`, "--omit", `${skipSeconds}`, "--parallel", `${streams}`);
    if (direction === "down") command.push("--reverse");
    if (this.#congestion !== undefined) command.push("--congestion", this.#congestion);
    const options = {
      namespace: this.#from.namespace,
      timeoutMs: (seconds + skipSeconds) * 1000 + GRACE_MS,
    };
    for (let attempt = 1;; attempt++) {
      const { end, error } = JSON.parse(await must(command, options)) as Iperf3Report;
      // Its exit status is 0 whatever happened.
      if (end?.sum_received !== undefined) return end.sum_received.bits_per_second / 1e6;
      // It takes its time to be done with the client before.
      const isBusy = error?.includes("busy") && attempt < ATTEMPTS_MAX;
      if (!isBusy) throw new Error(`iperf3: ${error ?? "no figures"}`);
      await new Promise((wake) => setTimeout(wake, BUSY_MS));
    }
  }

  /** Sends one byte there and back, `count` times. */
  async roundTrip(count: number): Promise<RoundTrips> {
    const { hostname, port } = this.#ping;
    const program = await built(await nativeProgram("tcp_ping"));
    const { namespace } = this.#from;
    try {
      const text = await must([program, "ping", hostname, `${port}`, `${count}`], {
        namespace,
        timeoutMs: GRACE_MS,
      });
      return JSON.parse(text) as RoundTrips;
    } catch (cause) {
      throw new Error(`no round trip to ${formatSocketAddress(this.#ping)}`, { cause });
    }
  }
}

/** A load on servers at an address inside the tunnel, or at B's own. */
export function directLoad(
  { from, hostname, congestion, port = BULK_PORT }: {
    /** Where the load comes from. */
    readonly from: End;
    /** The servers' address. */
    readonly hostname: string;
    /** Congestion control of the sender. Absent: the system's default. */
    readonly congestion?: string;
    /** iperf3's port. @default BULK_PORT */
    readonly port?: number;
  },
): KernelLoad {
  return new KernelLoad({
    from,
    bulk: { hostname, port },
    ping: { hostname, port: port + 1 },
    ...(congestion === undefined ? {} : { congestion }),
  });
}
