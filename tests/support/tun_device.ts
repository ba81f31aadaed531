/**
 * `tun_device.ts NAME`: a TUN device by itself, against this namespace's kernel: a packet written in parts arrives, and the answer
 * can be read. A process of its own, since it works on the network namespace that it is started in.
 *
 * @module
 */
import { concat, parseCidr } from "../../core/mod.ts";
import { encodeAddress, encodeLinkUp, encodeRoute, Rtnetlink, TunDevice } from "../../io/mod.ts";
import { say } from "./say.ts";
import { eventually } from "./scope.ts";

const [name = ""] = Deno.args;
const OURS = Uint8Array.of(10, 9, 0, 1);
const PEER = Uint8Array.of(10, 9, 0, 2);
const VIRTIO_BYTES = 10;
const HEADERS_BYTES = VIRTIO_BYTES + 28;

const device = TunDevice.open(name);
const netlink = new Rtnetlink();
const { index } = device;
const block = parseCidr("10.9.1.0/24") ?? { address: PEER, prefix: 32 };
const errors = [
  netlink.request(encodeLinkUp({ index, mtu: 1420 })),
  netlink.request(encodeAddress("add", { index, address: OURS, prefix: 24 })),
  netlink.request(encodeAddress("add", { index, address: OURS, prefix: 24 })),
  netlink.request(encodeRoute("add", { index, block })),
  netlink.request(encodeRoute("add", { index, block })),
  netlink.request(encodeRoute("remove", { index, block })),
  netlink.request(encodeRoute("remove", { index, block })),
];
say(`errno: ${errors.join(" ")}`);

/** A datagram from the peer behind a virtio header that asks for nothing. Without a UDP checksum, which IPv4 allows. */
function datagram(payload: Uint8Array, port: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADERS_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  const ip = VIRTIO_BYTES;
  bytes.set([0x45, 0], ip);
  view.setUint16(ip + 2, 28 + payload.length);
  bytes.set([64, 17], ip + 8);
  bytes.set(concat(PEER, OURS), ip + 12);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += view.getUint16(ip + i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  view.setUint16(ip + 10, ~sum & 0xffff);
  view.setUint16(ip + 20, 4000);
  view.setUint16(ip + 22, port);
  view.setUint16(ip + 24, 8 + payload.length);
  bytes.set(payload, HEADERS_BYTES);
  return bytes;
}

const socket = Deno.listenDatagram({ transport: "udp", hostname: "10.9.0.1", port: 0 });
const { port } = socket.addr as Deno.NetAddr;
const payload = Uint8Array.from({ length: 1000 }, (_, i) => i * 3);
const packet = datagram(payload, port);
const cuts = [0, 25, 100, 101, 700, packet.length];
const parts = cuts.slice(1).map((end, i) => packet.slice(cuts[i], end));
say(`written: ${device.write(parts)} ${device.write([packet])} ${device.write([])}`);
for (let i = 0; i < 2; i++) {
  const [got, from] = await socket.receive();
  const same = got.length === payload.length && got.every((byte, at) => byte === payload[at]);
  say(`received: ${same} ${(from as Deno.NetAddr).hostname}:${(from as Deno.NetAddr).port}`);
}
say(`refused: ${device.write([packet.subarray(0, 5)]) > 0}`);

await socket.send(new TextEncoder().encode("answer"), {
  transport: "udp",
  hostname: "10.9.0.2",
  port: 4000,
});
const into = new Uint8Array(65_545);
// The kernel may have something of its own to say before, such as a query for multicast groups.
const answer = await eventually("the answer", () => {
  const length = device.read(into);
  const text = new TextDecoder().decode(into.subarray(HEADERS_BYTES, Math.max(0, length)));
  return text === "answer" ? `${length} bytes, checksum left open: ${into[0] === 1}` : undefined;
});
say(`read: ${answer}`);
socket.close();
netlink[Symbol.dispose]();
device.close();
