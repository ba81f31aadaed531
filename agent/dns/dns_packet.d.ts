/** What is used of `dns-packet`, which comes without types: those of others bring a second version of Node's. @module */
import type { Buffer } from "node:buffer";

/** A question. */
export interface Question {
  /** Without the final dot. */
  readonly name: string;
  /** As `A`; `UNKNOWN_n` for one without a name. */
  readonly type: string;
  /** As `IN`, which it is where it is absent. */
  readonly class?: string;
}

/** What a record has in common with others. */
interface Named {
  readonly name: string;
  readonly class?: string;
  readonly ttl?: number;
}

/** An address or a name. */
export interface TextRecord extends Named {
  readonly type: "A" | "AAAA" | "PTR";
  readonly data: string;
}

/** Who speaks for a zone. */
export interface SoaRecord extends Named {
  readonly type: "SOA";
  readonly data: {
    readonly mname: string;
    readonly rname: string;
    readonly serial: number;
    readonly refresh: number;
    readonly retry: number;
    readonly expire: number;
    readonly minimum: number;
  };
}

/** EDNS (RFC 6891). */
export interface OptRecord extends Named {
  readonly type: "OPT";
  readonly udpPayloadSize: number;
  readonly extendedRcode: number;
  readonly ednsVersion: number;
  readonly flags: number;
  readonly options: readonly unknown[];
}

/** A record of any of the types that are made here. */
export type Answer = TextRecord | SoaRecord | OptRecord;

/** A message. */
export interface Packet {
  readonly type?: string;
  readonly id?: number;
  readonly flags?: number;
  readonly questions?: readonly Question[];
  readonly answers?: readonly Answer[];
  readonly authorities?: readonly Answer[];
  readonly additionals?: readonly Answer[];
}

declare const packet: {
  /** Throws for what is no message. */
  decode(bytes: Buffer): Packet;
  encode(packet: Packet): Buffer;
  readonly AUTHORITATIVE_ANSWER: number;
  readonly RECURSION_DESIRED: number;
};
export default packet;
