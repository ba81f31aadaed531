/** What holds for Discovery's STUN whichever sockets it is on: libc's, or Deno's own. */
import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import type { SocketAddress } from "../core/mod.ts";
import { bindingRequest, mappedAddress } from "../discovery/testing/stun.ts";
import { StunSocket } from "../discovery/testing/stun_exchange.ts";
import { StunCredentialIssuer } from "../discovery/service/stun_credentials.ts";
import { StunReceipts } from "../discovery/service/stun_receipts.ts";
import { StunService, type StunServiceOptions } from "../discovery/service/stun_service.ts";
import { CHANGE_PORT, CHANGE_REQUEST, type StunCredentials } from "../traversal/mod.ts";

const SECRET = new Uint8Array(32).fill(7);
const LOCAL: SocketAddress = { hostname: "127.0.0.1", port: 0 };
const NODE = { meshId: "reef", publicKey: "ERERERERERERERERERERERERERERERERERERERERERE=" };
const receipts = new StunReceipts(SECRET);
const issuer = new StunCredentialIssuer(SECRET);

function credentials(): StunCredentials {
  return issuer.issue(Date.now(), crypto.getRandomValues(new Uint8Array(16)), NODE);
}

async function open(part: Partial<StunServiceOptions>): Promise<StunService & AsyncDisposable> {
  const service = await StunService.open({
    listen: [LOCAL],
    alternates: [],
    issuer,
    receipts,
    now: Date.now,
    log: () => {},
    ...part,
  });
  return Object.assign(service, { [Symbol.asyncDispose]: () => service.close() });
}

function first({ addresses }: StunService): SocketAddress {
  const [address] = addresses;
  assert(address !== undefined);
  return address;
}

for (const driver of ["fast", "portable"] as const) {
  const ignore = driver === "fast" && Deno.build.os !== "linux";
  const test = (name: string, fn: () => Promise<void>): void =>
    Deno.test({ name: `Discovery's STUN on ${driver} sockets ${name}`, ignore, fn });

  test("tells who asks where it is, by IPv4 and IPv6, on a port for both", async () => {
    await using service = await open({ driver, listen: [{ hostname: "::", port: 0 }] });
    assertEquals(service.driver, driver);
    const { port } = first(service);
    for (const hostname of ["127.0.0.1", "::1"]) {
      using socket = new StunSocket(hostname);
      const found = await socket.transact({ server: { hostname, port } });
      assertEquals(found.kind === "mapped" && found.address, socket.address);
    }
    assertEquals(service.counters(), { stunAnswers: 2 });
  });

  test("vouches for what it sees of who signs", async () => {
    await using service = await open({ driver });
    using socket = new StunSocket();
    const found = await socket.transact({ server: first(service), credentials: credentials() });
    assert(found.kind === "mapped" && found.receipt !== undefined);
    const { address, receipt } = found;
    assertEquals(address, socket.address);
    assert(receipts.vouchesFor({ address, receipt }, NODE, Date.now()));
  });

  test("answers from its other socket who signs, and refuses who does not", async () => {
    const alternates = [{ hostname: "127.0.0.2", port: 0 }];
    await using service = await open({ driver, alternates });
    using socket = new StunSocket();
    const server = first(service);
    const other = service.addresses.find(({ hostname, port }) =>
      hostname === server.hostname && port !== server.port
    );
    assert(other !== undefined);
    const attributes = [{ type: CHANGE_REQUEST, value: Uint8Array.of(0, 0, 0, CHANGE_PORT) }];
    const asked = { server, attributes };
    assertEquals(await socket.transact(asked), { kind: "refused", code: 420 });
    const moved = await socket.transact({
      ...asked,
      answersFrom: other,
      credentials: credentials(),
    });
    assertEquals(moved.kind === "mapped" && moved.address, socket.address);
  });

  test("is silent on what is no request, and goes on", async () => {
    await using service = await open({ driver });
    using socket = new StunSocket();
    const server = first(service);
    const plain = bindingRequest(new Uint8Array(12).fill(3));
    const hostile = [
      new Uint8Array(1),
      plain.subarray(0, 19),
      new Uint8Array(1400).fill(0xff),
      Uint8Array.of(1, 1, ...plain.subarray(2)),
      crypto.getRandomValues(new Uint8Array(60_000)),
    ];
    for (const payload of hostile) await socket.send(payload, server);
    await socket.send(plain, server);
    const answer = await socket.next(10_000);
    assert(answer !== undefined);
    const { port } = socket.address;
    assertEquals(mappedAddress(answer.payload), `127.0.0.1:${port}`);
    assertEquals(service.counters(), { stunAnswers: 1, stunIgnored: hostile.length });
  });

  test("answers so many at once of one source, and counts the rest", async () => {
    await using service = await open({ driver, now: () => 1_790_000_000_000 });
    using socket = new StunSocket();
    for (let i = 0; i < 45; i++) {
      await socket.send(bindingRequest(new Uint8Array(12).fill(i)), first(service));
    }
    for (let i = 0; i < 40; i++) assert(await socket.next(10_000) !== undefined);
    while ((service.counters()["stunLimited"] ?? 0) < 5) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assertEquals(service.counters(), { stunAnswers: 40, stunLimited: 5 });
  });

  test("says what is wrong with an address, and lets go of the others", async () => {
    await using service = await open({ driver });
    const taken = first(service);
    const refused = {
      code: "portInUse",
      message: /^Cannot listen on .* for STUN: address is in use$/,
    };
    await assertRejects(open({ driver, listen: [LOCAL, taken] }), refused);
    const elsewhere = { hostname: "192.0.2.1", port: 0 };
    await assertRejects(open({ driver, listen: [elsewhere] }), { code: "usage" });
    await service.close();
    await service.close();
    await using again = await open({ driver, listen: [taken] });
    assertEquals(first(again), taken);
  });
}
