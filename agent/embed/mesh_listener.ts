/** A TCP port inside the mesh as a `Deno.TcpListener`. @module */
import { MorayError } from "../../core/mod.ts";
import { openPort } from "../dynamic_port.ts";
import type { Network, TunnelListener } from "../network.ts";
import { denoError } from "./deno_error.ts";
import { MeshConn } from "./mesh_conn.ts";

/**
 * Listens for TCP connections inside the mesh, on every address of its node.
 *
 * It does what a `Deno.TcpListener` does: a second `accept` while one waits rejects with `Deno.errors.Busy`, one after
 * {@linkcode MeshListener.close} with `Deno.errors.BadResource`, and `for await` ends then.
 */
export class MeshListener implements Deno.Listener<MeshConn, Deno.NetAddr> {
  /** The address listened on: one of the node's, and the port. */
  readonly addr: Deno.NetAddr;
  readonly #listener: TunnelListener;
  #closed = false;

  /** Takes a listener over. */
  constructor(listener: TunnelListener, hostname: string) {
    this.#listener = listener;
    this.addr = { transport: "tcp", hostname, port: listener.port };
  }

  /** Resolves with the next connection. */
  async accept(): Promise<MeshConn> {
    if (this.#closed) throw this.#badResource();
    try {
      return new MeshConn(await this.#listener.accept());
    } catch (error) {
      if (this.#closed) throw this.#badResource();
      if (error instanceof MorayError && error.code === "usage") {
        throw new Deno.errors.Busy(error.message, { cause: error });
      }
      throw denoError(error);
    }
  }

  /** Stops listening. Connections that were accepted go on. */
  close(): void {
    this.#closed = true;
    this.#listener.close();
  }

  /** As {@linkcode MeshListener.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The connections, until the listener is closed. */
  async *[Symbol.asyncIterator](): AsyncIterableIterator<MeshConn> {
    while (!this.#closed) {
      let conn: MeshConn;
      try {
        conn = await this.accept();
      } catch (error) {
        if (this.#closed) return;
        throw error;
      }
      yield conn;
    }
  }

  /** Does nothing: a node keeps its program alive until it is stopped. */
  ref(): void {}

  /** Does nothing, as {@linkcode MeshListener.ref}. */
  unref(): void {}

  #badResource(): Error {
    return new Deno.errors.BadResource(`The listener on mesh port ${this.addr.port} is closed`);
  }
}

/**
 * Listens on a mesh port; 0 for any free one of those that nobody is registered for, by `random` (of [0, 1)). Throws
 * `Deno.errors.AddrInUse`.
 */
export function listenOn(network: Network, port: number, random: () => number): TunnelListener {
  try {
    return openPort(port, random, (chosen) => network.listen(chosen));
  } catch (error) {
    throw denoError(error);
  }
}
