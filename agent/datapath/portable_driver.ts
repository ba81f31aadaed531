/**
 * The driver that works wherever Deno does: one `Deno.listenDatagram` socket for both families.
 *
 * Deno binds `[::]` dual-stack and offers no way to ask for IPv6 only, so that `[::]:p` and `0.0.0.0:p` exclude each
 * other (docs/decisions/0003-one-dual-stack-socket.md). Where the system has no IPv6, the socket is IPv4.
 *
 * Nor is there a way to forbid splitting: what the system believes of a path decides whether a probe goes whole. So the sizes that are
 * found are those that arrive, maybe in fragments; data of that size arrives the same way.
 *
 * @module
 */
import {
  canonicalIp,
  formatSocketAddress,
  messageOf,
  MorayError,
  type SocketAddress,
} from "../../core/mod.ts";
import { LOCALS_MAX, nextLocal, type Transport } from "./transport.ts";

/** Sends under way at once; more gain nothing (measured: 64 in flight, 185,000/s). */
const SENDS_MAX = 64;
/** Datagrams that wait behind them before the driver says it is busy. */
const QUEUE_BUSY = 256;
/** Datagrams that wait at most; further ones are dropped. */
const QUEUE_MAX = 2048;
/** A buffer of the pool holds this many bytes; longer datagrams get their own. */
const BUFFER_BYTES = 2048;
const DATAGRAM_BYTES_MAX = 65_536;
/** Source addresses remembered in canonical form; when full, all are forgotten. */
const NAMES_MAX = 4096;
/** A receive error is followed by a pause, so that one that stays does not spin. */
const RECEIVE_RETRY_MS = 50;

/** Options of {@linkcode PortableDriver.open}. */
export interface PortableDriverOptions {
  /** UDP port; 0 lets the system choose. */
  readonly port: number;
  /** Takes a datagram, borrowed for the call. */
  readonly onDatagram: (source: SocketAddress, payload: Uint8Array, local: number) => void;
  /** Called when the driver is no longer busy. */
  readonly onIdle: () => void;
  /** Why this driver and not the fast one, for `status`. Absent: it was chosen. */
  readonly reason?: string;
}

interface Outgoing {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly length: number;
  readonly to: Deno.NetAddr;
  readonly socket: Deno.DatagramConn;
}

/** UDP through Deno's own sockets. */
export class PortableDriver implements Transport {
  readonly name: string;
  readonly #socket: Deno.DatagramConn;
  readonly #options: PortableDriverOptions;
  readonly #queue: Outgoing[] = [];
  readonly #pool: Uint8Array<ArrayBuffer>[] = [];
  readonly #names = new Map<string, string>();
  readonly #counters = new Map<string, number>();
  /** The extra local ends. */
  readonly #locals = new Map<number, Deno.DatagramConn>();
  readonly #open = new Set<Deno.DatagramConn>();
  #lastLocal = 0;
  #head = 0;
  #sending = 0;
  #wasBusy = false;
  #closed = false;

  private constructor(socket: Deno.DatagramConn, options: PortableDriverOptions) {
    this.#socket = socket;
    this.#options = options;
    this.name = options.reason === undefined ? "portable" : `portable (${options.reason})`;
    this.#receive(socket, 0);
  }

  /** Binds the socket. Throws `MorayError` `portInUse` or `permission`. */
  static open(options: PortableDriverOptions): PortableDriver {
    return new PortableDriver(bind(options.port), options);
  }

  get port(): number {
    return (this.#socket.addr as Deno.NetAddr).port;
  }

  get localEndpoints(): readonly string[] {
    const { hostname, port } = this.#socket.addr as Deno.NetAddr;
    return [formatSocketAddress({ hostname, port })];
  }

  get busy(): boolean {
    return this.#queue.length - this.#head >= QUEUE_BUSY;
  }

  send(bytes: Uint8Array, segment: number, to: SocketAddress, local = 0): void {
    const socket = local === 0 ? this.#socket : this.#locals.get(local);
    if (socket === undefined) return this.#count("sendFailed:local");
    const address: Deno.NetAddr = { transport: "udp", hostname: to.hostname, port: to.port };
    for (let at = 0; at < bytes.length; at += segment) {
      if (this.#queue.length - this.#head >= QUEUE_MAX) {
        this.#count("sendQueueFull");
        continue;
      }
      const length = Math.min(segment, bytes.length - at);
      const buffer = length > BUFFER_BYTES
        ? new Uint8Array(length)
        : this.#pool.pop() ?? new Uint8Array(BUFFER_BYTES);
      buffer.set(length === bytes.length ? bytes : bytes.subarray(at, at + length));
      this.#queue.push({ bytes: buffer, length, to: address, socket });
    }
    this.#flush();
  }

  openLocal(): number | undefined {
    const socket = this.#locals.size < LOCALS_MAX ? openAnyPort(this.#socket) : undefined;
    if (socket === undefined) {
      this.#count("localsRefused");
      return undefined;
    }
    const local = nextLocal(this.#lastLocal, this.#locals);
    this.#lastLocal = local;
    this.#locals.set(local, socket);
    this.#open.add(socket);
    this.#receive(socket, local);
    return local;
  }

  closeLocal(local: number): void {
    const socket = this.#locals.get(local);
    if (socket === undefined) return;
    this.#locals.delete(local);
    this.#open.delete(socket);
    socket.close();
  }

  localPort(local: number): number | undefined {
    const socket = local === 0 ? this.#socket : this.#locals.get(local);
    return (socket?.addr as Deno.NetAddr | undefined)?.port;
  }

  counters(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counters);
  }

  /** Closes the sockets; what waits is dropped. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    for (const local of [...this.#locals.keys()]) this.closeLocal(local);
  }

  #flush(): void {
    while (this.#sending < SENDS_MAX && this.#head < this.#queue.length && !this.#closed) {
      const outgoing = this.#queue[this.#head++];
      if (outgoing !== undefined) this.#start(outgoing);
    }
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0;
      this.#head = 0;
    } else if (this.#head >= QUEUE_MAX) {
      this.#queue.splice(0, this.#head);
      this.#head = 0;
    }
    const busy = this.busy;
    if (this.#wasBusy && !busy) this.#options.onIdle();
    this.#wasBusy = busy;
  }

  async #start({ bytes, length, to, socket }: Outgoing): Promise<void> {
    this.#sending++;
    try {
      await socket.send(bytes.subarray(0, length), to);
    } catch (error) {
      // No route, no such family, a firewall's refusal: the network's business, as any loss is.
      if (this.#isOpen(socket)) this.#count(`sendFailed:${nameOf(error)}`);
    }
    this.#sending--;
    if (bytes.length === BUFFER_BYTES && this.#pool.length < QUEUE_MAX) this.#pool.push(bytes);
    this.#flush();
  }

  #isOpen(socket: Deno.DatagramConn): boolean {
    if (this.#closed) return false;
    return socket === this.#socket || this.#open.has(socket);
  }

  async #receive(socket: Deno.DatagramConn, local: number): Promise<void> {
    const buffer = new Uint8Array(DATAGRAM_BYTES_MAX);
    while (this.#isOpen(socket)) {
      try {
        const [payload, from] = await socket.receive(buffer);
        const { hostname, port } = from as Deno.NetAddr;
        this.#options.onDatagram({ hostname: this.#canonical(hostname), port }, payload, local);
      } catch (error) {
        if (!this.#isOpen(socket)) return;
        // An ICMP error of an earlier send may come up here.
        this.#count(`receiveFailed:${nameOf(error)}`);
        await new Promise((resolve) => setTimeout(resolve, RECEIVE_RETRY_MS));
      }
    }
  }

  #canonical(hostname: string): string {
    const known = this.#names.get(hostname);
    if (known !== undefined) return known;
    const canonical = canonicalIp(hostname.replace(/%.*$/, "")) ?? hostname;
    if (this.#names.size >= NAMES_MAX) this.#names.clear();
    this.#names.set(hostname, canonical);
    return canonical;
  }

  #count(name: string): void {
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + 1);
  }
}

function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  const code = (error as { code?: unknown }).code;
  return typeof code === "string" ? code : error.name;
}

/** A socket on another port, of the same family; `undefined` when the system refuses. */
function openAnyPort(like: Deno.DatagramConn): Deno.DatagramConn | undefined {
  const { hostname } = like.addr as Deno.NetAddr;
  try {
    return Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  } catch {
    // No descriptor, no port: the limit is the system's.
    return undefined;
  }
}

function bind(port: number): Deno.DatagramConn {
  const open = (hostname: string): Deno.DatagramConn =>
    Deno.listenDatagram({ transport: "udp", hostname, port });
  try {
    return open("::");
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) throw inUse(port, error);
  }
  try {
    return open("0.0.0.0");
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) throw inUse(port, error);
    const code = error instanceof Deno.errors.PermissionDenied ? "permission" : "internal";
    throw new MorayError(code, `Cannot bind UDP port ${port}: ${messageOf(error)}`, error);
  }
}

function inUse(port: number, cause: unknown): MorayError {
  return new MorayError(
    "portInUse",
    `Cannot bind UDP port ${port}: address is in use; choose another with --wg-port`,
    cause,
  );
}
