/**
 * What a relay tells Discovery of itself, and the proof that it may: both know a secret.
 *
 * ```text
 *   report   RelayReport in protobuf's binary form, exactly as sent
 *   mac      HMAC-SHA256(HMAC-SHA256(secret, "moray relay report 1"), report)
 * ```
 *
 * A report names the time at which it was made; Discovery takes each relay's in rising order and only while they are
 * fresh, so an old one cannot be played again.
 *
 * @module
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type RegisterRelayRequest,
  RegisterRelayRequestSchema,
  RelayReportSchema,
  RelayUsageSchema,
} from "../../proto/mod.ts";
import {
  isRelayName,
  parseRelayTransport,
  RELAY_TRANSPORTS_MAX,
  type RelayTransport,
  relayTransport,
} from "./transport.ts";

/** Sessions whose bytes one report tells: as many as fit into a request of 64 KiB. */
export const USAGE_MAX = 512;
const PURPOSE = "moray relay report 1";
/** Bytes of a session id or of a name that are taken. */
const ID_LENGTH_MAX = 128;

/** What a session carried since the last report. */
export interface RelayUsage {
  /** The session's id, as in its username. */
  readonly sessionId: string;
  /** Bytes from the session's node. */
  readonly rxBytes: number;
  /** Bytes to the session's node. */
  readonly txBytes: number;
}

/** How a relay is doing. */
export interface RelayState {
  /** Load, 0 to 100. */
  readonly load: number;
  /** Whether it takes no new sessions and is about to end. */
  readonly draining: boolean;
  /** Allocations that live. */
  readonly sessions: number;
  /** What sessions carried since the last time. */
  readonly usage: readonly RelayUsage[];
}

/** What a relay is. */
export interface RelayIdentity {
  /** Its id, 1 to 63 of `A-Z a-z 0-9 . _ -`. */
  readonly id: string;
  /** Where it stands, as its id; empty for unknown. */
  readonly region: string;
  /** Every way to reach it, the best first; 1 to 8. */
  readonly transports: readonly RelayTransport[];
  /** Its realm; empty for the one that it names in its challenges. */
  readonly realm: string;
  /** Most that it carries for one session, in bytes a second; 0 for no limit. */
  readonly bandwidthBytesPerSecond: number;
}

/** A whole report. */
export interface RelayReport extends RelayIdentity, RelayState {
  /** When it was made, unix milliseconds. */
  readonly issuedAt: number;
}

/** Returns a report as it is sent. */
export function sealReport(secret: string, report: RelayReport): RegisterRelayRequest {
  const message = create(RelayReportSchema, {
    relayId: report.id,
    issuedAtMs: BigInt(report.issuedAt),
    region: report.region,
    transports: report.transports.map(relayTransport),
    realm: report.realm,
    load: Math.round(report.load),
    allocations: report.sessions,
    bandwidthBytesPerSecond: BigInt(report.bandwidthBytesPerSecond),
    draining: report.draining,
    usage: report.usage.slice(0, USAGE_MAX).map(({ sessionId, rxBytes, txBytes }) =>
      create(RelayUsageSchema, { sessionId, rxBytes: BigInt(rxBytes), txBytes: BigInt(txBytes) })
    ),
  });
  const bytes = toBinary(RelayReportSchema, message);
  return create(RegisterRelayRequestSchema, { report: bytes, mac: macOf(secret, bytes) });
}

/** Returns a report from what came; a clause about what is wrong with it if it is none, `forged` without the secret. */
export function openReport(
  secret: string,
  { report: bytes, mac }: Pick<RegisterRelayRequest, "report" | "mac">,
): RelayReport | { readonly fault: string; readonly forged: boolean } {
  const expected = macOf(secret, bytes);
  if (mac.length !== expected.length || !timingSafeEqual(mac, expected)) {
    return { fault: "mac does not fit the report: the secret is another", forged: true };
  }
  let message;
  try {
    message = fromBinary(RelayReportSchema, bytes);
  } catch {
    return fault("report is not a RelayReport");
  }
  const { relayId: id, region, realm, load, draining, allocations } = message;
  if (!isRelayName(id)) return fault("relay_id is not 1 to 63 letters, digits, '.', '_' or '-'");
  if (region !== "" && !isRelayName(region)) return fault("region is not a name as relay_id is");
  if (realm.length > ID_LENGTH_MAX) return fault("realm is too long");
  if (load > 100) return fault(`load ${load} is not 0 to 100`);
  if (message.transports.length > RELAY_TRANSPORTS_MAX) {
    return fault(`transports has more than ${RELAY_TRANSPORTS_MAX} entries`);
  }
  const transports = message.transports.map(parseRelayTransport).filter((one) =>
    one !== undefined && !one.endpoint.startsWith("/")
  ) as RelayTransport[];
  if (transports.length === 0) return fault("transports names no way to reach the relay");
  if (message.usage.length > USAGE_MAX) return fault(`usage has more than ${USAGE_MAX} entries`);
  return {
    id,
    issuedAt: toNumber(message.issuedAtMs),
    region,
    transports,
    realm,
    load,
    draining,
    sessions: allocations,
    bandwidthBytesPerSecond: toNumber(message.bandwidthBytesPerSecond),
    usage: message.usage.map(({ sessionId, rxBytes, txBytes }) => ({
      sessionId: sessionId.slice(0, ID_LENGTH_MAX),
      rxBytes: toNumber(rxBytes),
      txBytes: toNumber(txBytes),
    })),
  };
}

function fault(text: string): { readonly fault: string; readonly forged: boolean } {
  return { fault: text, forged: false };
}

function macOf(secret: string, report: Uint8Array): Uint8Array<ArrayBuffer> {
  const key = createHmac("sha256", secret).update(PURPOSE).digest();
  return new Uint8Array(createHmac("sha256", key).update(report).digest());
}

function toNumber(value: bigint): number {
  const most = BigInt(Number.MAX_SAFE_INTEGER);
  return Number(value > most ? most : value < 0n ? 0n : value);
}
