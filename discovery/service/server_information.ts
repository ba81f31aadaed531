/** What a Discovery says of itself: what it can do, and where its STUN listeners are. @module */
import { create } from "@bufbuild/protobuf";
import { type ContextValues, createContextKey } from "@connectrpc/connect";
import {
  type GetServerInfoRequest,
  type GetServerInfoResponse,
  GetServerInfoResponseSchema,
} from "../../proto/mod.ts";
import type { StunCredentials } from "../../traversal/mod.ts";
import type { NodeKey } from "../store/store.ts";
import { checkKey, checkMeshId } from "./validate.ts";

/** The host of the request's URL as the client wrote it, without port; IPv6 in brackets. */
export const requestHost = createContextKey<string>("", { description: "host of the request" });

/** Options of {@linkcode ServerInformation}. */
export interface ServerInformationOptions {
  /** Life of a registration in milliseconds, a whole number of seconds. */
  readonly ttlMs: number;
  /** Longest silence on a Watch stream, in milliseconds: how often the server sends heartbeats. */
  readonly heartbeatMs: number;
  /** STUN listeners. `host` is absent where one listens on every address of the machine. */
  readonly stun: readonly { readonly host?: string; readonly port: number }[];
  /** Makes credentials for the STUN listeners, for a node or for anybody. Absent: none are given. */
  readonly stunCredentials?: (node: NodeKey | undefined) => StunCredentials;
  /** Version of the program. */
  readonly version: string;
  /**
   * Whether those who prove no key may register, look up and deregister, as plain Coral clients do; never in the place of a node
   * that proved its own. @default false
   */
  readonly allowUnproven?: boolean;
}

/** What else a server may be able to do. */
export interface OptionalFeatures {
  /** It has relays of its own. */
  readonly relay: boolean;
  /** It takes relays that nodes run. */
  readonly volunteer: boolean;
}

/** Answers who asks what this server is. */
export class ServerInformation {
  readonly #options: ServerInformationOptions;

  /** Says what the options say. */
  constructor(options: ServerInformationOptions) {
    this.#options = options;
  }

  /** The answer. Throws `ConnectError` for credentials that are for no node. */
  answer(
    request: GetServerInfoRequest,
    values: ContextValues,
    { relay, volunteer }: OptionalFeatures,
  ): GetServerInfoResponse {
    const { version, allowUnproven, stun, ttlMs, heartbeatMs } = this.#options;
    return create(GetServerInfoResponseSchema, {
      version,
      features: [
        "deregister",
        "members",
        "paths",
        "proof",
        "punch",
        ...relay ? ["relay"] : [],
        "rotation",
        // Where some prove no key, some sign no record: plain Coral clients.
        ...allowUnproven === true ? [] : ["statement"],
        ...stun.length > 0 ? ["stun"] : [],
        "token",
        ...volunteer ? ["volunteer"] : [],
        "watch",
      ],
      stunServers: this.stunServers(values),
      stunPorts: [...new Set(stun.map(({ port }) => port))],
      ttl: ttlMs / 1000,
      heartbeatMs,
      ...this.#stunCredentials(request),
    });
  }

  /** Our STUN listeners as the client of this request reaches them. */
  stunServers(values: ContextValues): string[] {
    const requested = values.get(requestHost);
    const servers = this.#options.stun.flatMap(({ host = requested, port }) =>
      host === "" ? [] : [`${host}:${port}`]
    );
    return [...new Set(servers)];
  }

  /** Whoever asks gets them for whichever key: only who proves that key can make use of a receipt. */
  #stunCredentials(
    { pubkey, meshId }: GetServerInfoRequest,
  ): { stunUsername: string; stunPassword: string } | undefined {
    const { stun, stunCredentials } = this.#options;
    const node = pubkey === ""
      ? undefined
      : { meshId: checkMeshId(meshId), publicKey: checkKey(pubkey) };
    if (stun.length === 0 || stunCredentials === undefined) return undefined;
    const { username, password } = stunCredentials(node);
    return { stunUsername: username, stunPassword: password };
  }
}
