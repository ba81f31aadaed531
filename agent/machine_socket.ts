/** Drives a protocol machine on a UDP socket of its own, on the main thread. @module */
import {
  canonicalIp,
  type Clock,
  type Datagram,
  type Instant,
  type Machine,
  messageOf,
} from "../core/mod.ts";

/** Options of {@linkcode MachineSocket}. */
export interface MachineSocketOptions<Event> {
  /** What is driven. */
  readonly machine: Machine<Event>;
  /** Our address to bind; the port is the system's choice. */
  readonly hostname: string;
  /** The interface, for link-local destinations. */
  readonly interfaceName: string;
  /** Monotonic time. */
  readonly clock: Clock;
  /** Takes the machine's events. */
  readonly onEvent: (event: Event) => void;
  /** Called whenever the machine may want something that is no datagram. Absent: it never does. */
  readonly onTurn?: () => void;
  /** Takes what the socket says at its end, and the first datagram that could not be sent. */
  readonly onError: (reason: string) => void;
}

/** Larger datagrams are cut off, and then no machine understands them: the largest is PCP's of 1100 bytes. */
const DATAGRAM_BYTES_MAX = 2048;
/** Datagrams looked at in a second. Further ones wait in the kernel, which drops what does not fit. */
export const DATAGRAMS_PER_SECOND = 64;

/** A machine on a socket. */
export class MachineSocket<Event> implements Disposable {
  readonly #options: MachineSocketOptions<Event>;
  readonly #socket: Deno.DatagramConn;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #ended = new AbortController();
  #sendFailures = 0;

  /** Binds and starts. Throws what `Deno.listenDatagram` throws. */
  constructor(options: MachineSocketOptions<Event>) {
    this.#options = options;
    const { hostname } = options;
    this.#socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    const { signal } = this.#ended;
    receiveAll(this.#socket, signal, (datagram) => {
      options.machine.handleInput(options.clock.now(), datagram);
      this.turn();
    }).catch((error) => signal.aborted || options.onError(messageOf(error)));
    this.turn();
  }

  /** Lets the machine act, and does what it wants. After every change made to it from outside. */
  turn(): void {
    if (this.#ended.signal.aborted) return;
    const { machine, clock, onEvent, onTurn } = this.#options;
    machine.handleTimeout(clock.now());
    for (let out; (out = machine.pollTransmit()) !== undefined;) this.#send(out);
    onTurn?.();
    for (let event; (event = machine.pollEvent()) !== undefined;) onEvent(event);
    clearTimeout(this.#timer);
    // An event may have closed us.
    const dueAt = this.#ended.signal.aborted ? undefined : machine.pollTimeout();
    if (dueAt === undefined) return;
    this.#timer = setTimeout(() => this.turn(), Math.max(0, dueAt - clock.now()));
    Deno.unrefTimer(this.#timer);
  }

  /** Closes the socket. Safe to call twice. */
  [Symbol.dispose](): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort();
    clearTimeout(this.#timer);
    this.#socket.close();
  }

  #send({ destination, payload }: ReturnType<Machine<Event>["pollTransmit"]> & object): void {
    const { hostname, port } = destination;
    const zone = /^fe[89ab]/i.test(hostname) ? `%${this.#options.interfaceName}` : "";
    this.#socket.send(payload, { transport: "udp", hostname: hostname + zone, port })
      .catch((error) => {
        if (this.#ended.signal.aborted || this.#sendFailures++ > 0) return;
        this.#options.onError(`cannot send to ${hostname}: ${messageOf(error)}`);
      });
  }
}

/**
 * Hands every datagram that comes to `socket` to `take`, at most {@linkcode DATAGRAMS_PER_SECOND}. Resolves when the socket
 * is closed, for which its owner aborts `signal`; rejects when it breaks.
 */
export async function receiveAll(
  socket: Deno.DatagramConn,
  signal: AbortSignal,
  take: (datagram: Datagram) => void,
): Promise<void> {
  const buffer = new Uint8Array(DATAGRAM_BYTES_MAX);
  let since = performance.now() as Instant;
  let count = 0;
  for (;;) {
    let received: [Uint8Array, Deno.Addr];
    try {
      received = await socket.receive(buffer);
    } catch (error) {
      // Closed here, or an answer to something sent said that nobody listens there.
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
        return;
      }
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      continue;
    }
    const [payload, address] = received;
    const now = performance.now() as Instant;
    if (now - since >= 1000) [since, count] = [now, 0];
    if (++count > DATAGRAMS_PER_SECOND) await pause(since + 1000 - now, signal);
    if (signal.aborted) return;
    if (address.transport !== "udp") continue;
    const hostname = canonicalIp(address.hostname.replace(/%.*$/, ""));
    if (hostname !== undefined) take({ source: { hostname, port: address.port }, payload });
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = (): void => {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
    resolve();
  };
  const timer = setTimeout(end, ms);
  Deno.unrefTimer(timer);
  signal.addEventListener("abort", end);
  if (signal.aborted) end();
  return promise;
}
