/**
 * Replies to questions of the DNS (RFC 1035, RFC 6891), from bytes to bytes. Pure.
 *
 * It is a server for the mesh's own zones and no resolver: what is not the mesh's is refused, so that whoever asks goes on to the next
 * server.
 *
 * @module
 */
import { Buffer } from "node:buffer";
// @ts-types="./dns_packet.d.ts"
import packet, {
  type Answer,
  type OptRecord,
  type Packet,
  type Question,
  type SoaRecord,
} from "dns-packet";
import { assert } from "../../core/mod.ts";
import { LABEL_CHARACTERS_MAX } from "../names.ts";
import { type MeshZone, NEGATIVE_TTL_SECONDS, TTL_SECONDS, type ZoneRecord } from "./zone.ts";

/**
 * Longest reply in bytes: every client takes that by UDP (RFC 1035 section 4.2.1). The longest there is, a name of 255 bytes that nobody has with its
 * zone's SOA and options, has 476.
 */
export const REPLY_BYTES_MAX = 512;
/** Longest query that is read: no path cuts it into fragments (RFC 9715), and the longest name leaves room for options. */
export const QUERY_BYTES_MAX = 1232;

const HEADER_BYTES = 12;
const RCODE = { ok: 0, format: 1, noName: 3, notImplemented: 4, refused: 5 } as const;
/** Extended RCODE 16, BADVERS: its upper bits (RFC 6891 section 6.1.3). */
const BAD_VERSION = 1;

/** How a query was dealt with, for counters. */
export type DnsOutcome = "answered" | "noName" | "refused" | "malformed" | "ignored";

/** What to send back, and how it is counted. */
export interface DnsReply {
  /** `ignored`: nothing is sent, as the datagram was no question. */
  readonly outcome: DnsOutcome;
  /** The message; absent where nothing is to be sent. */
  readonly bytes?: Uint8Array;
}

/** What a reply is to be like. */
interface Draft {
  readonly rcode: number;
  readonly question?: Question;
  readonly answers?: readonly Answer[];
  readonly authorities?: readonly Answer[];
  readonly authoritative?: boolean;
  readonly badVersion?: boolean;
}

/** Replies to a query from anybody. Never throws. */
export function replyTo(query: Uint8Array, zone: MeshZone): DnsReply {
  // Without a header there is nobody to reply to; replies to replies would never end.
  if (query.length < HEADER_BYTES || (query[2] ?? 0) >= 0x80) return { outcome: "ignored" };
  if (((query[2] ?? 0) >> 3 & 15) !== 0) return bare(query, RCODE.notImplemented);
  if (query.length > QUERY_BYTES_MAX) return bare(query, RCODE.format);
  let asked: Packet;
  try {
    asked = packet.decode(Buffer.from(query.buffer, query.byteOffset, query.length));
  } catch {
    return bare(query, RCODE.format);
  }
  const [question, ...others] = asked.questions ?? [];
  const options = (asked.additionals ?? []).filter(isOptions);
  const several = others.length > 0 || options.length > 1;
  if (question === undefined || several || !isPlain(query)) return bare(query, RCODE.format);
  const [opt] = options;
  const { outcome, ...draft } = (opt?.ednsVersion ?? 0) > 0
    ? { outcome: "malformed" as const, rcode: RCODE.ok, badVersion: true }
    : answer(question, zone);
  const bytes = encode(asked, { ...draft, question }, opt !== undefined);
  assert(bytes.length <= REPLY_BYTES_MAX, "names have a length");
  return { outcome, bytes };
}

function answer(
  { name, type, class: kind = "IN" }: Question,
  zones: MeshZone,
): Draft & { readonly outcome: DnsOutcome } {
  const inClass = kind === "IN" || kind === "ANY";
  const { kind: found, zone, records } = zones.lookUp(name);
  if (!inClass || found === "refused") return { outcome: "refused", rcode: RCODE.refused };
  const authoritative = true;
  const authorities = [authorityOf(zone)];
  if (found === "none") {
    return { outcome: "noName", rcode: RCODE.noName, authoritative, authorities };
  }
  const answers = records.filter((one) => type === "ANY" || one.type === type)
    .map((one) => recordOf(name, zone, one));
  return {
    outcome: "answered",
    rcode: RCODE.ok,
    authoritative,
    ...(answers.length > 0 ? { answers } : { authorities }),
  };
}

function recordOf(name: string, zone: string, record: ZoneRecord): Answer {
  if (record.type === "SOA") return { ...authorityOf(zone), name };
  return { name, type: record.type, class: "IN", ttl: TTL_SECONDS, data: record.data };
}

/** Who speaks for a zone: how long it is that there is no such name (RFC 2308). */
function authorityOf(zone: string): SoaRecord {
  return {
    name: zone,
    type: "SOA",
    class: "IN",
    ttl: NEGATIVE_TTL_SECONDS,
    data: {
      mname: zone,
      rname: "nobody.invalid",
      serial: 1,
      refresh: 3600,
      retry: 600,
      expire: 86_400,
      minimum: NEGATIVE_TTL_SECONDS,
    },
  };
}

/** Encodes a reply to `asked`, whose id and wish for recursion it repeats. */
function encode(asked: Packet, draft: Draft, withOptions: boolean): Uint8Array {
  const { rcode, question, answers = [], authorities = [] } = draft;
  const { authoritative = false, badVersion = false } = draft;
  const wished = (asked.flags ?? 0) & packet.RECURSION_DESIRED;
  const options: OptRecord = {
    type: "OPT",
    name: ".",
    udpPayloadSize: QUERY_BYTES_MAX,
    extendedRcode: badVersion ? BAD_VERSION : 0,
    ednsVersion: 0,
    flags: 0,
    options: [],
  };
  return packet.encode({
    type: "response",
    id: asked.id ?? 0,
    flags: rcode | wished | (authoritative ? packet.AUTHORITATIVE_ANSWER : 0),
    questions: question === undefined ? [] : [question],
    answers: [...answers],
    authorities: [...authorities],
    additionals: withOptions ? [options] : [],
  });
}

/** A reply that is a header only, as not more was understood. */
function bare(query: Uint8Array, rcode: number): DnsReply {
  const bytes = new Uint8Array(HEADER_BYTES);
  bytes.set(query.subarray(0, 2));
  // A response, with the opcode and the wish for recursion of the query.
  bytes[2] = 0x80 | (query[2] ?? 0) & 0x79;
  bytes[3] = rcode;
  return { outcome: "malformed", bytes };
}

function isOptions(record: Answer): record is OptRecord {
  return record.type === "OPT";
}

/**
 * Whether the question's name is told apart by its text: labels of visible ASCII characters (RFC 1035 section 3.1) without a dot inside, and no
 * pointer, for which there is nothing to point to yet.
 */
function isPlain(query: Uint8Array): boolean {
  for (let at = HEADER_BYTES; at < query.length;) {
    const length = query[at++] ?? 0;
    if (length === 0) return true;
    if (length > LABEL_CHARACTERS_MAX) return false;
    const label = query.subarray(at, at + length);
    if (!label.every((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x2e)) return false;
    at += length;
  }
  return false;
}
