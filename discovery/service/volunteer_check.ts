/**
 * Looks whether a relay that a node runs can be used by others: not what the node says counts, but what can be done from here.
 *
 * ```text
 *   Discovery, a fresh port --Allocate--> the relay          it is there, and knows its secret
 *             --CreatePermission-------->
 *             --a datagram--> the relayed port               whatever stands before it lets peers in
 *             <--the same, as Data------- the relay
 * ```
 *
 * A relay that refuses this server's address as a peer, because one of the two is private, is only asked for the allocation. TCP is tried
 * at the addresses whose UDP was found to work, and nowhere else: nobody else's ports are looked at.
 *
 * @module
 */
import {
  equals,
  familyOf,
  type Instant,
  isLocalScope,
  messageOf,
  parseSocketAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import { systemClock } from "../../io/clock.ts";
import { systemRng } from "../../io/entropy.ts";
import { isPublicAddress, type StunCredentials, TurnClient } from "../../traversal/mod.ts";
import type { RelayTransport } from "../relay/transport.ts";
import type { CheckResult } from "./volunteer_registry.ts";

/** Addresses that are looked at: one of each family. */
const ADDRESSES_MAX = 2;
/** How long an address may take: a request is sent four times in it. */
const UDP_MS = 2500;
const TCP_MS = 1500;
/** How often a datagram is sent to the relayed port: the first may come before its permission. */
const PROBE_MS = 150;
const PROBE_BYTES = 16;
const NO_ANSWER = "its UDP port does not answer from outside";

/** A relay to look at. */
export interface CheckedVolunteer {
  /** The ways that it names. */
  readonly transports: readonly RelayTransport[];
  /** Credentials that it must take. */
  readonly credentials: StunCredentials;
}

/** Options of {@linkcode checkVolunteer}. */
export interface CheckOptions {
  /** Looks at private and loopback addresses too: for a Discovery of a private network. @default false */
  readonly allowPrivate?: boolean;
}

/** Looks at the ways that a relay names. Never rejects. */
export async function checkVolunteer(
  { transports, credentials }: CheckedVolunteer,
  { allowPrivate = false }: CheckOptions = {},
): Promise<CheckResult> {
  const named = addressesOf(transports, "udp");
  const usable = named.filter(({ address: { hostname } }) =>
    isPublicAddress(hostname) || (allowPrivate && isUnicast(hostname))
  ).slice(0, ADDRESSES_MAX);
  if (usable.length === 0) {
    const reason = named.length === 0 ? "it names no UDP address" : "its address is private";
    return { reason };
  }
  const results = await Promise.all(usable.map(async ({ transport, address }) => {
    const reason = await checkUdp(address, credentials).catch(messageOf);
    return { transport, address, reason };
  }));
  const passed = results.filter(({ reason }) => reason === undefined);
  if (passed.length === 0) return { reason: results[0]?.reason ?? NO_ANSWER };
  const hosts = new Set(passed.map(({ address }) => address.hostname));
  const streams = await Promise.all(
    addressesOf(transports, "tcp").filter(({ address }) => hosts.has(address.hostname))
      .slice(0, ADDRESSES_MAX)
      .map(async ({ transport, address }) => await connects(address) ? [transport] : []),
  );
  return { transports: [...passed.map(({ transport }) => transport), ...streams.flat()] };
}

/** Resolves with why a relay cannot be used by UDP; with `undefined` if it can. */
async function checkUdp(
  server: SocketAddress,
  credentials: StunCredentials,
): Promise<string | undefined> {
  const hostname = familyOf(server.hostname) === 4 ? "0.0.0.0" : "::";
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  const check = new UdpCheck(server, credentials, (payload, to) => {
    // Whatever cannot be sent has no answer either.
    socket.send(payload, { transport: "udp", ...to }).catch(() => {});
  });
  const reading = readAll(socket, (payload, from) => check.handle(payload, from));
  const timer = setInterval(() => check.tick(), PROBE_MS);
  try {
    return await check.result;
  } finally {
    clearInterval(timer);
    check.stop();
    socket.close();
    await reading;
  }
}

/** One relay at one address. */
class UdpCheck {
  /** Why it cannot be used; `undefined` if it can. */
  readonly result: Promise<string | undefined>;
  readonly #client: TurnClient;
  readonly #send: (payload: Uint8Array, to: SocketAddress) => void;
  readonly #end: (reason: string | undefined) => void;
  readonly #token = systemRng.bytes(PROBE_BYTES);
  readonly #until: number;
  #reason = NO_ANSWER;

  constructor(
    server: SocketAddress,
    credentials: StunCredentials,
    send: (payload: Uint8Array, to: SocketAddress) => void,
  ) {
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    this.result = promise;
    this.#end = resolve;
    this.#send = send;
    this.#until = systemClock.now() + UDP_MS;
    this.#client = new TurnClient(systemClock.now(), {
      server,
      credentials,
      rng: systemRng,
      families: [familyOf(server.hostname)],
    });
    this.#drain(systemClock.now());
  }

  handle(payload: Uint8Array, source: SocketAddress): void {
    const now = systemClock.now();
    const opened = this.#client.open(now, payload);
    if (opened === undefined) this.#client.handleInput(now, { source, payload });
    else if (equals(opened.data, this.#token)) this.#end(undefined);
    this.#drain(now);
  }

  tick(): void {
    const now = systemClock.now();
    if (now >= this.#until) return this.#end(this.#reason);
    this.#client.handleTimeout(now);
    this.#drain(now);
    const { relayed: [relayed], mapped } = this.#client;
    if (relayed === undefined || mapped === undefined) return;
    // What it refuses as a peer cannot be tried.
    if (!this.#client.reaches(mapped)) return this.#end(undefined);
    this.#send(this.#token, relayed);
  }

  /** Gives the allocation back. */
  stop(): void {
    this.#client.stop();
    this.#drain(systemClock.now());
  }

  #drain(now: Instant): void {
    for (let event; (event = this.#client.pollEvent()) !== undefined;) {
      if (event.kind === "allocated") {
        this.#reason = "its ports for peers do not answer from outside";
        const { mapped } = this.#client;
        if (mapped !== undefined) this.#client.setPeers(now, [mapped.hostname]);
      } else if (event.kind === "failed" && event.code !== undefined) {
        this.#end(`it refuses its own credentials: ${event.reason}`);
      } else if (event.kind === "failed") this.#end(NO_ANSWER);
    }
    for (let out; (out = this.#client.pollTransmit()) !== undefined;) {
      this.#send(out.payload, out.destination);
    }
  }
}

async function readAll(
  socket: Deno.DatagramConn,
  take: (payload: Uint8Array, from: SocketAddress) => void,
): Promise<void> {
  try {
    for await (const [payload, from] of socket) take(payload, from as Deno.NetAddr);
  } catch {
    // Closed.
  }
}

/** Whether a TCP connection can be opened. */
async function connects({ hostname, port }: SocketAddress): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(TCP_MS);
    (await Deno.connect({ hostname, port, signal })).close();
    return true;
  } catch {
    return false;
  }
}

/** The ways of a kind whose host is a literal. */
function addressesOf(
  transports: readonly RelayTransport[],
  kind: "udp" | "tcp",
): readonly { readonly transport: RelayTransport; readonly address: SocketAddress }[] {
  return transports.flatMap((transport) => {
    const address = transport.kind === kind ? parseSocketAddress(transport.endpoint) : undefined;
    return address === undefined ? [] : [{ transport, address }];
  });
}

/** Whether an address is one host's: private or loopback, but no group and nothing unspecified. */
function isUnicast(hostname: string): boolean {
  return !isLocalScope(hostname) || /^(127\.|::1$)/.test(hostname);
}
