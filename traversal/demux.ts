/**
 * What a datagram on the node's one UDP socket is, told by its first bytes.
 *
 * ```text
 *               0        1        2        3        4 .. 8
 *  STUN         00tttttt tttttttt  length of what   21 12 a4 42    length + 20 is the datagram's size, a multiple of 4
 *                                  follows byte 20
 *  ChannelData  0100cccc cccccccc  length           data           first byte 0x40 to 0x4f
 *  WireGuard    01       00       00       00       sender index   148 bytes: handshake initiation
 *               02       00       00       00       sender index    92 bytes: handshake response
 *               03       00       00       00       receiver index  64 bytes: cookie reply
 *               04       00       00       00       receiver index  at least 32 bytes: data (header 16, tag 16)
 * ```
 *
 * No datagram fits two rows: STUN whose bytes 1 to 3 are zero is 20 bytes long, shorter than any WireGuard message.
 * ChannelData only means something when it comes from a relay that the caller uses.
 *
 * @module
 */

/** What a datagram is. `other` is to be counted and dropped. */
export type DatagramKind = "stun" | "wireguard" | "channelData" | "other";

/** Tells what a datagram is. Accepts any bytes, allocates nothing, and checks no content behind the header. */
export function classify(bytes: Uint8Array): DatagramKind {
  const first = bytes[0];
  if (first === undefined) return "other";
  if (first >= 0x40) return first < 0x50 ? "channelData" : "other";
  if (isWireGuard(bytes, first)) return "wireguard";
  return isStun(bytes) ? "stun" : "other";
}

function isWireGuard(bytes: Uint8Array, type: number): boolean {
  if (bytes[1] !== 0 || bytes[2] !== 0 || bytes[3] !== 0) return false;
  switch (type) {
    case 1:
      return bytes.length === 148;
    case 2:
      return bytes.length === 92;
    case 3:
      return bytes.length === 64;
    case 4:
      return bytes.length >= 32;
    default:
      return false;
  }
}

function isStun(bytes: Uint8Array): boolean {
  const size = bytes.length;
  if (size < 20 || (size & 3) !== 0) return false;
  if (bytes[4] !== 0x21 || bytes[5] !== 0x12 || bytes[6] !== 0xa4 || bytes[7] !== 0x42) {
    return false;
  }
  return ((bytes[2] ?? 0) << 8 | (bytes[3] ?? 0)) === size - 20;
}
