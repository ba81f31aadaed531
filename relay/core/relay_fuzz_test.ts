/** Whatever bytes come, nothing is thrown, nothing is sent where it may not go, and everything stays within its limits. @module */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  METHOD_ALLOCATE,
  METHOD_REFRESH,
  requestedTransportAttribute,
} from "../../traversal/mod.ts";
import { PEER, RelayWorld } from "../testing/relay_world.ts";
import { answerUpgrade, headEnd } from "./upgrade_request.ts";
import { WebSocketFrames } from "./web_socket_frames.ts";

const FINGERPRINT_BYTES = 8;

/** Random bytes that often begin as STUN or ChannelData does. */
function datagrams(): fc.Arbitrary<Uint8Array> {
  const head = fc.constantFrom(
    [],
    [0x00, 0x03, 0x00, 0x08, 0x21, 0x12, 0xa4, 0x42],
    [0x00, 0x16, 0x00, 0x10, 0x21, 0x12, 0xa4, 0x42],
    [0x40, 0x00, 0x00, 0x04],
    [0x40, 0x00, 0xff, 0xff],
  );
  return fc.tuple(head, fc.uint8Array({ maxLength: 200 })).map(([first, rest]) =>
    Uint8Array.of(...first, ...rest)
  );
}

Deno.test("no datagram of a client's throws, or makes an allocation", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  fc.assert(
    fc.property(datagrams(), fc.integer({ min: 1, max: 300 }), (bytes, segment) => {
      client.offer(bytes, segment);
    }),
    { numRuns: 2000 },
  );
  assert.equal(world.relay.allocations, 0);
  assert.equal(world.toPeers.length, 0);
});

Deno.test("no request with a byte changed throws, or is taken for the original", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  client.allocate();
  const refresh = client.encode(METHOD_REFRESH, []);
  const allocate = client.encode(METHOD_ALLOCATE, [requestedTransportAttribute()]);
  fc.assert(
    fc.property(
      fc.constantFrom(refresh, allocate),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (original, at, change) => {
        world.pass(20);
        const bytes = original.slice();
        // FINGERPRINT stands behind the signature, and is not signed.
        const index = at % (bytes.length - FINGERPRINT_BYTES);
        bytes[index] = (bytes[index] ?? 0) ^ change;
        for (const answer of client.offer(bytes)) assert.equal(answer.class, "error");
      },
    ),
    { numRuns: 1000 },
  );
});

Deno.test("nothing that peers send throws, whatever its size and segments", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  client.allocate();
  client.bind(0x4000, PEER);
  const [relayed = 0] = world.open.keys();
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 3000 }),
      fc.integer({ min: 1, max: 2000 }),
      (bytes, segment) => {
        const from = world.toClients.length;
        world.relay.handlePeer(world.now, relayed, PEER, { bytes, segment });
        const came = world.toClients.splice(from).reduce((sum, { data }) => sum + data.length, 0);
        assert.equal(came, bytes.length);
      },
    ),
  );
});

Deno.test("WebSocket frames come out the same however they are cut, and no bytes throw", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 400 }),
      fc.array(fc.integer({ min: 1, max: 50 })),
      (bytes, cuts) => {
        const read = (sizes: readonly number[]): string => {
          const frames = new WebSocketFrames();
          const seen: number[] = [];
          const taker = {
            onData: (data: Uint8Array) => void seen.push(...data),
            onPing: (data: Uint8Array) => void seen.push(-1, ...data),
            onClose: () => void seen.push(-2),
          };
          const copy = bytes.slice();
          let at = 0;
          for (const size of [...sizes, bytes.length]) {
            frames.push(copy.subarray(at, at + size), taker);
            at += size;
            if (at >= bytes.length) break;
          }
          return `${seen.join()} ${frames.broken}`;
        };
        assert.equal(read(cuts), read([]));
      },
    ),
  );
});

Deno.test("no head of an HTTP request throws", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    headEnd(bytes);
    assert.equal(answerUpgrade(bytes).isUpgraded, false);
  }));
});
