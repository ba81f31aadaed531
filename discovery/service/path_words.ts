/**
 * Reports of paths as replicas say them to each other, several in one word.
 *
 * ```text
 *   {"paths": [[mesh, key, nat, mapping, filtering, [[peer, peer nat, kind, reason, detail, attempts, successes, relay, rtt], ...]], ...]}
 * ```
 *
 * @module
 */
import { type NodeKey, SAID_BYTES_MAX } from "../store/store.ts";
import type { PathKind, ReportedPath, ReportOfPaths } from "./path_book.ts";

/** A report with its node. */
export interface SaidReport {
  /** Whose it is. */
  readonly node: NodeKey;
  /** What it says. */
  readonly report: ReportOfPaths;
}

const KINDS: readonly PathKind[] = ["direct", "relayed", "none"];
/** Bytes of a path at most, its three texts in ASCII: two keys or names of 64, 160 characters of reason, numbers. */
const PATH_BYTES_MAX = 600;
/** Bytes of a node's part without its paths. */
const NODE_BYTES_MAX = 400;

/** Encodes reports; each text is within {@linkcode SAID_BYTES_MAX}. */
export function encodePathWords(reports: readonly SaidReport[]): string[] {
  const words: string[] = [];
  let parts: unknown[] = [];
  let left = SAID_BYTES_MAX;
  const flush = (): void => {
    if (parts.length > 0) words.push(JSON.stringify({ paths: parts }));
    parts = [];
    left = SAID_BYTES_MAX;
  };
  for (const { node, report } of reports) {
    const rest = report.paths.map(encodePath);
    do {
      if (left < NODE_BYTES_MAX + PATH_BYTES_MAX) flush();
      const paths: unknown[] = [];
      const head = [node.meshId, node.publicKey, report.nat, report.mapping, report.filtering];
      left -= NODE_BYTES_MAX;
      while (rest.length > 0 && left >= PATH_BYTES_MAX) {
        const path = rest.shift();
        left -= JSON.stringify(path).length + 1;
        paths.push(path);
      }
      parts.push([...head, paths]);
    } while (rest.length > 0);
  }
  flush();
  return words;
}

/** Decodes what a replica said; empty for anything else. */
export function decodePathWords(text: string): SaidReport[] {
  if (!text.startsWith('{"paths":')) return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return [];
  }
  const { paths } = value as { readonly paths: unknown };
  if (!Array.isArray(paths)) return [];
  return paths.flatMap((part: unknown) => {
    if (!Array.isArray(part)) return [];
    const [meshId, publicKey, nat, mapping, filtering, list] = part as unknown[];
    if (typeof meshId !== "string" || typeof publicKey !== "string" || !Array.isArray(list)) {
      return [];
    }
    const report = {
      nat: small(nat, 3),
      mapping: small(mapping, 3),
      filtering: small(filtering, 3),
      paths: list.flatMap(decodePath),
    };
    return [{ node: { meshId, publicKey }, report }];
  });
}

function encodePath(path: ReportedPath): unknown[] {
  const { peer, peerNat, kind, reason, detail } = path;
  const { punchAttempts, punchSuccesses, relayId, rttUs } = path;
  const number = KINDS.indexOf(kind);
  return [peer, peerNat, number, reason, detail, punchAttempts, punchSuccesses, relayId, rttUs];
}

function decodePath(value: unknown): ReportedPath[] {
  if (!Array.isArray(value)) return [];
  const [peer, peerNat, kind, reason, detail, attempts, successes, relayId, rttUs] =
    value as unknown[];
  if (typeof peer !== "string" || typeof detail !== "string" || typeof relayId !== "string") {
    return [];
  }
  return [{
    peer,
    peerNat: small(peerNat, 3),
    kind: KINDS[small(kind, 2)] ?? "none",
    reason: small(reason, 9),
    detail,
    punchAttempts: small(attempts, 0xffff_ffff),
    punchSuccesses: small(successes, 0xffff_ffff),
    relayId,
    rttUs: small(rttUs, 0xffff_ffff),
  }];
}

/** A whole number from 0 to `max`; 0 for anything else. */
function small(value: unknown, max: number): number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max
    ? value
    : 0;
}
