import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { after, type Instant, type SocketAddress } from "../../core/mod.ts";
import { CHANNEL_MAX, CHANNEL_MIN } from "./channel_data.ts";
import { CHANNELS_MAX, PeerBook, PEERS_MAX, PERMISSIONS_MAX } from "./peer_book.ts";

const T0 = 0 as Instant;
const PEER = { hostname: "203.0.113.9", port: 51820 };

Deno.test("PeerBook asks for a permission at the first word, and for a channel once the peer answers", () => {
  const book = new PeerBook(CHANNEL_MIN);
  assertEquals(book.pollTimeout(), undefined);
  book.use(T0, PEER);
  assertEquals(book.due(T0).addresses, [PEER.hostname]);
  assertEquals(book.due(T0).addresses, []);
  book.permitted(T0, PEER.hostname, "granted");
  assertEquals(book.due(T0).peers, []);
  book.heard(T0, PEER);
  const [peer] = book.due(T0).peers;
  assert(peer !== undefined);
  assertEquals([peer.address, peer.channel, peer.state], [PEER, CHANNEL_MIN, "asked"]);
  assertEquals(book.due(T0).peers, []);
  book.bound(T0, peer, "granted");
  assertEquals(book.withChannel(CHANNEL_MIN), peer);
  assertEquals(book.channels, 1);
});

Deno.test("PeerBook gives a channel to who is spoken to again and again without an answer", () => {
  const book = new PeerBook(CHANNEL_MIN);
  for (let i = 0; i < 7; i++) book.use(T0, PEER);
  assertEquals(book.due(T0).peers.length, 0);
  book.use(T0, PEER);
  assertEquals(book.due(T0).peers.length, 1);
});

Deno.test("RFC 8656 9.2 and 12: PeerBook renews what is used 240 s after it was granted, and lets the rest run out", () => {
  const book = new PeerBook(CHANNEL_MIN);
  const idle = { hostname: "203.0.113.10", port: 1 };
  for (const address of [PEER, idle]) {
    book.use(T0, address);
    book.heard(T0, address);
  }
  grantAll(book, T0);
  assertEquals(book.channels, 2);
  const used = after(T0, 200_000);
  book.use(used, PEER);
  const renewAt = after(T0, 240_000);
  assertEquals(book.due(after(renewAt, -1)), { addresses: [], peers: [] });
  // Nothing was said to the other for 240 s, which is less than the five minutes that end it.
  assertEquals(book.due(renewAt).peers.map(({ address }) => address), [PEER, idle]);
});

Deno.test("RFC 8656 12: PeerBook lets no number go to another peer while it lives or for five minutes after", () => {
  const book = new PeerBook(CHANNEL_MAX);
  book.use(T0, PEER);
  book.heard(T0, PEER);
  grantAll(book, T0);
  assertEquals(book.withChannel(CHANNEL_MAX)?.address, PEER);
  // Silent for long enough: it is not renewed.
  const goneAt = after(T0, 600_000);
  assertEquals(book.due(goneAt).peers, []);
  assertEquals(book.withChannel(CHANNEL_MAX), undefined);
  // Others get every other number; the round is 4096 long.
  const other = { hostname: "203.0.113.11", port: 1 };
  book.use(goneAt, other);
  book.heard(goneAt, other);
  assertEquals(book.due(goneAt).peers.map(({ channel }) => channel), [CHANNEL_MIN]);
  // The same peer may have it again at once.
  book.use(goneAt, PEER);
  book.heard(goneAt, PEER);
  assertEquals(book.due(goneAt).peers.map(({ channel }) => channel), [CHANNEL_MAX]);
});

Deno.test("PeerBook asks again for what was refused after five minutes only, and knows meanwhile", () => {
  const book = new PeerBook(CHANNEL_MIN);
  book.want(T0, ["10.0.0.1"]);
  book.due(T0);
  book.permitted(T0, "10.0.0.1", "refused");
  assertEquals(book.isRefused("10.0.0.1"), true);
  assertEquals(book.due(after(T0, 299_999)).addresses, []);
  assertEquals(book.due(after(T0, 300_000)).addresses, ["10.0.0.1"]);
});

Deno.test("PeerBook forgets a permission that nobody wants or uses, and keeps one that is wanted", () => {
  const book = new PeerBook(CHANNEL_MIN);
  book.want(T0, ["203.0.113.1", "203.0.113.2"]);
  grantAll(book, T0);
  book.want(T0, ["203.0.113.2"]);
  const later = after(T0, 400_000);
  assertEquals(book.due(later).addresses, ["203.0.113.2"]);
  assertEquals(book.isRefused("203.0.113.1"), false);
});

Deno.test("PeerBook has limits, and counts what they cost", () => {
  const book = new PeerBook(CHANNEL_MIN);
  const addresses = Array.from({ length: PERMISSIONS_MAX + 5 }, (_, i) => addressOf(i).hostname);
  book.want(T0, addresses);
  assertEquals(book.dropped, 5);
  assertEquals(book.due(T0).addresses.length, PERMISSIONS_MAX);
  const other = new PeerBook(CHANNEL_MIN);
  for (let i = 0; i < PEERS_MAX + 10; i++) {
    const now = after(T0, i);
    const address = { hostname: "203.0.113.1", port: 1 + i };
    other.use(now, address);
    other.heard(now, address);
  }
  assertEquals(other.dropped, 10);
  assertEquals(other.due(after(T0, PEERS_MAX + 10)).peers.length <= CHANNELS_MAX, true);
});

/** Grants whatever is asked for. */
function grantAll(book: PeerBook, now: Instant): void {
  const { addresses, peers } = book.due(now);
  for (const hostname of addresses) book.permitted(now, hostname, "granted");
  for (const peer of peers) book.bound(now, peer, "granted");
}

function addressOf(i: number): SocketAddress {
  return { hostname: `198.18.${i >> 8}.${i & 255}`, port: 9 };
}
