/** A relay's core with sockets that only note what they were told, and clients that sign. @module */
import {
  type Family,
  formatSocketAddress,
  type Instant,
  type Rng,
  type SocketAddress,
} from "../../core/mod.ts";
import {
  channelNumberAttribute,
  decodeStun,
  encodeStun,
  errorCode,
  findAttribute,
  longTermKey,
  METHOD_ALLOCATE,
  METHOD_CHANNEL_BIND,
  METHOD_CREATE_PERMISSION,
  METHOD_REFRESH,
  METHOD_SEND,
  NONCE,
  REALM,
  requestedTransportAttribute,
  restPassword,
  signStun,
  type StunAttribute,
  type StunMessage,
  USERNAME,
  XOR_PEER_ADDRESS,
  XOR_RELAYED_ADDRESS,
  xorAddressAttribute,
  xorAddressOf,
} from "../../traversal/mod.ts";
import type { Flow, RelayProtocol, RelaySink, Train } from "../core/flow.ts";
import { RELAY_LIMITS } from "../core/limits.ts";
import { RelayServer, type RelayServerOptions } from "../core/relay_server.ts";

/** The relay's secret. */
export const SECRET = "north-west-reef";
/** Its realm. */
export const REALM_TEXT = "moray";
/** Its address for peers. */
export const EXTERNAL_IP = "198.51.100.1";
/** A peer. */
export const PEER: SocketAddress = { hostname: "203.0.113.9", port: 51820 };

/** A datagram to a peer, or a ChannelData message to a client. */
export interface Sent {
  /** The peer, or the client. */
  readonly to: string;
  /** The relayed port it left from, or the channel it came by. */
  readonly by: number;
  /** The payload. */
  readonly data: Uint8Array;
  /** Whether nobody may split it. */
  readonly whole?: boolean;
}

/** Bytes in an order that is always the same. */
export function countingRng(): Rng {
  let next = 0;
  return {
    bytes: (length): Uint8Array =>
      Uint8Array.from({ length }, () => (next = next * 167 + 13 & 0xffff) >> 8),
  };
}

/** The world around one relay. Time stands still unless it is told to pass. */
export class RelayWorld implements RelaySink {
  /** Now. */
  now = 1_000_000 as Instant;
  /** Now, unix milliseconds. */
  unixMs = 1_800_000_000_000;
  /** STUN messages to clients, by flow. */
  readonly messages: { readonly flow: Flow; readonly bytes: Uint8Array }[] = [];
  /** ChannelData to clients. */
  readonly toClients: Sent[] = [];
  /** Datagrams to peers. */
  readonly toPeers: Sent[] = [];
  /** Open relayed addresses by number. */
  readonly open = new Map<number, { readonly family: Family; readonly port: number }>();
  /** Ports that somebody else holds. */
  readonly taken = new Set<number>();
  /** Flows that the relay is done with. */
  readonly ended: Flow[] = [];
  /** The relay. */
  readonly relay: RelayServer;
  #last = 0;

  /** A relay with these options instead of the usual ones. */
  constructor(options: Partial<RelayServerOptions> = {}) {
    this.relay = new RelayServer(this.now, {
      sink: this,
      rng: countingRng(),
      unixMs: () => this.unixMs,
      secret: SECRET,
      realm: REALM_TEXT,
      externalIps: [EXTERNAL_IP],
      ownAddresses: ["198.51.100.2"],
      allowPrivatePeers: false,
      limits: RELAY_LIMITS,
      portRange: { first: 50_000, last: 50_999 },
      software: "moray test",
      canForbidSplitting: true,
      ...options,
    });
  }

  sendMessage(flow: Flow, message: Uint8Array): void {
    this.messages.push({ flow, bytes: message.slice() });
  }

  sendChannelData(flow: Flow, channel: number, train: Train): void {
    for (const data of cut(train)) {
      this.toClients.push({ to: formatSocketAddress(flow.source), by: channel, data });
    }
  }

  sendToPeer(relayed: number, peer: SocketAddress, train: Train, whole: boolean): void {
    const by = this.open.get(relayed)?.port ?? 0;
    for (const data of cut(train)) {
      this.toPeers.push({ to: formatSocketAddress(peer), by, data, whole });
    }
  }

  openRelayed(family: Family, port: number): number | undefined {
    if (this.taken.has(port)) return undefined;
    this.open.set(++this.#last, { family, port });
    return this.#last;
  }

  closeRelayed(relayed: number): void {
    this.open.delete(relayed);
  }

  endFlow(flow: Flow): void {
    this.ended.push(flow);
  }

  /** Lets time pass, and the relay do what is due. */
  pass(ms: number): void {
    this.now = this.now + ms as Instant;
    this.unixMs += ms;
    this.relay.handleTimeout(this.now);
  }

  /** A client with an address of its own. */
  client(port: number, options: ClientOptions = {}): TestClient {
    return new TestClient(this, { hostname: "192.0.2.7", port }, options);
  }
}

/** Options of {@linkcode RelayWorld.client}. */
export interface ClientOptions {
  /** What its user name says, after the expiry. @default "s1" */
  readonly session?: string;
  /** Until when its user name is good, from now. @default 3600 */
  readonly lifeSeconds?: number;
  /** What it makes its password of. @default SECRET */
  readonly secret?: string;
  /** How it speaks. @default "udp" */
  readonly protocol?: RelayProtocol;
}

/** A client. */
export class TestClient {
  /** Its flow. */
  readonly flow: Flow;
  /** Its user name. */
  readonly username: string;
  /** The key that signs. */
  readonly key: Uint8Array;
  /** The nonce it uses. */
  nonce = "";
  readonly #world: RelayWorld;
  #transactions = 0;

  /** Use {@linkcode RelayWorld.client}. */
  constructor(world: RelayWorld, source: SocketAddress, options: ClientOptions) {
    const { session = "s1", lifeSeconds = 3600, secret = SECRET, protocol = "udp" } = options;
    this.#world = world;
    this.flow = { key: `${protocol} ${formatSocketAddress(source)}`, protocol, source };
    this.username = `${Math.floor(world.unixMs / 1000) + lifeSeconds}:${session}`;
    const password = restPassword(secret, this.username);
    this.key = longTermKey("md5", { username: this.username, realm: REALM_TEXT, password });
  }

  /** A transaction id of its own. */
  transactionId(): Uint8Array {
    const { port } = this.flow.source;
    return Uint8Array.from([
      port >> 8,
      port & 255,
      ++this.#transactions >> 8,
      this.#transactions & 255,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
    ]);
  }

  /** Offers bytes; returns the messages that came back. */
  offer(bytes: Uint8Array, segment = bytes.length): readonly StunMessage[] {
    const { messages, now, relay } = this.#world;
    const from = messages.length;
    relay.handleClient(now, this.flow, bytes, segment);
    return messages.slice(from).filter(({ flow }) => flow === this.flow)
      .map(({ bytes: answer }) => decodeStun(answer)).filter((message) => message !== undefined);
  }

  /** Encodes a signed request. */
  encode(
    method: number,
    attributes: readonly StunAttribute[],
    transactionId = this.transactionId(),
  ): Uint8Array {
    return signStun(
      {
        class: "request",
        method,
        transactionId,
        attributes: [
          ...attributes,
          text(USERNAME, this.username),
          text(REALM, REALM_TEXT),
          text(NONCE, this.nonce),
        ],
      },
      this.key,
      { fingerprint: true },
    );
  }

  /** Makes a signed request, with a fresh nonce where it has none. Returns the one answer. */
  request(method: number, attributes: readonly StunAttribute[] = []): StunMessage {
    if (this.nonce === "") this.learnNonce();
    return one(this.offer(this.encode(method, attributes)));
  }

  /** Asks without credentials, and takes the nonce from the 401. */
  learnNonce(): StunMessage {
    const answer = one(this.offer(this.unsigned(METHOD_ALLOCATE, [requestedTransportAttribute()])));
    this.nonce = new TextDecoder().decode(findAttribute(answer, NONCE));
    return answer;
  }

  /** Encodes a request without credentials. */
  unsigned(method: number, attributes: readonly StunAttribute[]): Uint8Array {
    return encodeStun({
      class: "request",
      method,
      transactionId: this.transactionId(),
      attributes,
    });
  }

  /** Allocates; returns the relayed port, or the error's code as a negative number. */
  allocate(attributes: readonly StunAttribute[] = []): number {
    const answer = this.request(METHOD_ALLOCATE, [requestedTransportAttribute(), ...attributes]);
    return xorAddressOf(answer, XOR_RELAYED_ADDRESS)?.port ?? -(errorCode(answer)?.code ?? 0);
  }

  /** Asks for a permission; returns the error's code, 0 if there is none. */
  permit(...peers: readonly SocketAddress[]): number {
    const id = this.transactionId();
    if (this.nonce === "") this.learnNonce();
    const attributes = peers.map((peer) => xorAddressAttribute(XOR_PEER_ADDRESS, peer, id));
    return codeOf(one(this.offer(this.encode(METHOD_CREATE_PERMISSION, attributes, id))));
  }

  /** Binds a channel; returns the error's code, 0 if there is none. */
  bind(channel: number, peer: SocketAddress): number {
    const id = this.transactionId();
    const attributes = [
      channelNumberAttribute(channel),
      xorAddressAttribute(XOR_PEER_ADDRESS, peer, id),
    ];
    return codeOf(one(this.offer(this.encode(METHOD_CHANNEL_BIND, attributes, id))));
  }

  /** Refreshes; returns the error's code, 0 if there is none. */
  refresh(attributes: readonly StunAttribute[] = []): number {
    return codeOf(this.request(METHOD_REFRESH, attributes));
  }

  /** Sends a Send indication. */
  send(peer: SocketAddress, attributes: readonly StunAttribute[]): void {
    const transactionId = this.transactionId();
    this.offer(encodeStun({
      class: "indication",
      method: METHOD_SEND,
      transactionId,
      attributes: [xorAddressAttribute(XOR_PEER_ADDRESS, peer, transactionId), ...attributes],
    }));
  }
}

/** The code of an error, 0 for a success. */
export function codeOf(message: StunMessage): number {
  return errorCode(message)?.code ?? 0;
}

/** The one thing that there is. */
export function one<T>(all: readonly T[]): T {
  const [first] = all;
  if (first === undefined || all.length !== 1) {
    throw new Error(`${all.length} where one is expected`);
  }
  return first;
}

function* cut({ bytes, segment, skip }: Train): Generator<Uint8Array, void> {
  for (let at = 0; at < bytes.length || at === 0; at += segment) {
    yield bytes.slice(at + skip, at + segment);
  }
}

function text(type: number, value: string): StunAttribute {
  return { type, value: new TextEncoder().encode(value) };
}
