/** TURN for tests: coturn as a server, and our client on real sockets. @module */
import {
  formatSocketAddress,
  type Instant,
  parseSocketAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import { systemClock, systemRng } from "../../io/mod.ts";
import {
  encodeChannelData,
  restCredentials,
  StreamFrames,
  type StunCredentials,
  TurnClient,
  type TurnClientOptions,
  type TurnEvent,
} from "../../traversal/mod.ts";
import { Child, run } from "./child.ts";
import { eventually, type Scope, within } from "./scope.ts";

/** A running TURN server of somebody else. */
export interface TurnServer {
  /** Where it listens for UDP and TCP. */
  readonly plain: SocketAddress;
  /** Where it listens for TLS. */
  readonly tls: SocketAddress;
  /** The certificate, PEM. */
  readonly certificate: string;
  /** The secret of the REST scheme. */
  readonly secret: string;
  /** The process. */
  readonly child: Child;
  /** The line that says that an allocation is no more. */
  readonly removed: RegExp;
}

/** Options of {@linkcode startCoturn}. */
export interface CoturnOptions {
  /** Listening and relay addresses. @default ["127.0.0.1"] */
  readonly addresses?: readonly string[];
  /** Further flags. */
  readonly flags?: readonly string[];
  /** Network namespace to run in. Absent: ours. */
  readonly namespace?: string;
}

/** Starts coturn on free ports with the REST scheme; peers on loopback are allowed. */
export async function startCoturn(scope: Scope, options: CoturnOptions = {}): Promise<TurnServer> {
  const { addresses = ["127.0.0.1"], flags = [], namespace } = options;
  const files = scope.directory();
  const [port, tlsPort] = [freePort(), freePort()];
  const secret = `secret-${crypto.randomUUID()}`;
  const { key, certificate } = await selfSigned(files);
  const listen = addresses.flatMap((address) => ["-L", address, "-E", address]);
  const child = new Child([
    "turnserver",
    ...["-n", "--no-cli", "--no-dtls", "-p", `${port}`, "--tls-listening-port", `${tlsPort}`],
    ...listen,
    ...["--use-auth-secret", "--static-auth-secret", secret, "-r", "moray"],
    ...["--no-rfc5780", "--cert", certificate, "--pkey", key, "--allow-loopback-peers"],
    ...["--log-file", "stdout", "--pidfile", `${files}/pid`, "-b", `${files}/db`],
    ...flags,
  ], { namespace });
  scope.use(child);
  const [hostname = ""] = addresses;
  const plain = { hostname, port };
  if (namespace === undefined) {
    await eventually("coturn to listen", async () => {
      try {
        (await Deno.connect(plain)).close();
        return true;
      } catch {
        return undefined;
      }
    });
  }
  const pem = await Deno.readTextFile(certificate);
  return {
    plain,
    tls: { hostname, port: tlsPort },
    certificate: pem,
    secret,
    child,
    removed: /refreshed, .* lifetime=0/,
  };
}

/** Credentials of the REST scheme for an hour. */
export function restFor(secret: string, session = "test"): StunCredentials {
  return restCredentials(secret, { session, expiresAtSeconds: Date.now() / 1000 + 3600 });
}

/** Makes a key and a certificate for `localhost`, 127.0.0.1 and further addresses. Returns their files. */
export async function selfSigned(
  folder: string,
  addresses: readonly string[] = [],
): Promise<{ readonly key: string; readonly certificate: string }> {
  const [key, certificate] = [`${folder}/key.pem`, `${folder}/cert.pem`];
  const names = ["127.0.0.1", ...addresses].map((address) => `IP:${address}`);
  const subject = ["-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE"];
  const { code, stderr } = await run([
    ...["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    ...["-nodes", "-days", "2", "-keyout", key, "-out", certificate, ...subject],
    ...["-addext", `subjectAltName=DNS:localhost,${names.join(",")}`],
  ]);
  if (code !== 0) throw new Error(`openssl: ${stderr}`);
  return { key, certificate };
}

/** What carries a client's messages. */
export type TurnCarrier =
  | { readonly kind: "udp"; readonly port?: number }
  | { readonly kind: "stream"; readonly conn: Deno.Conn };

/** Our client on a real socket and a real clock. */
export class TurnLink implements AsyncDisposable {
  /** The machine. */
  readonly client: TurnClient;
  /** What it told and nobody waited for, oldest first. */
  readonly events: TurnEvent[] = [];
  /** What came through the relay: who sent it, and what, as text. */
  readonly received: { readonly peer: string; readonly text: string }[] = [];
  readonly #send: (payload: Uint8Array, to: SocketAddress) => void;
  readonly #close: () => void;
  readonly #reading: Promise<void>;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  private constructor(
    options: Omit<TurnClientOptions, "rng" | "reliable">,
    carrier: TurnCarrier,
  ) {
    const reliable = carrier.kind === "stream";
    this.client = new TurnClient(this.#now(), { ...options, rng: systemRng, reliable });
    if (carrier.kind === "udp") {
      const { port = 0 } = carrier;
      const hostname = options.server.hostname.includes(":") ? "::1" : "127.0.0.1";
      const socket = Deno.listenDatagram({ transport: "udp", hostname, port });
      this.#send = (payload, to) => {
        socket.send(payload, { transport: "udp", ...to }).catch(() => {});
      };
      this.#close = () => socket.close();
      this.#reading = this.#readSocket(socket);
    } else {
      const { conn } = carrier;
      let last = Promise.resolve();
      this.#send = (payload) => {
        last = last.then(() => writeAll(conn, payload)).catch(() => {});
      };
      this.#close = () => {
        // A read is pending, and `close` alone would send nothing (Deno 2.8.3).
        conn.closeWrite().catch(() => {});
        conn.close();
      };
      this.#reading = this.#readStream(conn, options.server);
    }
    this.#drain();
  }

  /** A client that starts to allocate. */
  static open(
    options: Omit<TurnClientOptions, "rng" | "reliable">,
    carrier: TurnCarrier = { kind: "udp" },
  ): TurnLink {
    return new TurnLink(options, carrier);
  }

  /** Resolves with the next event of a kind; the ones before it are dropped. */
  event<K extends TurnEvent["kind"]>(
    kind: K,
    timeoutMs = 10_000,
  ): Promise<Extract<TurnEvent, { readonly kind: K }>> {
    return eventually(`the client to tell ${kind}`, () => {
      for (let event; (event = this.events.shift()) !== undefined;) {
        if (event.kind === kind) return event as Extract<TurnEvent, { readonly kind: K }>;
        if (event.kind === "failed" || event.kind === "lost") {
          throw new Error(`${event.kind}: ${event.reason}`);
        }
      }
      return undefined;
    }, { timeoutMs, everyMs: 5 });
  }

  /** Changes the client, then does what it wants. */
  change<T>(change: (client: TurnClient, now: Instant) => T): T {
    const result = change(this.client, this.#now());
    this.#drain();
    return result;
  }

  /** Sends a text to a peer, by its channel if it has one. Returns how. */
  say(peer: SocketAddress, text: string): "channel" | "indication" {
    const data = new TextEncoder().encode(text);
    const channel = this.change((client, now) => client.channelTo(now, peer));
    if (channel === undefined) {
      const payload = this.client.encodeSend(peer, data);
      if (payload !== undefined) this.#send(payload, this.client.server);
      return "indication";
    }
    this.#send(encodeChannelData({ channel, data }, { padded: true }), this.client.server);
    return "channel";
  }

  /** Gives the allocation back and closes the socket. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.change((client) => client.stop());
    // What was just written must get out before the socket closes.
    await new Promise((resolve) => setTimeout(resolve, 20));
    await this.kill();
  }

  /** Closes the socket and says nothing, as a process does that dies. */
  async kill(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#close();
    await within(5_000, "the socket to close", this.#reading);
  }

  #now(): Instant {
    return systemClock.now();
  }

  async #readSocket(socket: Deno.DatagramConn): Promise<void> {
    try {
      for await (const [payload, from] of socket) {
        const { hostname, port } = from as Deno.NetAddr;
        this.#take({ hostname, port }, payload);
      }
    } catch {
      // Closed.
    }
  }

  async #readStream(conn: Deno.Conn, server: SocketAddress): Promise<void> {
    const frames = new StreamFrames();
    const buffer = new Uint8Array(16_384);
    try {
      for (let n; (n = await conn.read(buffer)) !== null;) {
        frames.push(buffer.subarray(0, n), (frame) => this.#take(server, frame));
      }
    } catch {
      // Closed.
    }
  }

  #take(source: SocketAddress, payload: Uint8Array): void {
    const opened = this.client.open(this.#now(), payload);
    if (opened !== undefined) {
      const text = new TextDecoder().decode(opened.data);
      this.received.push({ peer: formatSocketAddress(opened.peer), text });
    } else this.client.handleInput(this.#now(), { source, payload });
    this.#drain();
  }

  #drain(): void {
    for (let out; (out = this.client.pollTransmit()) !== undefined;) {
      this.#send(out.payload, out.destination);
    }
    for (let event; (event = this.client.pollEvent()) !== undefined;) this.events.push(event);
    clearTimeout(this.#timer);
    const dueAt = this.client.pollTimeout();
    if (dueAt === undefined || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.client.handleTimeout(this.#now());
      this.#drain();
    }, Math.max(0, dueAt - this.#now()));
  }
}

/** A port of this machine that nobody listens on now, below those that the system gives away. */
export function freePort(): number {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    try {
      using _listener = Deno.listen({ hostname: "127.0.0.1", port });
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

/** Reads `host:port` that is known to be well formed. */
export function addressOf(text: string): SocketAddress {
  const address = parseSocketAddress(text);
  if (address === undefined) throw new TypeError(`No address: ${text}`);
  return address;
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}
