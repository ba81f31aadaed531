/**
 * The answers of a STUN server that lets clients find out how their NAT behaves (RFC 5780): pure and stateless.
 *
 * ```text
 *   listens on          answers from, by CHANGE-REQUEST
 *   host, port          -  that socket      port  host, port'      both  host', port'
 *   host, port'            RESPONSE-ORIGIN says which it was; OTHER-ADDRESS names the socket
 *   host', port            at the other host and port
 *   host', port'
 * ```
 *
 * All of that is for requests that are signed with credentials of ours. CHANGE-REQUEST and RESPONSE-PORT send an answer where or
 * from where nobody asked: in any other request they are attributes that this server does not understand. Whoever signs gets a
 * receipt for the address that was seen too, if the credentials are those of a node. What is added to an answer is added where the
 * request was long enough, the receipt first: no answer with it is longer than its request.
 *
 * @module
 */
import { type Datagram, sameAddress, type SocketAddress, type Transmit } from "../../core/mod.ts";
import {
  CHANGE_REQUEST,
  decodeStun,
  encodeAddress,
  encodeStun,
  encodeXorAddress,
  ERROR_UNAUTHENTICATED,
  ERROR_UNKNOWN_ATTRIBUTE,
  errorAttribute,
  findAttribute,
  MESSAGE_INTEGRITY,
  METHOD_BINDING,
  OTHER_ADDRESS,
  PADDING,
  RESPONSE_ORIGIN,
  RESPONSE_PORT,
  RFC_8489_ATTRIBUTES,
  type StunAttribute,
  type StunMessage,
  unknownAttributesAttribute,
  unknownRequired,
  USERNAME,
  XOR_MAPPED_ADDRESS,
} from "./codec.ts";
import { signStun, verifyStun } from "./integrity.ts";
import { receiptAttribute } from "./receipt.ts";

/** CHANGE-REQUEST asks for an answer from the other host. */
export const CHANGE_HOST = 4;
/** CHANGE-REQUEST asks for an answer from the other port. */
export const CHANGE_PORT = 2;

/** The two addresses of a server. The other two sockets are their combinations; where the hosts are the same there are none. */
export interface BehaviourAddresses {
  /** Where clients are told to ask. */
  readonly primary: SocketAddress;
  /** The second address: another port, and another host if the machine has one. */
  readonly alternate: SocketAddress;
}

/** Options of {@linkcode answerBehaviour}. */
export interface AnswerBehaviourOptions {
  /** The socket that the request came to. */
  readonly local: SocketAddress;
  /** All addresses of the server; `undefined` if it has only one. */
  readonly addresses: BehaviourAddresses | undefined;
  /** Returns the password of a user, or `undefined` for nobody's name or one that has expired. */
  readonly passwordOf: (username: string) => string | undefined;
  /** What is vouched for with the answer to a signed request. @default nothing */
  readonly vouch?: (request: SignedRequest) => Voucher;
}

/** A request that somebody signed whom we know. */
export interface SignedRequest {
  /** Its user. */
  readonly username: string;
  /** Where it came from. */
  readonly source: SocketAddress;
  /** Its transaction, borrowed. */
  readonly transactionId: Uint8Array;
}

/** What is vouched for: an address, with these bytes; nothing; or not even an answer is due, as the request is another's. */
export type Voucher =
  | { readonly kind: "receipt"; readonly receipt: Uint8Array }
  | { readonly kind: "none" }
  | { readonly kind: "silence" };

/** An answer, and the socket that it must leave from. */
export interface BehaviourAnswer extends Transmit {
  /** One of {@linkcode behaviourSockets}. */
  readonly from: SocketAddress;
}

/** What anybody's request may hold. PADDING is there to make it longer, and asks for nothing. */
const KNOWN: ReadonlySet<number> = new Set([...RFC_8489_ATTRIBUTES, PADDING]);
const NOTHING: Voucher = { kind: "none" };

/** Every socket of a server: four, or two where both addresses have the same host. */
export function behaviourSockets({ primary, alternate }: BehaviourAddresses): SocketAddress[] {
  const sockets: SocketAddress[] = [];
  for (const { hostname } of [primary, alternate]) {
    for (const { port } of [primary, alternate]) {
      const socket = { hostname, port };
      if (!sockets.some((other) => sameAddress(other, socket))) sockets.push(socket);
    }
  }
  return sockets;
}

/**
 * Returns the answer to a Binding request, or `undefined` for anything that gets silence: no STUN message, a response, an
 * indication, another method, or a source that no answer can reach.
 */
export function answerBehaviour(
  { source, payload }: Datagram,
  { local, addresses, passwordOf, vouch = () => NOTHING }: AnswerBehaviourOptions,
): BehaviourAnswer | undefined {
  const request = decodeStun(payload);
  if (request?.class !== "request" || request.method !== METHOD_BINDING) return undefined;
  const { transactionId } = request;
  const mapped = encodeXorAddress(source, transactionId);
  if (mapped === undefined || source.port === 0) return undefined;

  const signer = signerOf(payload, request, passwordOf);
  const refuse = (attributes: StunAttribute[]): BehaviourAnswer => {
    const error = { class: "error", method: METHOD_BINDING, transactionId, attributes } as const;
    const bytes = seal(error, signer?.password);
    return { from: local, destination: source, payload: bytes };
  };
  if (signer === undefined && findAttribute(request, MESSAGE_INTEGRITY) !== undefined) {
    return refuse([errorAttribute(ERROR_UNAUTHENTICATED, "Unauthenticated")]);
  }
  const asked = signer === undefined ? undefined : readAsked(signer.request, addresses);
  const known = new Set([...KNOWN, ...asked?.understood ?? []]);
  // What stands behind MESSAGE-INTEGRITY was not signed, and is to be ignored.
  const unknown = unknownRequired(signer?.request ?? request, known);
  if (unknown.length > 0) {
    return refuse([
      errorAttribute(ERROR_UNKNOWN_ATTRIBUTE, "Unknown Attribute"),
      unknownAttributesAttribute(unknown),
    ]);
  }
  const success = (extra: readonly StunAttribute[]): Uint8Array =>
    seal({
      class: "success",
      method: METHOD_BINDING,
      transactionId,
      attributes: [{ type: XOR_MAPPED_ADDRESS, value: mapped }, ...extra],
    }, signer?.password);
  if (signer === undefined) return { from: local, destination: source, payload: success([]) };
  const from = addresses === undefined ? local : changed(local, addresses, asked?.change ?? 0);
  const port = asked?.port ?? source.port;
  // An answer that goes to another port says nothing of that one.
  const voucher = port === source.port
    ? vouch({ username: signer.username, source, transactionId })
    : NOTHING;
  if (voucher.kind === "silence") return undefined;
  const receipt = voucher.kind === "receipt" ? [receiptAttribute(voucher.receipt)] : [];
  const behaviour = addresses === undefined ? [] : behaviourAttributes(from, {
    other: changed(local, addresses, CHANGE_HOST | CHANGE_PORT),
  });
  const fitting = [[...receipt, ...behaviour], receipt].map(success)
    .find(({ length }) => length <= payload.length);
  const destination = { hostname: source.hostname, port };
  return { from, destination, payload: fitting ?? success([]) };
}

/** Who signed a request. */
interface Signer {
  /** The part of it that is signed. */
  readonly request: StunMessage;
  readonly username: string;
  readonly password: string;
}

/** Who signed a request, and the part of it that is signed; `undefined` for nobody whom we know. */
function signerOf(
  payload: Uint8Array,
  request: StunMessage,
  passwordOf: AnswerBehaviourOptions["passwordOf"],
): Signer | undefined {
  const name = findAttribute(request, USERNAME);
  if (name === undefined || findAttribute(request, MESSAGE_INTEGRITY) === undefined) {
    return undefined;
  }
  const username = new TextDecoder().decode(name);
  const password = passwordOf(username);
  const signed = password === undefined ? undefined : verifyStun(payload, request, password);
  if (password === undefined || signed === undefined) return undefined;
  return { request: signed, username, password };
}

/** What a signed request asks for beyond a plain answer. */
interface Asked {
  /** {@linkcode CHANGE_HOST} and {@linkcode CHANGE_PORT}. */
  readonly change: number;
  /** Where the answer goes; `undefined` for the source's port. */
  readonly port: number | undefined;
  /** Types of the attributes that can be fulfilled. */
  readonly understood: readonly number[];
}

function readAsked(request: StunMessage, addresses: BehaviourAddresses | undefined): Asked {
  const understood: number[] = [];
  const flags = findAttribute(request, CHANGE_REQUEST);
  let change = 0;
  if (flags?.length === 4 && addresses !== undefined) {
    change = (flags[3] ?? 0) & (CHANGE_HOST | CHANGE_PORT);
    const sameHost = addresses.primary.hostname === addresses.alternate.hostname;
    if (!(sameHost && (change & CHANGE_HOST) !== 0)) understood.push(CHANGE_REQUEST);
  }
  const value = findAttribute(request, RESPONSE_PORT);
  const port = value?.length === 4 ? (value[0] ?? 0) << 8 | (value[1] ?? 0) : 0;
  if (port !== 0) understood.push(RESPONSE_PORT);
  return { change, port: port === 0 ? undefined : port, understood };
}

/** The socket beside `local` that CHANGE-REQUEST names. */
function changed(
  local: SocketAddress,
  { primary, alternate }: BehaviourAddresses,
  change: number,
): SocketAddress {
  const isPrimaryHost = local.hostname === primary.hostname;
  const isPrimaryPort = local.port === primary.port;
  const host = (change & CHANGE_HOST) === 0
    ? local.hostname
    : (isPrimaryHost ? alternate : primary).hostname;
  const port = (change & CHANGE_PORT) === 0
    ? local.port
    : (isPrimaryPort ? alternate : primary).port;
  return { hostname: host, port };
}

function behaviourAttributes(
  origin: SocketAddress,
  { other }: { readonly other: SocketAddress },
): StunAttribute[] {
  const attributes: StunAttribute[] = [];
  for (const [type, address] of [[RESPONSE_ORIGIN, origin], [OTHER_ADDRESS, other]] as const) {
    const value = encodeAddress(address);
    if (value !== undefined) attributes.push({ type, value });
  }
  return attributes;
}

function seal(message: StunMessage, password: string | undefined): Uint8Array<ArrayBuffer> {
  const options = { fingerprint: true };
  return password === undefined
    ? encodeStun(message, options)
    : signStun(message, password, options);
}
