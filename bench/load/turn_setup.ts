/**
 * `turn_setup.ts RELAY CLIENT_PORT PEER SECRET REALM CHANNEL`: makes an allocation from CLIENT_PORT with a channel to PEER, prints the
 * relayed address and leaves: whoever binds CLIENT_PORT next has them.
 *
 * @module
 */
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from "../../core/mod.ts";
import {
  channelNumberAttribute,
  decodeStun,
  encodeStun,
  errorCode,
  findAttribute,
  longTermKey,
  METHOD_ALLOCATE,
  METHOD_CHANNEL_BIND,
  NONCE,
  REALM,
  requestedTransportAttribute,
  restCredentials,
  signStun,
  type StunAttribute,
  type StunMessage,
  USERNAME,
  XOR_PEER_ADDRESS,
  XOR_RELAYED_ADDRESS,
  xorAddressAttribute,
  xorAddressOf,
} from "../../traversal/mod.ts";

const ANSWER_MS_MAX = 2000;
const ATTEMPTS_MAX = 5;
const LIFE_SECONDS = 86_400;

const [relayText = "", clientPort = "", peerText = "", secret = "", realm = "", channel = ""] =
  Deno.args;
const relay = parseSocketAddress(relayText);
const peer = parseSocketAddress(peerText);
if (relay === undefined || peer === undefined) throw new Error("usage: see the module");
const socket = Deno.listenDatagram({
  transport: "udp",
  hostname: "0.0.0.0",
  port: Number(clientPort),
});
const relayed = await setUp(relay, peer);
socket.close();
Deno.stdout.writeSync(new TextEncoder().encode(`${formatSocketAddress(relayed)}\n`));

async function setUp(server: SocketAddress, peer: SocketAddress): Promise<SocketAddress> {
  const expiresAtSeconds = Date.now() / 1000 + LIFE_SECONDS;
  const credentials = restCredentials(secret, { session: `bench${clientPort}`, expiresAtSeconds });
  const key = longTermKey("md5", { ...credentials, realm });
  const id = (): Uint8Array => crypto.getRandomValues(new Uint8Array(12));
  const transport = requestedTransportAttribute();
  const unsigned = encodeStun({
    class: "request",
    method: METHOD_ALLOCATE,
    transactionId: id(),
    attributes: [transport],
  });
  const nonce = findAttribute(await ask(server, unsigned), NONCE) ?? new Uint8Array();
  const request = async (
    method: number,
    attributesOf: (id: Uint8Array) => readonly StunAttribute[],
  ): Promise<StunMessage> => {
    const transactionId = id();
    const attributes = [
      ...attributesOf(transactionId),
      text(USERNAME, credentials.username),
      text(REALM, realm),
      { type: NONCE, value: nonce },
    ];
    const answer = await ask(
      server,
      signStun({ class: "request", method, transactionId, attributes }, key),
    );
    const error = errorCode(answer);
    if (error !== undefined) throw new Error(`the relay answers ${error.code} ${error.reason}`);
    return answer;
  };
  const allocated = await request(METHOD_ALLOCATE, () => [transport]);
  await request(METHOD_CHANNEL_BIND, (transactionId) => [
    channelNumberAttribute(Number(channel)),
    xorAddressAttribute(XOR_PEER_ADDRESS, peer, transactionId),
  ]);
  const address = xorAddressOf(allocated, XOR_RELAYED_ADDRESS);
  if (address === undefined) throw new Error("an allocation without an address");
  return address;
}

async function ask(server: SocketAddress, bytes: Uint8Array): Promise<StunMessage> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    await socket.send(bytes, { transport: "udp", ...server });
    const answer = await Promise.race([receive(), late()]);
    if (answer !== undefined) return answer;
  }
  throw new Error("the relay does not answer");
}

async function receive(): Promise<StunMessage | undefined> {
  const [bytes] = await socket.receive();
  return decodeStun(bytes);
}

function late(): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), ANSWER_MS_MAX));
}

function text(type: number, value: string): StunAttribute {
  return { type, value: new TextEncoder().encode(value) };
}
