/**
 * IPv4 packets with any source address, as whoever is on a network without ingress filtering may send them.
 *
 * ```ts ignore
 * const packet = udpPacket({ source: discovery, target: agentOutside, payload });
 * await sendForged(scope, { lab, host: "evil", packets: [packet] });
 * ```
 *
 * @module
 */
import { parseIp, type SocketAddress } from "../../core/mod.ts";
import type { Lab } from "./natlab.ts";
import type { Scope } from "./scope.ts";

/** A datagram and who it claims to be from. */
export interface Forged {
  /** Claimed sender. */
  readonly source: SocketAddress;
  /** Receiver. */
  readonly target: SocketAddress;
  /** What it carries. */
  readonly payload: Uint8Array;
}

const IP_BYTES = 20;
const UDP_BYTES = 8;
const UDP = 17;
const ICMP = 1;
/** Between two packets: no queue on the way overflows, so that what is sent also arrives. */
const GAP_SECONDS = 0.003;
/** Raw sockets are out of Deno's reach without FFI; the laboratory needs Python anyway. */
const SENDER = `
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for line in open(sys.argv[1]):
    packet = bytes.fromhex(line)
    s.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
    time.sleep(${GAP_SECONDS})
`;

/** A UDP datagram in an IPv4 packet, without the optional UDP checksum. */
export function udpPacket({ source, target, payload }: Forged): Uint8Array<ArrayBuffer> {
  const udp = new Uint8Array(UDP_BYTES + payload.length);
  const view = new DataView(udp.buffer);
  view.setUint16(0, source.port);
  view.setUint16(2, target.port);
  view.setUint16(4, udp.length);
  udp.set(payload, UDP_BYTES);
  return ipPacket(UDP, { from: source.hostname, to: target.hostname, body: udp });
}

/**
 * An ICMP "destination unreachable" (RFC 792) about a datagram, from any router: code 3 is a closed port, code 4 a packet
 * that is too big, whose `mtu` may be given (RFC 1191).
 */
export function icmpUnreachable(
  about: Forged,
  { from, code, mtu = 0 }: { readonly from: string; readonly code: number; readonly mtu?: number },
): Uint8Array<ArrayBuffer> {
  const quoted = udpPacket(about).subarray(0, IP_BYTES + UDP_BYTES);
  const icmp = new Uint8Array(UDP_BYTES + quoted.length);
  const view = new DataView(icmp.buffer);
  icmp[0] = 3;
  icmp[1] = code;
  view.setUint16(6, mtu);
  icmp.set(quoted, UDP_BYTES);
  view.setUint16(2, internetChecksum(icmp));
  return ipPacket(ICMP, { from, to: about.source.hostname, body: icmp });
}

/** Sends packets from a host of the lab, one after another. */
export async function sendForged(
  scope: Scope,
  { lab, host, packets }: {
    readonly lab: Lab;
    readonly host: string;
    readonly packets: readonly Uint8Array[];
  },
): Promise<void> {
  const file = `${scope.directory()}/packets`;
  await Deno.writeTextFile(file, packets.map((packet) => `${packet.toHex()}\n`).join(""));
  const { code, stderr } = await lab.exec(host, ["python3", "-c", SENDER, file]);
  if (code !== 0) throw new Error(`Cannot send forged packets: ${stderr}`);
}

function ipPacket(
  protocol: number,
  { from, to, body }: { readonly from: string; readonly to: string; readonly body: Uint8Array },
): Uint8Array<ArrayBuffer> {
  const [source, target] = [parseIp(from), parseIp(to)];
  if (source?.length !== 4 || target?.length !== 4) throw new Error(`Not IPv4: ${from}, ${to}`);
  const packet = new Uint8Array(IP_BYTES + body.length);
  const view = new DataView(packet.buffer);
  packet[0] = 0x45;
  view.setUint16(2, packet.length);
  packet[8] = 64;
  packet[9] = protocol;
  packet.set(source, 12);
  packet.set(target, 16);
  packet.set(body, IP_BYTES);
  view.setUint16(10, internetChecksum(packet.subarray(0, IP_BYTES)));
  return packet;
}

/** RFC 1071. */
function internetChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] ?? 0) << 8 | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
