/**
 * What leaves a host, as tcpdump sees it, read back as datagrams.
 *
 * ```ts ignore
 * await using capture = await Capture.start({ namespace: lab.namespace("a1"), device: "eth0" });
 * // ... traffic ...
 * const datagrams = await capture.stop();
 * ```
 *
 * @module
 */
import { formatIp } from "../../core/mod.ts";
import { Child } from "./child.ts";
import { eventually } from "./scope.ts";

/** One captured UDP datagram. */
export interface CapturedDatagram {
  /** Source address literal. */
  readonly sourceIp: string;
  /** Source port. */
  readonly sourcePort: number;
  /** Destination address literal. */
  readonly targetIp: string;
  /** Destination port. */
  readonly targetPort: number;
  /** Payload, as far as it was captured. */
  readonly payload: Uint8Array;
}

/** What a datagram is by its first bytes. */
export type PayloadKind =
  | "stun"
  | "initiation"
  | "response"
  | "cookie"
  | "data"
  | "other";

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
const ETHERNET_BYTES = 14;
/** The kernel's buffer for a capture: in immediate mode each packet takes as much of it as may be kept of one. */
const BUFFER_KIB = 65_536;

/** A running capture on one device: of UDP, unless another filter is given. */
export class Capture implements AsyncDisposable {
  readonly #child: Child;
  readonly #file: string;

  private constructor(child: Child, file: string) {
    this.#child = child;
    this.#file = file;
  }

  /** Starts tcpdump and waits until it listens. `bytes` of each packet are kept; an empty `filter` takes every packet. */
  static async start(
    { namespace, device, bytes = 256, filter = "udp" }: {
      namespace?: string | undefined;
      device: string;
      bytes?: number;
      filter?: string;
    },
  ): Promise<Capture> {
    const file = Deno.makeTempFileSync({ prefix: "moray-capture-", suffix: ".pcap" });
    const child = new Child(
      [
        "tcpdump",
        "-Z",
        "root",
        "-U",
        "--immediate-mode",
        "-n",
        "-i",
        device,
        "-B",
        String(BUFFER_KIB),
        "-s",
        String(bytes),
        "-w",
        file,
        ...(filter === "" ? [] : [filter]),
      ],
      { namespace },
    );
    const capture = new Capture(child, file);
    try {
      await child.line(/listening on/);
    } catch (error) {
      await capture[Symbol.asyncDispose]();
      throw error;
    }
    return capture;
  }

  /** Waits until `count` datagrams match, and returns those. Rejects when that takes longer than 10 s. */
  until(
    count: number,
    wanted: (datagram: CapturedDatagram) => boolean,
  ): Promise<CapturedDatagram[]> {
    return eventually(`${count} captured datagrams`, async () => {
      const found = (await this.datagrams()).filter(wanted);
      return found.length >= count ? found : undefined;
    });
  }

  /** What was captured so far. */
  async datagrams(): Promise<CapturedDatagram[]> {
    return parsePcap(await Deno.readFile(this.#file));
  }

  /** Ends the capture and returns its datagrams in order. */
  async stop(): Promise<CapturedDatagram[]> {
    return parsePcap(await this.stopRaw());
  }

  /** Ends the capture and returns its file: whatever was captured, also what is no UDP. Rejects where tcpdump missed packets. */
  async stopRaw(): Promise<Uint8Array> {
    this.#child.signal("SIGINT");
    await this.#child.exited;
    const [, dropped = "0"] = /(\d+) packets? dropped by kernel/.exec(this.#child.log) ?? [];
    if (dropped !== "0") throw new Error(`tcpdump missed ${dropped} packets`);
    return Deno.readFileSync(this.#file);
  }

  /** Ends the capture and removes its file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child[Symbol.asyncDispose]();
    Deno.removeSync(this.#file);
  }
}

/** Returns what a datagram is. */
export function payloadKind(payload: Uint8Array): PayloadKind {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  if (payload.length >= 8 && view.getUint8(0) < 0x40 && view.getUint32(4) === 0x2112a442) {
    return "stun";
  }
  const type = payload.length >= 4 ? view.getUint32(0, true) : 0;
  const kinds: readonly PayloadKind[] = ["other", "initiation", "response", "cookie", "data"];
  return kinds[type] ?? "other";
}

/** Parses a pcap file of Ethernet frames, whole or still growing; whatever holds no UDP header is left out. */
export function parsePcap(bytes: Uint8Array): CapturedDatagram[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < FILE_HEADER_BYTES) return [];
  const magic = view.getUint32(0, true);
  if (magic !== 0xa1b2c3d4) throw new Error(`Not a little-endian pcap file: ${magic.toString(16)}`);
  if (view.getUint32(20, true) !== 1) throw new Error("Not an Ethernet capture");
  const datagrams: CapturedDatagram[] = [];
  for (let at = FILE_HEADER_BYTES; at + RECORD_HEADER_BYTES <= bytes.length;) {
    const length = view.getUint32(at + 8, true);
    const start = at + RECORD_HEADER_BYTES;
    if (start + length > bytes.length) break;
    const datagram = parseFrame(bytes.subarray(start, start + length));
    if (datagram !== undefined) datagrams.push(datagram);
    at = start + length;
  }
  return datagrams;
}

function parseFrame(frame: Uint8Array): CapturedDatagram | undefined {
  if (frame.length < ETHERNET_BYTES + 28) return undefined;
  const etherType = (frame[12] ?? 0) << 8 | (frame[13] ?? 0);
  const ip = frame.subarray(ETHERNET_BYTES);
  if (etherType === 0x0800 && ip[9] === 17) {
    return parseUdp(ip.subarray(((ip[0] ?? 0) & 15) * 4), ip.subarray(12, 16), ip.subarray(16, 20));
  }
  if (etherType === 0x86dd && ip[6] === 17) {
    return parseUdp(ip.subarray(40), ip.subarray(8, 24), ip.subarray(24, 40));
  }
  return undefined;
}

function parseUdp(
  udp: Uint8Array,
  source: Uint8Array,
  target: Uint8Array,
): CapturedDatagram | undefined {
  if (udp.length < 8) return undefined;
  const view = new DataView(udp.buffer, udp.byteOffset, udp.length);
  return {
    sourceIp: formatIp(source),
    sourcePort: view.getUint16(0),
    targetIp: formatIp(target),
    targetPort: view.getUint16(2),
    payload: udp.slice(8, view.getUint16(4)),
  };
}
