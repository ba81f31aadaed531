/** What a path agent is told and what it says. @module */
import type { Instant, Rng } from "../core/mod.ts";
import type { Candidate } from "./candidate.ts";
import type { Path } from "./path.ts";

/** What happened to the paths. */
export type PathEvent =
  | {
    /** The peer answered: there is a session. */
    readonly kind: "connected";
    /** Where packets to the peer go from now on. */
    readonly path: Path;
  }
  | {
    /** The peer is reached over another path. */
    readonly kind: "moved";
    /** Where packets to the peer go from now on. */
    readonly path: Path;
  }
  | {
    /** The path in use carries inner packets of another size at most. */
    readonly kind: "mtu";
    /** The path in use. */
    readonly path: Path;
    /** The size, in bytes. */
    readonly mtu: number;
  }
  | {
    /** The path in use does not answer; data goes out on others too until one does. */
    readonly kind: "doubted";
  }
  | {
    /** The path in use answers again, or another was taken. */
    readonly kind: "trusted";
  }
  | {
    /** Nothing was heard for three minutes; the agent is trying again by itself. */
    readonly kind: "lost";
  };

/** One WireGuard handshake initiation, and where its copies go. */
export interface Initiation {
  /** Receivers of the same bytes: at least 1, at most 24, and 64 of a guess. */
  readonly destinations: readonly Path[];
  /** Whether a new one must be made. Otherwise the bytes of the peer's latest go out again, or a new one where there is none. */
  readonly fresh: boolean;
}

/** Where data to the peer goes. */
export interface Route {
  /** The path in use; `undefined` without a session. */
  readonly primary: Path | undefined;
  /** Where copies go while the path in use is in doubt: at most two direct paths and one relayed. */
  readonly also: readonly Path[];
}

/** How far a path is known to work. `silent`: it did, and does not answer any more. */
export type PathState = "unknown" | "heard" | "proven" | "silent";

/** How one path does. */
export interface PathReport {
  /** The path. */
  readonly path: Path;
  /** How its address was found. */
  readonly kind: Candidate["kind"];
  /** How far it is known to work. */
  readonly state: PathState;
  /** Smoothed round trip in milliseconds; `undefined` until measured. */
  readonly rttMs: number | undefined;
  /** Largest inner packet in bytes; `undefined` until measured. */
  readonly mtu: number | undefined;
  /** Probes sent. */
  readonly probes: number;
  /** Answers to them. */
  readonly replies: number;
}

/** How the connection to a peer does. */
export interface PathAgentStatus {
  /** Whether there is a session that was heard of within three minutes. */
  readonly connected: boolean;
  /** The path in use while connected. */
  readonly path: Path | undefined;
  /** Whether the path in use leads over a relay. */
  readonly relayed: boolean;
  /** Its smoothed round trip in milliseconds; `undefined` until measured. */
  readonly rttMs: number | undefined;
  /** Largest inner packet that it carries, in bytes; `undefined` without a session. */
  readonly mtu: number | undefined;
  /** When anything was last authenticated; `undefined` for never. */
  readonly lastHeardAt: Instant | undefined;
  /** Initiations asked for since the last connection, or since the start. */
  readonly attempts: number;
  /** Why there is no session, or only one over a relay: a sentence for a person; `undefined` while connected directly. */
  readonly reason: string | undefined;
  /** Every path. */
  readonly paths: readonly PathReport[];
}

/** Options of {@linkcode PathAgent}. */
export interface PathAgentOptions {
  /** The present. */
  readonly now: Instant;
  /** Entropy for guessed ports. Absent: nothing is guessed. */
  readonly rng?: Rng;
  /** Largest inner packet that this node sends, in bytes. @default 1280 */
  readonly mtuMax?: number;
  /** Time between probes that keep a NAT mapping, in milliseconds. @default 25000 */
  readonly keepaliveMs?: number;
  /** Uses relayed paths only. @default false */
  readonly noDirect?: boolean;
  /** Guesses no ports. @default false */
  readonly noGuess?: boolean;
}
