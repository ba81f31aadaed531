/** A gateway that speaks PCP and NAT-PMP: the other side of what is tested. For tests. @module */
import { formatIp, type Instant } from "../../../core/mod.ts";

/** What a gateway answers in PCP. */
export interface PcpAnswer {
  /** Result code. @default 0 */
  readonly result?: number;
  /** Seconds. @default what was asked */
  readonly lifetime?: number;
  /** Seconds since the gateway's start. */
  readonly epoch: number;
  /** The external port. @default what was suggested */
  readonly port?: number;
  /** The external address, 4 or 16 bytes. @default what was suggested */
  readonly address?: Uint8Array;
}

/** Answers a PCP request as the server of RFC 6887 does: it copies the request and writes over it. */
export function pcpAnswer(request: Uint8Array, answer: PcpAnswer): Uint8Array<ArrayBuffer> {
  const bytes = Uint8Array.from(request);
  const view = new DataView(bytes.buffer);
  view.setUint8(1, view.getUint8(1) | 0x80);
  view.setUint8(2, 0);
  view.setUint8(3, answer.result ?? 0);
  if (answer.lifetime !== undefined) view.setUint32(4, answer.lifetime);
  view.setUint32(8, answer.epoch);
  bytes.fill(0, 12, 24);
  if (answer.port !== undefined) view.setUint16(42, answer.port);
  if (answer.address?.length === 16) bytes.set(answer.address, 44);
  else if (answer.address?.length === 4) {
    bytes.fill(0, 44, 54).fill(0xff, 54, 56);
    bytes.set(answer.address, 56);
  }
  return bytes;
}

/** How a {@linkcode TestGateway} behaves; may be changed while it runs. */
export interface GatewayManners {
  /** What it speaks. */
  speaks: "pcp" | "nat-pmp" | "nothing";
  /** Whether it refuses PCP with NAT-PMP's own version, as RFC 6886 section 3.5 asks. */
  refusesPcp: boolean;
  /** Result code of every request. */
  result: number;
  /** Most seconds granted. */
  lifetimeMax: number;
  /** Lifetime of errors, in seconds. */
  errorLifetime: number;
  /** Its address outside, 4 bytes. */
  address: Uint8Array;
  /** The only port that it gives; 0 for the one suggested. */
  port: number;
}

/** A gateway in memory. */
export class TestGateway {
  /** How it behaves. */
  readonly manners: GatewayManners;
  /** Mappings: internal port to external port. */
  readonly mappings = new Map<number, number>();
  /** The nonce of each mapping. */
  readonly nonces = new Map<number, string>();
  #startedAt: number;

  /** A gateway that started 1000 s before `now`. */
  constructor(now: Instant, manners: Partial<GatewayManners> = {}) {
    this.#startedAt = now - 1_000_000;
    this.manners = {
      speaks: "pcp",
      refusesPcp: true,
      result: 0,
      lifetimeMax: 7200,
      errorLifetime: 0,
      address: Uint8Array.of(203, 0, 113, 9),
      port: 0,
      ...manners,
    };
  }

  /** Loses all mappings and starts its clock anew. */
  reboot(now: Instant): void {
    this.mappings.clear();
    this.nonces.clear();
    this.#startedAt = now;
  }

  /** Seconds since its start. */
  epoch(now: Instant): number {
    return Math.floor((now - this.#startedAt) / 1000);
  }

  /** Answers a datagram, or does not. */
  answer(now: Instant, request: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
    if (this.manners.speaks === "nothing") return undefined;
    if (request[0] === 0) return this.#natPmp(now, request);
    if (this.manners.speaks === "pcp") return this.#pcp(now, request);
    return this.manners.refusesPcp
      ? Uint8Array.of(0, 0x80 | (request[1] ?? 0), 0, 1, ...uint32(this.epoch(now)))
      : undefined;
  }

  #pcp(now: Instant, request: Uint8Array): Uint8Array<ArrayBuffer> {
    const { result, errorLifetime, address } = this.manners;
    const epoch = this.epoch(now);
    if (request[1] === 0) return pcpAnswer(request, { epoch });
    if (result !== 0) return pcpAnswer(request, { epoch, result, lifetime: errorLifetime });
    const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
    const lifetime = Math.min(view.getUint32(4), this.manners.lifetimeMax);
    const { internal, port } = this.#map(view.getUint16(40), view.getUint16(42), lifetime);
    this.nonces.set(internal, request.subarray(24, 36).join());
    return pcpAnswer(request, { epoch, lifetime, port, address });
  }

  #natPmp(now: Instant, request: Uint8Array): Uint8Array<ArrayBuffer> {
    const { result, address } = this.manners;
    const head = [0, 0x80 | (request[1] ?? 0), 0, result, ...uint32(this.epoch(now))];
    if (request[1] === 0) {
      return Uint8Array.of(...head, ...(result === 0 ? address : [0, 0, 0, 0]));
    }
    const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
    const lifetime = Math.min(view.getUint32(8), this.manners.lifetimeMax);
    const ports = [...request.subarray(4, 6)];
    if (result !== 0) return Uint8Array.of(...head, ...ports, 0, 0, 0, 0, 0, 0);
    const { port } = this.#map(view.getUint16(4), view.getUint16(6), lifetime);
    return Uint8Array.of(...head, ...ports, port >> 8, port & 0xff, ...uint32(lifetime));
  }

  #map(internal: number, suggested: number, lifetime: number): { internal: number; port: number } {
    if (lifetime === 0) {
      this.mappings.delete(internal);
      return { internal, port: 0 };
    }
    const port = this.manners.port === 0 ? suggested : this.manners.port;
    this.mappings.set(internal, port);
    return { internal, port };
  }

  /** Its external address as text. */
  get external(): string {
    return formatIp(this.manners.address);
  }
}

function uint32(value: number): number[] {
  return [value >>> 24, value >>> 16 & 0xff, value >>> 8 & 0xff, value & 0xff];
}
