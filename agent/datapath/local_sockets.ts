/** The extra local ends of the fast driver: sockets on ports of their own, behind one epoll. @module */
import { MorayError } from "../../core/mod.ts";
import {
  EPOLL,
  Epoll,
  type Libc,
  openUdpSocket,
  type SocketFamily,
  type UdpSocket,
} from "../../io/mod.ts";
import { LOCALS_MAX, nextLocal } from "./transport.ts";

/** Options of {@linkcode LocalSockets}. */
export interface LocalSocketsOptions {
  /** Family of the node's own socket, which they must have too. */
  readonly family: SocketFamily;
  /** A socket has datagrams. */
  readonly onReadable: (fd: number, local: number) => void;
  /** The error queue of a socket holds something. */
  readonly onErrors: (fd: number) => void;
}

/** Up to {@linkcode LOCALS_MAX} sockets. */
export class LocalSockets implements Disposable {
  readonly #libc: Libc;
  readonly #options: LocalSocketsOptions;
  readonly #epoll: Epoll;
  readonly #byLocal = new Map<number, { readonly fd: number; readonly port: number }>();
  #last = 0;

  /** None yet. Throws `unsupported` where there is no epoll. */
  constructor(libc: Libc, options: LocalSocketsOptions) {
    this.#libc = libc;
    this.#options = options;
    this.#epoll = new Epoll(libc);
  }

  /** Readable while one of the sockets has something. */
  get fd(): number {
    return this.#epoll.fd;
  }

  /** Opens one; `undefined` at the limit, and when the system refuses. */
  open(): number | undefined {
    if (this.#byLocal.size >= LOCALS_MAX) return undefined;
    const socket = this.#bind();
    if (socket === undefined) return undefined;
    const { fd, address: { port } } = socket;
    const local = nextLocal(this.#last, this.#byLocal);
    // Told again as long as there is something: who reads a part needs no memory of the rest.
    if (!this.#epoll.add(fd, local, EPOLL.IN)) {
      this.#libc.calls.close(fd);
      return undefined;
    }
    this.#last = local;
    this.#byLocal.set(local, { fd, port });
    return local;
  }

  /** The descriptor of one; `undefined` when it is not open. */
  fdOf(local: number): number | undefined {
    return this.#byLocal.get(local)?.fd;
  }

  /** The UDP port of one; `undefined` when it is not open. */
  portOf(local: number): number | undefined {
    return this.#byLocal.get(local)?.port;
  }

  /** Closes one that is open. */
  close(local: number): void {
    const fd = this.fdOf(local);
    if (fd === undefined) return;
    this.#byLocal.delete(local);
    this.#epoll.remove(fd);
    this.#libc.calls.close(fd);
  }

  /** Tells of the sockets that have something. Returns whether there may be more. */
  take(): boolean {
    return this.#epoll.take((local, events) => {
      const fd = this.fdOf(local);
      // Closed by what one before it has led to.
      if (fd === undefined) return;
      if ((events & EPOLL.ERR) !== 0) this.#options.onErrors(fd);
      if ((events & EPOLL.IN) !== 0) this.#options.onReadable(fd, local);
    });
  }

  /** Closes all. */
  [Symbol.dispose](): void {
    for (const local of [...this.#byLocal.keys()]) this.close(local);
    this.#epoll[Symbol.dispose]();
  }

  #bind(): UdpSocket | undefined {
    try {
      const socket = openUdpSocket(this.#libc, 0);
      if (socket.family === this.#options.family) return socket;
      this.#libc.calls.close(socket.fd);
      return undefined;
    } catch (error) {
      // No descriptor, no port: the limit is the system's.
      if (error instanceof MorayError) return undefined;
      throw error;
    }
  }
}
