/** The load of processes that hold the tunnel's streams themselves and take orders on a unix socket. @module */
import type { Bulk, Load } from "../cases/tunnel.ts";
import { orderPing, orderTransfer } from "./control.ts";
import { LOAD_PORT, megabits, type RoundTrips } from "./protocol.ts";

/** Orders for the process at end A. */
export class ControlledLoad implements Load {
  readonly #path: string;
  readonly #hostname: string;

  /** `path` is A's unix socket, `hostname` B's address inside the tunnel. */
  constructor(path: string, hostname: string) {
    this.#path = path;
    this.#hostname = hostname;
  }

  /** Moves bytes and returns Mbit/s at the receiver. */
  async bulk({ direction, streams, seconds, skipSeconds = 0 }: Bulk): Promise<number> {
    const flows = await orderTransfer(this.#path, {
      kind: direction === "up" ? "send" : "receive",
      target: this.#target,
      streams,
      skipMs: skipSeconds * 1000,
      measureMs: seconds * 1000,
    });
    return megabits(flows);
  }

  /** Sends one byte there and back, `count` times. */
  roundTrip(count: number): Promise<RoundTrips> {
    return orderPing(this.#path, { target: this.#target, count });
  }

  get #target(): { hostname: string; port: number } {
    return { hostname: this.#hostname, port: LOAD_PORT };
  }
}
