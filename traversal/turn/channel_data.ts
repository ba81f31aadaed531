/**
 * ChannelData (RFC 8656 section 12.4): a datagram behind four bytes.
 *
 * ```text
 *   0                 2                 4
 *   +-----------------+-----------------+----------------------------+---------------------------+
 *   | channel number  | length of the   | data ...                   | over streams: 0 to 3      |
 *   | 0x4000..0x4FFF  | data            |                            | bytes up to a multiple    |
 *   +-----------------+-----------------+----------------------------+ of 4, not counted --------+
 * ```
 *
 * Over UDP nothing is padded, and padding that comes is accepted.
 *
 * @module
 */

/** The smallest channel number. */
export const CHANNEL_MIN = 0x4000;
/** The largest channel number. */
export const CHANNEL_MAX = 0x4FFF;
/** The largest channel number of RFC 5766: servers take these from clients that still draw from them. */
export const CHANNEL_MAX_RFC_5766 = 0x7FFF;
/** Bytes before the data. */
export const CHANNEL_HEADER_BYTES = 4;
/** Most bytes that one message carries. */
export const CHANNEL_DATA_BYTES_MAX = 0xFFFF;

/** One ChannelData message. */
export interface ChannelData {
  /** {@linkcode CHANNEL_MIN} to {@linkcode CHANNEL_MAX}. */
  readonly channel: number;
  /** The datagram, borrowed like what it was decoded from. */
  readonly data: Uint8Array;
}

/** Decodes a datagram, or returns `undefined` for what is no ChannelData or ends before its data does. */
export function decodeChannelData(bytes: Uint8Array): ChannelData | undefined {
  const length = channelDataLength(bytes);
  if (length < 0) return undefined;
  const channel = (bytes[0] ?? 0) << 8 | (bytes[1] ?? 0);
  return { channel, data: bytes.subarray(CHANNEL_HEADER_BYTES, CHANNEL_HEADER_BYTES + length) };
}

/** Returns the size of the data of a ChannelData message, or -1 where {@linkcode decodeChannelData} gives `undefined`. Allocates nothing. */
export function channelDataLength(bytes: Uint8Array): number {
  if (bytes.length < CHANNEL_HEADER_BYTES || (bytes[0] ?? 0) >> 4 !== 4) return -1;
  const length = (bytes[2] ?? 0) << 8 | (bytes[3] ?? 0);
  return CHANNEL_HEADER_BYTES + length > bytes.length ? -1 : length;
}

/** Writes the header of `length` bytes of data at `at`. Neither is checked. */
export function writeChannelHeader(
  into: Uint8Array,
  at: number,
  { channel, length }: { readonly channel: number; readonly length: number },
): void {
  into[at] = channel >> 8;
  into[at + 1] = channel & 0xff;
  into[at + 2] = length >> 8;
  into[at + 3] = length & 0xff;
}

/**
 * Encodes a ChannelData message, with the padding of streams if `padded`. Throws `RangeError` for a channel out of range or more than
 * {@linkcode CHANNEL_DATA_BYTES_MAX}.
 */
export function encodeChannelData(
  { channel, data }: ChannelData,
  { padded = false }: { readonly padded?: boolean } = {},
): Uint8Array<ArrayBuffer> {
  if (!Number.isInteger(channel) || channel < CHANNEL_MIN || channel > CHANNEL_MAX) {
    throw new RangeError(`TURN channel out of range: ${channel}`);
  }
  const { length } = data;
  if (length > CHANNEL_DATA_BYTES_MAX) throw new RangeError(`ChannelData of ${length} bytes`);
  const bytes = new Uint8Array(CHANNEL_HEADER_BYTES + (padded ? length + 3 & ~3 : length));
  writeChannelHeader(bytes, 0, { channel, length });
  bytes.set(data, CHANNEL_HEADER_BYTES);
  return bytes;
}
