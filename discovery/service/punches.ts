/** Punches as a method: between whom, and how often. @module */
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type InitiatePunchRequest,
  type InitiatePunchResponse,
  InitiatePunchResponseSchema,
} from "../../proto/mod.ts";
import type { NodeKey, NodeRecord, Store } from "../store/store.ts";
import type { Caller, Gate } from "./proven.ts";
import type { PunchDesk } from "./punch_desk.ts";
import { PunchLimiter } from "./punch_limiter.ts";
import { peerRecord } from "./records.ts";
import { parsePunch } from "./requests.ts";

/** How long both sides of a punch send. */
export const PUNCH_WINDOW_MS = 3000;

/** Options of {@linkcode PunchService}. */
export interface PunchServiceOptions {
  /** Who is in a mesh. */
  readonly store: Store;
  /** Knows who may do what. */
  readonly gate: Gate;
  /** Tells both sides. */
  readonly desk: PunchDesk;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** A fresh unguessable id. */
  readonly randomId: () => string;
  /** Runs a call of the store and names its faults. */
  readonly guarded: <T>(body: () => Promise<T>) => Promise<T>;
}

/** Has nodes punch that want it: who asks has proven its key, who is told keeps a Watch stream open for it. */
export class PunchService {
  readonly #options: PunchServiceOptions;
  readonly #limiter = new PunchLimiter();
  readonly #counters = { punches: 0, punchesLimited: 0 };

  /** A service on a store. */
  constructor(options: PunchServiceOptions) {
    this.#options = options;
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { ...this.#counters, punchLimitEvictions: this.#limiter.evicted };
  }

  /** Tells two nodes of a mesh to send to each other, as one of them asks. Throws `ConnectError`. */
  async initiate(request: InitiatePunchRequest, caller: Caller): Promise<InitiatePunchResponse> {
    const { gate, desk, now, randomId, guarded } = this.#options;
    const sides = parsePunch(request);
    const proven = gate.callerFor(caller, sides.from.publicKey);
    const from = await this.#node(sides.from, "from_pubkey");
    gate.guard(proven, from);
    const to = await this.#node(sides.to, "to_pubkey");
    const refusal = this.#limiter.refusal(now(), {
      meshId: from.meshId,
      from: from.publicKey,
      to: to.publicKey,
      fromRole: from.role,
      toRole: to.role,
    });
    if (refusal !== undefined) {
      this.#counters.punchesLimited++;
      throw new ConnectError(`too many punches: ${refusal}`, Code.ResourceExhausted);
    }
    const punchId = randomId();
    const windowMs = PUNCH_WINDOW_MS;
    const delivered = await guarded(() => desk.punch({ punchId, windowMs, from, to }));
    this.#counters.punches++;
    const peer = peerRecord(to);
    return create(InitiatePunchResponseSchema, { delivered, windowMs, peer, punchId });
  }

  async #node(key: NodeKey, field: string): Promise<NodeRecord> {
    const { store, now, guarded } = this.#options;
    const record = await guarded(() => store.node(key, now()));
    if (record !== undefined) return record;
    throw new ConnectError(`${field} is not registered in mesh ${key.meshId}`, Code.NotFound);
  }
}
