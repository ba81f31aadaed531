/** An agent and its colony: what they reached, how their paths changed, and whether they hear each other. @module */
import type { NodeEvent } from "../../agent/shared/mod.ts";
import type { SimNode } from "./node.ts";
import type { Process } from "./process.ts";

/** What one end knows of the path to the other. */
interface End {
  readonly node: SimNode;
  readonly other: SimNode;
  /** Changes of the path since the last event in the networks that allowed any. */
  moves: number;
  /** When an echo was last answered. */
  heardAt: number;
  /** The program that has a path now, and whether a relay is on it. */
  path: { readonly process: Process | undefined; readonly relayed: boolean } | undefined;
}

/** The pair. */
export class Pair {
  /** The agent. */
  readonly agent: SimNode;
  /** The colony. */
  readonly colony: SimNode;
  /** When both programs ran for the first time. */
  startedAt: number | undefined;
  /** When either end first had a session. */
  connectedAt: number | undefined;
  /** Events in the networks that may change the path. */
  events = 0;
  readonly #ends: readonly [End, End];
  #moves = 0;

  /** A pair that has not met. */
  constructor(agent: SimNode, colony: SimNode) {
    this.agent = agent;
    this.colony = colony;
    const end = (node: SimNode, other: SimNode): End => (
      { node, other, moves: 0, heardAt: -1, path: undefined }
    );
    this.#ends = [end(agent, colony), end(colony, agent)];
  }

  /** Both names. */
  get name(): string {
    return `${this.agent.name}-${this.colony.name}`;
  }

  /** Changes of the path at either end, the first connection not counted. */
  get moves(): number {
    return this.#moves;
  }

  /** Whether a node is one of the two. */
  has(node: SimNode): boolean {
    return node === this.agent || node === this.colony;
  }

  /** The end that is not this one. */
  otherOf(node: SimNode): SimNode {
    return node === this.agent ? this.colony : this.agent;
  }

  /** Takes what one end's datapath tells of the other. */
  take(nowMs: number, node: SimNode, event: NodeEvent): void {
    if (event.kind === "peerConnected") this.connectedAt ??= nowMs;
    const end = this.#ends.find((end) => end.node === node);
    if (end !== undefined) end.path = pathAfter(node, event, end.path);
    if (event.kind !== "peerMoved") return;
    this.#moves++;
    for (const end of this.#ends) if (end.node === node) end.moves++;
  }

  /** Whether both ends send to each other without a relay. */
  get isDirect(): boolean {
    return this.#ends.every(({ node, path }) =>
      path !== undefined && path.process === node.process && !path.relayed
    );
  }

  /** An echo of `node` was answered. */
  heard(nowMs: number, node: SimNode): void {
    for (const end of this.#ends) if (end.node === node) end.heardAt = nowMs;
  }

  /** Whether both ends were answered at or after an instant. */
  heardSince(sinceMs: number): boolean {
    return this.#ends.every(({ heardAt }) => heardAt >= sinceMs);
  }

  /** Whether an echo was ever answered. */
  get heardOnce(): boolean {
    return this.#ends.some(({ heardAt }) => heardAt >= 0);
  }

  /** When an echo of the agent was last answered; -1 for never. */
  get agentHeardAt(): number {
    return this.#ends[0].heardAt;
  }

  /** When the end was last answered that has waited longer. */
  get heardAt(): number {
    return Math.min(...this.#ends.map(({ heardAt }) => heardAt));
  }
}

/** The path of an end after what its datapath has told. */
function pathAfter({ process }: SimNode, event: NodeEvent, path: End["path"]): End["path"] {
  switch (event.kind) {
    case "peerConnected":
    case "peerMoved":
      return { process, relayed: event.relayed === true };
    case "peerLost":
      return undefined;
    default:
      return path;
  }
}
