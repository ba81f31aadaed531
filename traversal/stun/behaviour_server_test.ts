import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from "../../core/mod.ts";
import { fuzzRuns, mutate, seeded } from "../testing/fuzz.ts";
import {
  answerBehaviour,
  type AnswerBehaviourOptions,
  type BehaviourAddresses,
  type BehaviourAnswer,
  behaviourSockets,
  CHANGE_HOST,
  CHANGE_PORT,
  type SignedRequest,
  type Voucher,
} from "./behaviour_server.ts";
import { answerBinding } from "./binding_server.ts";
import {
  CHANGE_REQUEST,
  decodeAddress,
  decodeStun,
  encodeStun,
  errorCode,
  findAttribute,
  OTHER_ADDRESS,
  PADDING,
  RESPONSE_ORIGIN,
  RESPONSE_PORT,
  softwareAttribute,
  type StunAttribute,
  type StunMessage,
  USERNAME,
  xorMappedAddress,
} from "./codec.ts";
import { signStun, verifyStun } from "./integrity.ts";
import { receiptOf } from "./receipt.ts";

const ID = Uint8Array.from({ length: 12 }, (_, i) => 0xa0 + i);
const CLIENT = address("203.0.113.9:40000");
const TWO_HOSTS: BehaviourAddresses = {
  primary: address("198.51.100.1:3478"),
  alternate: address("192.0.2.1:3479"),
};
const ONE_HOST: BehaviourAddresses = {
  primary: address("198.51.100.1:3478"),
  alternate: address("198.51.100.1:3479"),
};
const RECEIPT_BYTES = new Uint8Array(20).fill(7);
const PASSWORDS = new Map([["alice", "secret"]]);

Deno.test("behaviourSockets are four, or two where both addresses have one host", () => {
  assertEquals(behaviourSockets(TWO_HOSTS).map(formatSocketAddress), [
    "198.51.100.1:3478",
    "198.51.100.1:3479",
    "192.0.2.1:3478",
    "192.0.2.1:3479",
  ]);
  assertEquals(behaviourSockets(ONE_HOST).map(formatSocketAddress), [
    "198.51.100.1:3478",
    "198.51.100.1:3479",
  ]);
});

Deno.test("a plain request gets the plain answer, byte for byte", () => {
  for (const addresses of [TWO_HOSTS, undefined]) {
    const payload = encodeStun(request([]));
    const answer = ask(payload, { addresses });
    assertEquals(answer?.payload, answerBinding({ source: CLIENT, payload })?.payload);
    assertEquals(answer?.from, TWO_HOSTS.primary);
    assertEquals(answer?.destination, CLIENT);
  }
});

Deno.test("an unsigned request learns nothing but its address, however much room it has", () => {
  for (const filler of [softwareAttribute("x".repeat(64)), padding(1500)]) {
    const payload = encodeStun(request([filler]));
    const answer = ask(payload, { vouch: () => ({ kind: "receipt", receipt: RECEIPT_BYTES }) });
    const plain = encodeStun(request([]));
    assertEquals(answer?.payload, answerBinding({ source: CLIENT, payload: plain })?.payload);
  }
});

Deno.test("a signed request gets a receipt, in an answer no longer than itself", () => {
  const asked: SignedRequest[] = [];
  const vouch = (one: SignedRequest): Voucher => {
    asked.push({ ...one, transactionId: one.transactionId.slice() });
    return { kind: "receipt", receipt: RECEIPT_BYTES };
  };
  const room = signed([padding(64)]);
  const message = decoded(ask(room, { vouch }));
  assertEquals(receiptOf(message), RECEIPT_BYTES);
  assertEquals(addressIn(message, OTHER_ADDRESS), "192.0.2.1:3479");
  assertEquals(asked, [{ username: "alice", source: CLIENT, transactionId: ID }]);
  // Where not all of it fits, the receipt goes first, and then nothing but the address is left.
  for (const [bytes, has] of [[24, true], [0, false]] as const) {
    const payload = signed(bytes === 0 ? [] : [padding(bytes)]);
    const answer = ask(payload, { vouch });
    const short = decoded(answer);
    assertEquals([receiptOf(short) !== undefined, addressIn(short, OTHER_ADDRESS)], [
      has,
      undefined,
    ]);
    assertEquals(xorMappedAddress(short), CLIENT);
    assert((answer?.payload.length ?? 0) <= payload.length);
  }
});

Deno.test("a request that is another's gets silence, and one that has its answer sent elsewhere no receipt", () => {
  assertEquals(ask(signed([padding(64)]), { vouch: () => ({ kind: "silence" }) }), undefined);
  const answer = ask(signed([responsePort(41000), padding(64)]), {
    vouch: () => ({ kind: "receipt", receipt: RECEIPT_BYTES }),
  });
  assertEquals(answer?.destination.port, 41000);
  assertEquals(receiptOf(decoded(answer)), undefined);
});

Deno.test("a signed request with room learns the origin and the other address, in an answer no longer than itself", () => {
  for (const filler of [softwareAttribute("x".repeat(64)), padding(1500)]) {
    const payload = signed([filler]);
    const answer = ask(payload);
    const message = decoded(answer);
    assertEquals(addressIn(message, RESPONSE_ORIGIN), "198.51.100.1:3478");
    assertEquals(addressIn(message, OTHER_ADDRESS), "192.0.2.1:3479");
    assertEquals(xorMappedAddress(message), CLIENT);
    assert((answer?.payload.length ?? 0) <= payload.length);
  }
});

Deno.test("the other address is seen from whichever socket was asked", () => {
  const others = behaviourSockets(TWO_HOSTS).map((local) => {
    const message = decoded(ask(signed([padding(64)]), { local }));
    return addressIn(message, OTHER_ADDRESS);
  });
  assertEquals(others, [
    "192.0.2.1:3479",
    "192.0.2.1:3478",
    "198.51.100.1:3479",
    "198.51.100.1:3478",
  ]);
});

Deno.test("an unsigned CHANGE-REQUEST or RESPONSE-PORT is not understood: no answer leaves another socket", () => {
  for (const attribute of [change(CHANGE_HOST | CHANGE_PORT), responsePort(7)]) {
    const answer = ask(encodeStun(request([attribute])));
    assertEquals(errorCode(decoded(answer))?.code, 420);
    assertEquals(answer?.from, TWO_HOSTS.primary);
    assertEquals(answer?.destination, CLIENT);
  }
});

Deno.test("a signed CHANGE-REQUEST is answered from the socket that it names, signed", () => {
  const from = (flags: number): string => {
    const answer = ask(signed([change(flags)]));
    const message = decoded(answer);
    assertEquals(message.class, "success");
    assert(answer !== undefined && verifyStun(answer.payload, message, "secret") !== undefined);
    return formatSocketAddress(answer.from);
  };
  assertEquals(from(0), "198.51.100.1:3478");
  assertEquals(from(CHANGE_PORT), "198.51.100.1:3479");
  assertEquals(from(CHANGE_HOST), "192.0.2.1:3478");
  assertEquals(from(CHANGE_HOST | CHANGE_PORT), "192.0.2.1:3479");
});

Deno.test("a server with one host changes its port and says that it cannot change its host", () => {
  const addresses = ONE_HOST;
  assertEquals(ask(signed([change(CHANGE_PORT)]), { addresses })?.from, ONE_HOST.alternate);
  const refused = ask(signed([change(CHANGE_HOST)]), { addresses });
  assertEquals(errorCode(decoded(refused))?.code, 420);
  assertEquals(refused?.from, ONE_HOST.primary);
});

Deno.test("a server with one address understands no CHANGE-REQUEST, but RESPONSE-PORT", () => {
  const refused = ask(signed([change(CHANGE_PORT)]), { addresses: undefined });
  assertEquals(errorCode(decoded(refused))?.code, 420);
  const answer = ask(signed([responsePort(41000)]), { addresses: undefined });
  assertEquals(answer?.destination, { hostname: CLIENT.hostname, port: 41000 });
  // What is told is the source's own address all the same.
  assertEquals(xorMappedAddress(decoded(answer)), CLIENT);
});

Deno.test("a RESPONSE-PORT of 0 is refused", () => {
  assertEquals(errorCode(decoded(ask(signed([responsePort(0)]))))?.code, 420);
});

Deno.test("a wrong signature or an unknown user gets 401, shorter than the request", () => {
  for (const [user, password] of [["alice", "guess"], ["mallory", "secret"]] as const) {
    const payload = signed([change(CHANGE_PORT)], { user, password });
    const answer = ask(payload);
    assertEquals(errorCode(decoded(answer))?.code, 401);
    assertEquals(answer?.from, TWO_HOSTS.primary);
    assert((answer?.payload.length ?? Infinity) <= payload.length);
  }
});

Deno.test("what stands behind MESSAGE-INTEGRITY changes nothing", () => {
  const bytes = signStun(request([username("alice")]), "secret");
  const message = decodeStun(bytes);
  assert(message !== undefined);
  const payload = encodeStun({
    ...message,
    attributes: [...message.attributes, change(CHANGE_HOST), responsePort(7)],
  });
  // The length counts on to the end, as RFC 8489 has it.
  const answer = ask(payload);
  assertEquals(decoded(answer).class, "success");
  assertEquals(answer?.from, TWO_HOSTS.primary);
  assertEquals(answer?.destination, CLIENT);
});

Deno.test("silence for what is no Binding request", () => {
  for (const kind of ["indication", "success", "error"] as const) {
    assertEquals(ask(encodeStun({ ...request([]), class: kind })), undefined);
  }
  assertEquals(ask(encodeStun({ ...request([]), method: 3 })), undefined);
  assertEquals(ask(new Uint8Array(20)), undefined);
  assertEquals(
    answerBehaviour({ source: { ...CLIENT, port: 0 }, payload: encodeStun(request([])) }, {
      local: TWO_HOSTS.primary,
      addresses: TWO_HOSTS,
      passwordOf: () => undefined,
    }),
    undefined,
  );
});

Deno.test("no mutation of a signed request moves an answer, and none throws", () => {
  const rng = seeded(5780);
  const original = signed([change(CHANGE_HOST | CHANGE_PORT), responsePort(9)]);
  const signedPart = original.length - 8;
  let answered = 0;
  for (let i = 0; i < fuzzRuns(); i++) {
    const payload = mutate(rng, original);
    const answer = ask(payload);
    if (answer === undefined) continue;
    answered++;
    const moved = formatSocketAddress(answer.from) !== "198.51.100.1:3478" ||
      answer.destination.port !== CLIENT.port;
    if (!moved) continue;
    const covered = payload.slice(0, signedPart);
    covered.set(original.subarray(2, 4), 2);
    assertEquals(covered, original.slice(0, signedPart));
  }
  assert(answered > 0);
});

function ask(
  payload: Uint8Array,
  options: Partial<Omit<AnswerBehaviourOptions, "passwordOf">> = {},
): BehaviourAnswer | undefined {
  return answerBehaviour({ source: CLIENT, payload }, {
    local: TWO_HOSTS.primary,
    addresses: TWO_HOSTS,
    ...options,
    passwordOf: (name) => PASSWORDS.get(name),
  });
}

function request(attributes: readonly StunAttribute[]): StunMessage {
  return { class: "request", method: 1, transactionId: ID, attributes };
}

function signed(
  attributes: readonly StunAttribute[],
  { user = "alice", password = "secret" }: { user?: string; password?: string } = {},
): Uint8Array {
  return signStun(request([username(user), ...attributes]), password, { fingerprint: true });
}

function username(name: string): StunAttribute {
  return { type: USERNAME, value: new TextEncoder().encode(name) };
}

function padding(length: number): StunAttribute {
  return { type: PADDING, value: new Uint8Array(length) };
}

function change(flags: number): StunAttribute {
  return { type: CHANGE_REQUEST, value: Uint8Array.of(0, 0, 0, flags) };
}

function responsePort(port: number): StunAttribute {
  return { type: RESPONSE_PORT, value: Uint8Array.of(port >> 8, port & 0xff, 0, 0) };
}

function decoded(answer: BehaviourAnswer | undefined): StunMessage {
  const message = answer && decodeStun(answer.payload);
  assert(message !== undefined);
  return message;
}

function addressIn(message: StunMessage, type: number): string | undefined {
  const value = findAttribute(message, type);
  const found = value && decodeAddress(value);
  return found && formatSocketAddress(found);
}

function address(text: string): SocketAddress {
  const parsed = parseSocketAddress(text);
  assert(parsed !== undefined);
  return parsed;
}
