/** Two UDP sockets for a probe of the NAT, and the clock that drives it. @module */
import { canonicalIp, type Datagram, type Instant } from "../../core/mod.ts";
import { systemClock } from "../../io/mod.ts";
import type { ProbeEnd, ProbeTransmit } from "../../traversal/mod.ts";

/** What can be driven: `NatProbe`, `LifetimeProbe`, `ServerSurvey`. */
export interface DrivenProbe {
  /** Whether no more will come of it. */
  readonly done: boolean;
  /** As in {@linkcode NatProbe}. */
  handleInput(now: Instant, end: ProbeEnd, datagram: Datagram): boolean;
  /** As in {@linkcode NatProbe}. */
  handleTimeout(now: Instant): void;
  /** As in {@linkcode NatProbe}. */
  pollTransmit(): ProbeTransmit | undefined;
  /** As in {@linkcode NatProbe}. */
  pollTimeout(): Instant | undefined;
}

/** Longer than any STUN message that is looked at. */
const DATAGRAM_BYTES_MAX = 2048;
/** Receive errors in a row after which a socket is left alone: the probe then sees silence. */
const ERRORS_MAX = 20;

/** Two sockets of one family. */
export class ProbeSockets implements Disposable {
  readonly #sockets: Readonly<Record<ProbeEnd, Deno.DatagramConn>>;
  #take: ((end: ProbeEnd, datagram: Datagram) => void) | undefined;
  #closed = false;

  private constructor(sockets: Readonly<Record<ProbeEnd, Deno.DatagramConn>>) {
    this.#sockets = sockets;
    void this.#receive("subject");
    void this.#receive("helper");
  }

  /** Opens both. Throws what `Deno.listenDatagram` throws. */
  static open(family: 4 | 6): ProbeSockets {
    const hostname = family === 4 ? "0.0.0.0" : "::";
    const subject = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    try {
      const helper = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
      return new ProbeSockets({ subject, helper });
    } catch (error) {
      subject.close();
      throw error;
    }
  }

  /** Local ports. */
  get ports(): Readonly<Record<ProbeEnd, number>> {
    const port = (end: ProbeEnd): number => (this.#sockets[end].addr as Deno.NetAddr).port;
    return { subject: port("subject"), helper: port("helper") };
  }

  /** Drives a probe to its end, one at a time. Rejects when aborted. */
  async run(probe: DrivenProbe, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const step = (): void => {
      for (let out; (out = probe.pollTransmit()) !== undefined;) this.#send(out);
      clearTimeout(timer);
      if (probe.done) return resolve();
      const dueAt = probe.pollTimeout();
      if (dueAt === undefined) return resolve();
      timer = setTimeout(() => {
        probe.handleTimeout(systemClock.now());
        step();
      }, Math.max(0, dueAt - systemClock.now()));
    };
    const abort = (): void => reject(signal.reason);
    signal.addEventListener("abort", abort);
    this.#take = (end, datagram) => {
      probe.handleInput(systemClock.now(), end, datagram);
      step();
    };
    try {
      signal.throwIfAborted();
      step();
      await promise;
    } finally {
      clearTimeout(timer);
      this.#take = undefined;
      signal.removeEventListener("abort", abort);
    }
  }

  /** Closes both. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sockets.subject.close();
    this.#sockets.helper.close();
  }

  #send({ end, destination, payload }: ProbeTransmit): void {
    const to = { transport: "udp", ...destination } as const;
    // What cannot be sent is lost, as in the network: the probe asks again and then says that nobody answered.
    this.#sockets[end].send(payload, to).catch(() => {});
  }

  async #receive(end: ProbeEnd): Promise<void> {
    const buffer = new Uint8Array(DATAGRAM_BYTES_MAX);
    for (let errors = 0; errors < ERRORS_MAX && !this.#closed;) {
      try {
        const [payload, from] = await this.#sockets[end].receive(buffer);
        errors = 0;
        const { hostname, port } = from as Deno.NetAddr;
        const canonical = canonicalIp(hostname.replace(/%.*$/, "")) ?? hostname;
        this.#take?.(end, { source: { hostname: canonical, port }, payload });
      } catch {
        // An ICMP error of an earlier send may come up here.
        errors++;
      }
    }
  }
}
