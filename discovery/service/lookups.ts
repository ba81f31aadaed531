/** The look-ups as methods: who is shown which node. @module */
import { Code, ConnectError } from "@connectrpc/connect";
import type {
  LookupAgentRequest,
  LookupAgentResponse,
  LookupColonyResponse,
  RelayOption,
} from "../../proto/mod.ts";
import { AGENTS_BY_ID_MAX, type NodeKey, type NodeRecord, type Store } from "../store/store.ts";
import type { MemberService } from "./members.ts";
import { KeptAnswers } from "./kept_answers.ts";
import { agentResponse } from "./records.ts";
import { parseWanted, type WantedAgent } from "./requests.ts";
import { invalid } from "./validate.ts";

/** Options of {@linkcode Lookups}. */
export interface LookupsOptions {
  /** Where the nodes are. */
  readonly store: Store;
  /** Knows to whom a mesh shows itself. */
  readonly members: MemberService;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Runs a call of the store and names its faults. */
  readonly guarded: <T>(body: () => Promise<T>) => Promise<T>;
  /** The relays that anybody may ask for now. */
  readonly relayOptions: () => RelayOption[];
}

/** Looks nodes up. */
export class Lookups {
  readonly #options: LookupsOptions;
  readonly #answers = new KeptAnswers();

  /** Look-ups in a store. */
  constructor(options: LookupsOptions) {
    this.#options = options;
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { answersForgotten: this.#answers.forgotten };
  }

  /**
   * The colony of a mesh, for the node with this key; empty for who proves none. Throws `ConnectError` `NOT_FOUND`.
   *
   * A mesh that hides is asked for as much of the store as one that is not there: neither words nor time tell them apart.
   */
  async colony({ meshId, publicKey }: NodeKey): Promise<LookupColonyResponse> {
    const { store, members, now, guarded, relayOptions } = this.#options;
    const { record, hidden } = await guarded(() => store.colonyFor({ meshId, publicKey }, now()));
    if (members.noted(hidden) || record === undefined) {
      throw new ConnectError(`colony ${meshId} not found`, Code.NotFound);
    }
    const response = this.#answers.of(record);
    const relays = record.noRelay ? [] : relayOptions();
    return relays.length === 0 ? response : { ...response, relays };
  }

  /**
   * An agent. They are shown to their mesh only: whoever asks is registered there, or need prove nothing. Throws `ConnectError`
   * `NOT_FOUND`, in the same words and after the same work for an agent that is not there and for one that is hidden.
   */
  async agent(request: LookupAgentRequest, proven: string): Promise<LookupAgentResponse> {
    const wanted = parseWanted(request, proven);
    const found = await this.#wanted(wanted);
    const shown = proven === ""
      ? await this.#shownToAll(found, wanted)
      : await this.#isNode({ meshId: request.meshId, publicKey: proven })
      ? found
      : [];
    const [record, ...others] = shown;
    if (record === undefined) {
      const { agentId, publicKey } = wanted;
      const which = publicKey === undefined ? `agent ${agentId}` : "agent";
      throw new ConnectError(`${which} not found`, Code.NotFound);
    }
    if (others.length > 0) throw invalid("agent_id is used in several meshes: mesh_id is required");
    return agentResponse(record);
  }

  async #wanted({ agentId, meshId, publicKey }: WantedAgent): Promise<readonly NodeRecord[]> {
    const { store, now, guarded } = this.#options;
    if (publicKey === undefined || meshId === undefined) {
      const scope = meshId === undefined ? {} : { meshId };
      return await guarded(() => store.agentsById(agentId, { ...scope, now: now() }));
    }
    const record = await guarded(() => store.node({ meshId, publicKey }, now()));
    if (record?.role !== "agent") return [];
    return agentId === "" || record.agentId === agentId ? [record] : [];
  }

  async #isNode(key: NodeKey): Promise<boolean> {
    const { store, now, guarded } = this.#options;
    return await guarded(() => store.node(key, now())) !== undefined;
  }

  /** Those records that may be shown to one who proves nothing. Asks for as many meshes as there could be, found or not. */
  async #shownToAll(
    records: readonly NodeRecord[],
    { meshId }: WantedAgent,
  ): Promise<readonly NodeRecord[]> {
    const { members } = this.#options;
    const shown: NodeRecord[] = [];
    for (let i = 0; i < (meshId === undefined ? AGENTS_BY_ID_MAX : 1); i++) {
      const record = records[i];
      const mesh = record?.meshId ?? meshId ?? "";
      const hidden = await members.hides({ meshId: mesh, publicKey: "" });
      if (record !== undefined && !hidden) shown.push(record);
    }
    return shown;
  }
}
