/**
 * What nodes say of their paths, for the operator: who is reached directly or over a relay, and why. In memory, bounded; nothing
 * that a node is told depends on it. Time is in unix milliseconds.
 *
 * A report lives until its node leaves or has not reported for {@linkcode PATH_LIFE_MS}.
 *
 * @module
 */
import type { NodeKey } from "../store/store.ts";

/** How long what a node said is believed without another word of it. */
export const PATH_LIFE_MS = 7_200_000;
/** Paths in the book. Further ones are not taken; {@linkcode PathBook.counters} tells. */
export const PATHS_MAX = 100_000;
/** Paths of one node. Further ones are not taken. */
export const PATHS_PER_NODE_MAX = 10_000;

/** How packets reach a peer. */
export type PathKind = "direct" | "relayed" | "none";

/** The words of a reason, by its number in PathReason. */
export const REASON_WORDS = [
  "",
  "something else",
  "direct paths are switched off",
  "no endpoint is known",
  "UDP is blocked",
  "mapping varies on both sides",
  "mapping varies here, the peer filters by port",
  "mapping varies at the peer",
  "no answer",
  "nothing was tried yet",
] as const;

/** A path from a node to a peer. */
export interface ReportedPath {
  /** The peer's key, base64. */
  readonly peer: string;
  /** The peer's NatHint, 0 to 3. */
  readonly peerNat: number;
  /** How the peer is reached. */
  readonly kind: PathKind;
  /** Why not directly: index into {@linkcode REASON_WORDS}. */
  readonly reason: number;
  /** The same for a person; empty for none. */
  readonly detail: string;
  /** Punches that the node took part in. */
  readonly punchAttempts: number;
  /** Those that led to a direct path. */
  readonly punchSuccesses: number;
  /** The relay; empty for none. */
  readonly relayId: string;
  /** Round trip in microseconds; 0 if it was not measured. */
  readonly rttUs: number;
}

/** What a node says of its NAT. */
export interface ReportedNat {
  /** NatHint, 0 to 3. */
  readonly nat: number;
  /** NatBehavior, 0 to 3. */
  readonly mapping: number;
  /** NatBehavior, 0 to 3. */
  readonly filtering: number;
}

/** What a node reports at once. */
export interface ReportOfPaths extends ReportedNat {
  /** The paths. */
  readonly paths: readonly ReportedPath[];
}

/** What is known of a node. */
export interface KnownPaths extends ReportedNat {
  /** When it last reported. */
  readonly reportedAt: number;
  /** Its paths, by the peer's key. */
  readonly paths: ReadonlyMap<string, ReportedPath>;
}

/** One field of the matrix of punches: what nodes behind one kind of NAT say of peers behind another. */
export interface NatPair {
  /** NatHint of the reporting side. */
  readonly own: number;
  /** NatHint of the other side. */
  readonly peer: number;
  /** Paths, by kind. */
  readonly paths: Readonly<Record<PathKind, number>>;
  /** Punches, as the reporting sides count them. */
  readonly punchAttempts: number;
  /** Those that led to a direct path. */
  readonly punchSuccesses: number;
}

interface Reporter extends ReportedNat {
  nat: number;
  mapping: number;
  filtering: number;
  reportedAt: number;
  readonly paths: Map<string, ReportedPath>;
}

/** The reports of all meshes. */
export class PathBook {
  readonly #max: number;
  readonly #perNodeMax: number;
  /** By mesh, then by key. */
  readonly #meshes = new Map<string, Map<string, Reporter>>();
  #size = 0;
  #refused = 0;
  #reports = 0;

  /** An empty book, with other limits for tests. */
  constructor(
    { max = PATHS_MAX, perNodeMax = PATHS_PER_NODE_MAX }: {
      /** @default {@linkcode PATHS_MAX} */
      readonly max?: number;
      /** @default {@linkcode PATHS_PER_NODE_MAX} */
      readonly perNodeMax?: number;
    } = {},
  ) {
    this.#max = max;
    this.#perNodeMax = perNodeMax;
  }

  /** Paths in the book. */
  get size(): number {
    return this.#size;
  }

  /** Reports, paths that found no room, and paths by kind. */
  counters(): Record<string, number> {
    const kinds = { direct: 0, relayed: 0, none: 0 };
    let [attempts, successes] = [0, 0];
    for (const { paths, punchAttempts, punchSuccesses } of this.matrix()) {
      kinds.direct += paths.direct;
      kinds.relayed += paths.relayed;
      kinds.none += paths.none;
      attempts += punchAttempts;
      successes += punchSuccesses;
    }
    return {
      pathReports: this.#reports,
      pathsRefused: this.#refused,
      "paths:direct": kinds.direct,
      "paths:relayed": kinds.relayed,
      "paths:none": kinds.none,
      punchAttemptsReported: attempts,
      punchSuccessesReported: successes,
    };
  }

  /** Takes what a node says. Returns how many of its paths were taken. */
  report(now: number, { meshId, publicKey }: NodeKey, report: ReportOfPaths): number {
    this.#reports++;
    const mesh = this.#meshes.get(meshId) ?? new Map<string, Reporter>();
    const known = mesh.get(publicKey);
    const { nat, mapping, filtering } = report;
    const reporter = known ?? { nat, mapping, filtering, reportedAt: now, paths: new Map() };
    Object.assign(reporter, { nat, mapping, filtering, reportedAt: now });
    let taken = 0;
    for (const path of report.paths) {
      const { paths } = reporter;
      if (!paths.has(path.peer)) {
        if (this.#size >= this.#max || paths.size >= this.#perNodeMax) {
          this.#refused++;
          continue;
        }
        this.#size++;
      }
      paths.set(path.peer, path);
      taken++;
    }
    // Who has no path takes no room.
    if (reporter.paths.size === 0) return taken;
    mesh.set(publicKey, reporter);
    this.#meshes.set(meshId, mesh);
    return taken;
  }

  /** What a node said; `undefined` for nothing. */
  of({ meshId, publicKey }: NodeKey): KnownPaths | undefined {
    return this.#meshes.get(meshId)?.get(publicKey);
  }

  /** What another node of its mesh said of the path to a node, the first that did; `undefined` for nothing. */
  about({ meshId, publicKey }: NodeKey): {
    /** Who said so. */
    readonly by: string;
    /** The path from there. */
    readonly path: ReportedPath;
  } | undefined {
    for (const [by, { paths }] of this.#meshes.get(meshId) ?? []) {
      const path = paths.get(publicKey);
      if (path !== undefined) return { by, path };
    }
    return undefined;
  }

  /** Forgets what a node said, and what its mesh said of it: it has left. */
  leave({ meshId, publicKey }: NodeKey): void {
    const mesh = this.#meshes.get(meshId);
    if (mesh === undefined) return;
    this.#forget(meshId, mesh, publicKey);
    for (const [reporter, { paths }] of mesh) {
      if (!paths.delete(publicKey)) continue;
      this.#size--;
      if (paths.size === 0) this.#forget(meshId, mesh, reporter);
    }
  }

  /** Forgets nodes that have been silent for {@linkcode PATH_LIFE_MS}. */
  sweep(now: number): void {
    for (const [meshId, mesh] of this.#meshes) {
      for (const [publicKey, { reportedAt }] of mesh) {
        if (reportedAt + PATH_LIFE_MS <= now) this.#forget(meshId, mesh, publicKey);
      }
    }
  }

  /** Pairs of NATs that paths were reported of, of one mesh or (`meshId` absent) of all. At most 16. */
  matrix(meshId?: string): NatPair[] {
    const pairs = new Map<string, {
      own: number;
      peer: number;
      paths: Record<PathKind, number>;
      punchAttempts: number;
      punchSuccesses: number;
    }>();
    for (const [id, mesh] of this.#meshes) {
      if (meshId !== undefined && id !== meshId) continue;
      for (const { nat: own, paths } of mesh.values()) {
        for (const { peerNat: peer, kind, punchAttempts, punchSuccesses } of paths.values()) {
          const key = `${own} ${peer}`;
          let pair = pairs.get(key);
          if (pair === undefined) {
            const none = { direct: 0, relayed: 0, none: 0 };
            pair = { own, peer, paths: none, punchAttempts: 0, punchSuccesses: 0 };
            pairs.set(key, pair);
          }
          pair.paths[kind]++;
          pair.punchAttempts += punchAttempts;
          pair.punchSuccesses += punchSuccesses;
        }
      }
    }
    return [...pairs.values()].sort((a, b) => a.own - b.own || a.peer - b.peer);
  }

  #forget(meshId: string, mesh: Map<string, Reporter>, publicKey: string): void {
    this.#size -= mesh.get(publicKey)?.paths.size ?? 0;
    mesh.delete(publicKey);
    if (mesh.size === 0) this.#meshes.delete(meshId);
  }
}
