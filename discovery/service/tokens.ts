/** Bootstrap tokens as methods: who may have one, of which mesh, and how often. @module */
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { type Instant, parseKey } from "../../core/mod.ts";
import {
  type CreateBootstrapTokenRequest,
  type CreateBootstrapTokenResponse,
  CreateBootstrapTokenResponseSchema,
} from "../../proto/mod.ts";
import { SourceLimiter, type SourceLimiterOptions } from "../../traversal/mod.ts";
import type { Store } from "../store/store.ts";
import { keyThumbprint } from "../token/claims.ts";
import type { TokenIssuer } from "../token/issuer.ts";
import { type Caller, provenKey } from "./proven.ts";
import { parseTokenRequest } from "./requests.ts";

/** Tokens of one node: a few at once, then one a second. */
const KEY_LIMIT: SourceLimiterOptions = { ratePerSecond: 1, burst: 10, sourcesMax: 100_000 };
/** Tokens of one mesh: as many at once as agents come back to a colony that was away. */
const MESH_LIMIT: SourceLimiterOptions = { ratePerSecond: 100, burst: 4000, sourcesMax: 10_000 };

/** Options of {@linkcode TokenService}. */
export interface TokenServiceOptions {
  /** Who is in a mesh. */
  readonly store: Store;
  /** Issues the tokens. */
  readonly issuer: TokenIssuer;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Runs a call of the store and names its faults. */
  readonly guarded: <T>(body: () => Promise<T>) => Promise<T>;
}

/** Gives tokens to the nodes of a mesh. */
export class TokenService {
  readonly #options: TokenServiceOptions;
  readonly #keys = new SourceLimiter(KEY_LIMIT);
  readonly #meshes = new SourceLimiter(MESH_LIMIT);
  readonly #counters = { tokensIssued: 0, tokensRefused: 0 };

  /** A service that issues by `issuer`. */
  constructor(options: TokenServiceOptions) {
    this.#options = options;
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { ...this.#counters };
  }

  /** What `GET /.well-known/jwks.json` says. Throws `ConnectError` as the store fails. */
  keySet(): Promise<{ readonly keys: readonly object[] }> {
    return this.#options.guarded(() => this.#options.issuer.keySet());
  }

  /**
   * Issues a token for a node of a mesh: to the node itself, and to its colony for any. Throws `ConnectError`.
   *
   * Where registrations need no proof tokens do: each is bound to the key of whoever asked.
   */
  async create(
    request: CreateBootstrapTokenRequest,
    caller: Caller,
  ): Promise<CreateBootstrapTokenResponse> {
    try {
      const response = await this.#create(request, caller);
      this.#counters.tokensIssued++;
      return response;
    } catch (error) {
      this.#counters.tokensRefused++;
      throw error;
    }
  }

  async #create(
    request: CreateBootstrapTokenRequest,
    { values }: Caller,
  ): Promise<CreateBootstrapTokenResponse> {
    const { store, issuer, now, guarded } = this.#options;
    const publicKey = values.get(provenKey);
    const bytes = parseKey(publicKey);
    if (bytes === undefined) {
      const message = "a proof of possession of the node's key is required";
      throw new ConnectError(message, Code.Unauthenticated);
    }
    const wanted = parseTokenRequest(request);
    const { meshId, agentId } = wanted;
    const node = await guarded(() => store.node({ meshId, publicKey }, now()));
    // In the words for a mesh that is not there: who is no member learns nothing.
    if (node === undefined) throw new ConnectError(`colony ${meshId} not found`, Code.NotFound);
    if (node.role === "agent" && node.agentId !== agentId) {
      throw new ConnectError("agent_id is another's", Code.PermissionDenied);
    }
    this.#admit(meshId, publicKey);
    const thumbprint = keyThumbprint(bytes);
    const order = { ...wanted, thumbprint };
    const { jwt, expiresAt } = await guarded(() => issuer.issue(order));
    return create(CreateBootstrapTokenResponseSchema, {
      jwt,
      expiresAt: BigInt(expiresAt / 1000),
    });
  }

  #admit(meshId: string, publicKey: string): void {
    const now = this.#options.now() as Instant;
    // One node cannot use up what its mesh has.
    const admitted = this.#keys.admit(now, `${publicKey} ${meshId}`) &&
      this.#meshes.admit(now, `mesh ${meshId}`);
    if (admitted) return;
    const retry = { "retry-after": "1" };
    throw new ConnectError("too many bootstrap tokens", Code.ResourceExhausted, retry);
  }
}
