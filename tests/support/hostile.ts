/** Datagrams as an attacker would make them: random ones, and real ones with something wrong. Deterministic by seed. @module */

/** Lengths around which parsers go wrong: headers of STUN, ChannelData and every WireGuard message. */
const EDGES = [0, 1, 3, 4, 8, 19, 20, 28, 31, 32, 33, 63, 64, 91, 92, 147, 148, 149, 1420, 1472];

/** A source of repeatable random numbers (xorshift32). */
export class Dice {
  #state: number;

  /** Starts the sequence of a seed. */
  constructor(seed: number) {
    this.#state = (seed | 1) >>> 0;
  }

  /** A whole number from 0 to `below - 1`. */
  below(below: number): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state >>> 0;
    return this.#state % below;
  }

  /** One of the elements. */
  pick<T>(from: readonly T[]): T {
    const one = from[this.below(from.length)];
    if (one === undefined) throw new RangeError("Nothing to pick from");
    return one;
  }

  /** So many random bytes. */
  bytes(length: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length }, () => this.below(256));
  }
}

/** Returns an attacker's datagram: random, a template's copy, or a template with damage. */
export function hostileDatagram(
  dice: Dice,
  templates: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  if (templates.length === 0 || dice.below(5) === 0) return randomDatagram(dice);
  const copy = new Uint8Array(dice.pick(templates));
  switch (dice.below(7)) {
    case 0:
      return copy;
    case 1:
      return copy.slice(0, dice.below(copy.length + 1));
    case 2:
      return new Uint8Array([...copy, ...dice.bytes(dice.below(200))]);
    case 3: {
      const other = dice.pick(templates);
      const at = dice.below(Math.min(copy.length, other.length) + 1);
      return new Uint8Array([...copy.subarray(0, at), ...other.subarray(at)]);
    }
    case 4: {
      // Lengths and counters at their ends.
      const at = dice.below(Math.max(1, copy.length - 1));
      copy.fill(dice.pick([0, 0xff]), at, at + dice.pick([1, 2, 4, 8]));
      return copy;
    }
    default: {
      for (let flips = 1 + dice.below(8); flips > 0 && copy.length > 0; flips--) {
        const at = dice.below(copy.length);
        copy[at] = (copy[at] ?? 0) ^ 1 << dice.below(8);
      }
      return copy;
    }
  }
}

/** Messages that look right from outside: a STUN request, a ChannelData frame, each WireGuard message. */
export function shapes(dice: Dice): Uint8Array<ArrayBuffer>[] {
  const message = (type: number, length: number): Uint8Array<ArrayBuffer> => {
    const bytes = dice.bytes(length);
    bytes.set([type, 0, 0, 0]);
    return bytes;
  };
  const stun = (length: number, attributes: readonly number[]): Uint8Array<ArrayBuffer> =>
    new Uint8Array([0, 1, 0, length, 0x21, 0x12, 0xa4, 0x42, ...dice.bytes(12), ...attributes]);
  return [
    stun(0, []),
    // USERNAME "abcd"; an unknown attribute that must be understood; a length beyond the end.
    stun(8, [0, 6, 0, 4, 97, 98, 99, 100]),
    stun(8, [0x7f, 0xff, 0, 4, 1, 2, 3, 4]),
    stun(8, [0, 6, 0xff, 0xff, 97, 98, 99, 100]),
    new Uint8Array([0x40, 0, 0, 4, 1, 2, 3, 4]),
    message(1, 148),
    message(2, 92),
    message(3, 64),
    message(4, 32),
    message(4, 1452),
  ];
}

function randomDatagram(dice: Dice): Uint8Array<ArrayBuffer> {
  const length = dice.below(3) === 0 ? dice.pick(EDGES) : dice.below(1_500);
  const bytes = dice.bytes(length);
  // Half of them get past the first look at the type.
  if (dice.below(2) === 0 && length >= 4) bytes.set([dice.below(5), 0, 0, 0]);
  return bytes;
}

/** What became of a flood. */
export interface FloodResult {
  /** Bytes sent. */
  readonly sentBytes: number;
  /** Bytes that came back. */
  readonly answeredBytes: number;
}

/** Datagrams sent before the receiver gets a turn: less than a default receive buffer holds. */
const BURST = 16;

/** Sends `count` datagrams to a local UDP port from four sources, paced so that the receiver reads them all. */
export async function flood(
  port: number,
  count: number,
  make: () => Uint8Array<ArrayBuffer>,
): Promise<FloodResult> {
  const sources = Array.from(
    { length: 4 },
    () => Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 }),
  );
  let answeredBytes = 0;
  const readers = sources.map(async (source) => {
    for await (const [answer] of source) answeredBytes += answer.length;
  });
  const target: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port };
  let sentBytes = 0;
  try {
    for (let sent = 0; sent < count; sent++) {
      const datagram = make();
      await sources[sent % sources.length]?.send(datagram, target);
      sentBytes += datagram.length;
      if (sent % BURST === BURST - 1) await new Promise((wake) => setTimeout(wake, 1));
    }
  } finally {
    for (const source of sources) source.close();
    await Promise.all(readers);
  }
  return { sentBytes, answeredBytes };
}
