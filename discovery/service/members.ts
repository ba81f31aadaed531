/**
 * Closed meshes as methods: whom a mesh lets in, to whom it shows itself, and what its colony says about that.
 *
 * @module
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { formatBase64, type Instant, parseBase64, parseKey } from "../../core/mod.ts";
import {
  type ListMembersRequest,
  type ListMembersResponse,
  ListMembersResponseSchema,
  type PublishMembershipRequest,
  type PublishMembershipResponse,
  PublishMembershipResponseSchema,
  SignedStatementSchema,
} from "../../proto/mod.ts";
import { SourceLimiter, type SourceLimiterOptions } from "../../traversal/mod.ts";
import { type Admission, openAdmission } from "../membership/admission.ts";
import { openMembership } from "../membership/statement.ts";
import { type Barred, type MemberRow } from "../store/members.ts";
import type { NodeContent, NodeKey, Store } from "../store/store.ts";
import type { Caller, Gate } from "./proven.ts";
import { MEMBERS_PER_CALL_MAX, parseMembersPage, parsePublication } from "./requests.ts";
import { tooMany } from "./request_limits.ts";
import { invalid } from "./validate.ts";

/** How often it is looked for meshes that nobody uses: they end after months. */
const MESHES_EVERY_MS = 3_600_000;
/** Meshes that end in one step, as each may have thousands of members. */
const MESHES_SWEEP_MAX = 32;
/** Statements from which on a publication counts as long. */
const LONG_PUBLICATION = 50;
/**
 * Long publications of one address: three whole meshes at once, then one after the other. Anybody may sign statements for a mesh of his
 * own, and 500 signatures take some 30 ms to verify.
 */
const LONG_LIMIT: SourceLimiterOptions = { ratePerSecond: 8, burst: 128, sourcesMax: 10_000 };

/** Options of {@linkcode MemberService}. */
export interface MemberServiceOptions {
  /** Where memberships are kept. */
  readonly store: Store;
  /** Knows who may do what. */
  readonly gate: Gate;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Runs a call of the store and names its faults. */
  readonly guarded: <T>(body: () => Promise<T>) => Promise<T>;
  /** Called for each node that is thrown out. */
  readonly onExpelled: (node: NodeKey) => Promise<void>;
  /** Called with each statement that was news: what it says comes first. */
  readonly onDecided: (
    word: NodeKey & { readonly forAll: boolean; readonly statement: string },
  ) => Promise<void>;
}

/** Knows who belongs to which mesh. */
export class MemberService {
  readonly #options: MemberServiceOptions;
  readonly #long = new SourceLimiter(LONG_LIMIT);
  readonly #counters = {
    membersPublished: 0,
    membersRevoked: 0,
    membershipsRefused: 0,
    admissionsRefused: 0,
    hiddenFromStrangers: 0,
  };

  #sweptAt = -Infinity;

  /** A service over a store. */
  constructor(options: MemberServiceOptions) {
    this.#options = options;
  }

  /** Ends meshes that nobody uses, once an hour. Throws as the store fails. */
  async sweep(): Promise<void> {
    const { store, now, guarded } = this.#options;
    if (now() < this.#sweptAt + MESHES_EVERY_MS) return;
    this.#sweptAt = now();
    while (await guarded(() => store.sweepMeshes(now(), MESHES_SWEEP_MAX)) > 0);
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { ...this.#counters, membershipsLimited: this.#long.refused };
  }

  /** The invite that an agent's registration shows; empty for none that is good for it. */
  async inviteOf(content: NodeContent): Promise<string> {
    const { admission: jwt, meshId, agentId, publicKey: text, proven } = content;
    const publicKey = parseKey(text);
    // Without a proof an admission that somebody has overheard would do.
    if (jwt === "" || publicKey === undefined || !proven) return "";
    const order = { meshId, agentId, publicKey, now: this.#options.now() };
    const admission: Admission | undefined = await openAdmission(jwt, order);
    return admission?.invite ?? "";
  }

  /** How an agent is refused that may not be in the mesh. */
  refusal({ meshId, admission }: NodeContent, why: Barred): ConnectError {
    this.#counters.admissionsRefused++;
    return new ConnectError(reasonOf(meshId, why, admission), Code.PermissionDenied);
  }

  /** Whether a mesh hides from this node, or from one that proves nothing (an empty key). Throws as the store fails. */
  async hides(key: NodeKey): Promise<boolean> {
    const { store, now, guarded } = this.#options;
    const hidden = await guarded(() => store.hides(key, now()));
    return this.noted(hidden);
  }

  /** Counts a mesh that was hidden, and says it again. */
  noted(hidden: boolean): boolean {
    if (hidden) this.#counters.hiddenFromStrangers++;
    return hidden;
  }

  /** Stores what a colony says, from an address. Throws `ConnectError`. */
  async publish(
    request: PublishMembershipRequest,
    caller: Caller & { readonly address: string },
  ): Promise<PublishMembershipResponse> {
    try {
      return await this.#publish(request, caller);
    } catch (error) {
      this.#counters.membershipsRefused++;
      throw error;
    }
  }

  /** What the colony of a mesh has signed. Throws `ConnectError`. */
  async list(request: ListMembersRequest, caller: Caller): Promise<ListMembersResponse> {
    const { store, gate, now, guarded } = this.#options;
    const { meshId, after, since } = parseMembersPage(request);
    const publicKey = gate.caller(caller);
    const node = await guarded(() => store.node({ meshId, publicKey }, now()));
    if (node === undefined) throw noColony(meshId);
    const max = MEMBERS_PER_CALL_MAX;
    const news = { since, of: publicKey };
    const range = { after, max: max + 1, ...(request.revoked && { news }) };
    const rows = await guarded(() => store.members(meshId, range));
    return create(ListMembersResponseSchema, {
      members: rows.slice(0, max).map(({ statement }) =>
        fromBinary(SignedStatementSchema, parseBase64(statement) ?? new Uint8Array())
      ),
      more: rows.length > max,
    });
  }

  async #publish(
    request: PublishMembershipRequest,
    caller: Caller & { readonly address: string },
  ): Promise<PublishMembershipResponse> {
    const { store, gate, guarded, onExpelled, onDecided } = this.#options;
    const { meshId, colonyKey, ...rest } = parsePublication(request);
    // The mesh id is bound to a proven key: who proves none is not its colony.
    if (gate.callerFor(caller, colonyKey) === "") throw noColony(meshId);
    this.#admit(request, caller.address);
    const members = await checkMembers(request, { meshId, colonyKey });
    const news = { meshId, colonyKey, members, ...rest };
    const outcome = await guarded(() => store.publishMembers(news));
    switch (outcome.kind) {
      case "notColony":
        // In the words for a mesh that is not there.
        throw noColony(meshId);
      case "full":
        throw new ConnectError(
          `mesh_id ${meshId}: no room for more members or invites`,
          Code.ResourceExhausted,
        );
      case "published":
        break;
      default:
        return outcome satisfies never;
    }
    const { admitted, readmitted, revoked } = outcome;
    const forAll = new Set([...readmitted, ...revoked]);
    const stored = admitted.length + forAll.size;
    this.#counters.membersPublished += stored;
    this.#counters.membersRevoked += revoked.length;
    for (const publicKey of revoked) await onExpelled({ meshId, publicKey });
    const fresh = new Set([...admitted, ...forAll]);
    for (const { publicKey, statement } of members) {
      if (!fresh.has(publicKey)) continue;
      await onDecided({ meshId, publicKey, forAll: forAll.has(publicKey), statement });
    }
    return create(PublishMembershipResponseSchema, { stored });
  }

  #admit({ members }: PublishMembershipRequest, address: string): void {
    const now = this.#options.now() as Instant;
    if (members.length <= LONG_PUBLICATION || this.#long.admit(now, address)) return;
    throw tooMany("too many members from this address", this.#long.waitMs(now, address));
  }
}

async function checkMembers(
  { members }: PublishMembershipRequest,
  { meshId, colonyKey }: { readonly meshId: string; readonly colonyKey: string },
): Promise<MemberRow[]> {
  const scope = { meshId, colonyKey: parseKey(colonyKey) ?? new Uint8Array() };
  const rows = new Map<string, MemberRow>();
  for (const signed of members) {
    const membership = await openMembership(signed, scope);
    if (membership === undefined) {
      throw invalid("members holds what the colony has not signed for this mesh");
    }
    const { publicKey, state, sequence } = membership;
    if (publicKey === colonyKey) throw invalid("members holds the colony itself");
    if (rows.has(publicKey)) throw invalid("members holds a node twice");
    const statement = formatBase64(toBinary(SignedStatementSchema, signed));
    rows.set(publicKey, { publicKey, state, sequence, statement });
  }
  return [...rows.values()];
}

function reasonOf(meshId: string, why: Barred, admission: string): string {
  switch (why) {
    case "revoked":
      return `mesh ${meshId} has thrown this node out`;
    case "used":
      return "the invite was used already: ask for another one";
    case "invite":
      return "the invite was used, has ended or was taken back: ask for another one";
    case "closed":
      return admission === ""
        ? `mesh ${meshId} is closed: an invite of its colony is needed`
        : "the invite is not for this mesh and key, or the clock is wrong";
    default:
      return why satisfies never;
  }
}

function noColony(meshId: string): ConnectError {
  return new ConnectError(`colony ${meshId} not found`, Code.NotFound);
}
