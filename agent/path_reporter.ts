/**
 * Reports a node's paths to Discovery, for its operator's status page; `--no-report` switches it off. A Discovery that does not
 * say that it wants them is never asked, and one that refuses is not asked again.
 *
 * @module
 */
import { messageOf, MorayError } from "../core/mod.ts";
import type { DiscoveryClient, NatHint, PeerEvent } from "../discovery/mod.ts";
import { systemClock } from "../io/mod.ts";
import { causeOf } from "./path_cause.ts";
import { PathJournal, type PathNow } from "./path_journal.ts";
import type { MeshAnswer } from "./mesh_messages.ts";
import type { NodeEvent } from "./shared/mod.ts";
import type { Log } from "./options.ts";
import type { NodeStatus, PeerStatus } from "./status.ts";

/** Characters of a reason that Discovery takes. */
const DETAIL_MAX = 160;

/** Options of {@linkcode PathReporter}. */
export interface PathReporterOptions {
  /** Mesh id. */
  readonly mesh: string;
  /** The node's key, base64. */
  readonly publicKey: string;
  /** Whether to say nothing. @default false */
  readonly noReport?: boolean;
  /** Where to. */
  readonly client: Pick<DiscoveryClient, "features" | "reportPaths">;
  /** The node and its peers as they are now. */
  readonly status: () => Promise<Pick<NodeStatus, "node" | "peers">>;
  /** What is known of a peer's NAT. */
  readonly natOf: (publicKey: string) => NatHint;
  /** Where the log goes. */
  readonly log: Log;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** Reports the paths of one node. */
export class PathReporter {
  readonly #options: PathReporterOptions;
  readonly #journal = new PathJournal();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #registered = false;
  #refused = false;

  /** Reports nothing before the node is registered. */
  constructor(options: PathReporterOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", () => clearTimeout(this.#timer));
  }

  /** Takes what the datapath tells. */
  handle(event: NodeEvent): void {
    const now = systemClock.now();
    if (event.kind === "peerConnected" || event.kind === "peerMoved") {
      this.#journal.reached(now, event.publicKey, event.relayed !== true);
    } else if (event.kind === "peerLost") this.#journal.lost(now, event.publicKey);
    else return;
    this.#arm();
  }

  /** Takes an event of the Watch stream. */
  handlePeerEvent(event: PeerEvent): void {
    if (event.kind !== "punch") return;
    this.#journal.punched(systemClock.now(), event.peer.publicKey, event.punchId);
  }

  /** Takes what came of a request to Discovery. */
  handleAnswer(answer: MeshAnswer): void {
    const now = systemClock.now();
    if (answer.kind === "punched") this.#journal.punched(now, answer.publicKey, answer.punchId);
    if (answer.kind !== "registered") return;
    this.#registered = true;
    this.#journal.registered(now);
    this.#arm();
  }

  #arm(): void {
    const { client, signal, noReport = false } = this.#options;
    const { dueAt } = this.#journal;
    if (dueAt === undefined || this.#timer !== undefined || signal.aborted) return;
    if (!this.#registered || noReport || this.#refused || client.features.paths !== true) return;
    this.#timer = setTimeout(() => {
      void this.#report().finally(() => {
        this.#timer = undefined;
        this.#arm();
      });
    }, Math.max(0, dueAt - systemClock.now()));
    Deno.unrefTimer(this.#timer);
  }

  /** Never rejects: the next registration is a reason to try again. */
  async #report(): Promise<void> {
    const { client, status, natOf, mesh: meshId, publicKey, log, signal } = this.#options;
    try {
      const { node: { nat: { mapping, filtering, hint } }, peers } = await status();
      const now = peers.map((peer) => pathNow(peer, natOf(peer.publicKey)));
      const paths = this.#journal.take(systemClock.now(), now);
      if (paths.length === 0 || signal.aborted) return;
      const nat = hint as NatHint;
      const report = { meshId, publicKey, nat, mapping, filtering, paths };
      await client.reportPaths(report, { signal });
      this.#journal.told(paths);
    } catch (error) {
      if (signal.aborted) return;
      this.#refused = error instanceof MorayError && error.code === "unsupported";
      log("debug", `reporting paths: ${messageOf(error)}`);
    }
  }
}

function pathNow({ publicKey, path, reason }: PeerStatus, nat: NatHint): PathNow {
  const { kind, relay, rttMs } = path;
  const cause = causeOf(reason);
  return {
    publicKey,
    nat,
    kind,
    ...(cause !== undefined && { cause }),
    ...(reason !== null && { detail: reason.slice(0, DETAIL_MAX) }),
    // What is an address here is a relay of the peer's, whose id only that knows.
    ...(relay !== null && !relay.includes(":") && { relayId: relay }),
    ...(rttMs !== null && { rttMs }),
  };
}
