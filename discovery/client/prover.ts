/**
 * Proves to one Discovery that this node holds its key: with each request, once the server has said its own key and its time.
 *
 * ```text
 *   key unknown --GetServerInfo--> says a key: every request carries a proof; refused (401) with another key or time: once more
 *                             \--> says none, as plain Coral does: requests go as they are
 * ```
 *
 * @module
 */
import { formatBase64, parseKey } from "../../core/mod.ts";
import {
  formatProof,
  NONCE_BYTES,
  PROOF_HEADER,
  PROOF_KEY_HEADER,
  PROOF_TIME_HEADER,
  proofKey,
  proofKeyId,
  proofMac,
} from "../proof/proof.ts";
import type { Signer } from "../signature/signing_key.ts";
import { type Fetch, urlOf } from "./transport.ts";

/** Methods that need no proof, of those that a node calls. */
const OPEN = ["GetServerInfo", "Health"];

/** HTTP's status of Connect's UNIMPLEMENTED. */
const NOT_IMPLEMENTED = 501;

/** Whose key a client proves. */
export interface Identity {
  /** The node's public key. */
  readonly publicKey: Uint8Array;
  /** The private one, as an object that does not give it out. */
  readonly secret: CryptoKey;
  /** Signs with it. */
  readonly signer: Signer;
}

/** What a server said of itself. */
interface ServerKey {
  /** The key in base64, as it was said. */
  readonly text: string;
  /** Its name. */
  readonly id: string;
  /** What proofs are made with; `undefined` for a key that none can be made for. */
  readonly key: Uint8Array | undefined;
}

/** Options of {@linkcode Prover}. */
export interface ProverOptions {
  /** Base URL of the server. */
  readonly baseUrl: string;
  /** Whose key is proved. */
  readonly identity: Pick<Identity, "publicKey" | "secret">;
  /** Makes the requests. */
  readonly fetch: Fetch;
  /** Now, unix milliseconds. */
  readonly now: () => number;
}

/** Adds proofs to the requests of one server. */
export class Prover {
  readonly #options: ProverOptions;
  #server: ServerKey | undefined;
  /** How far the server's clock is ahead of ours. */
  #aheadMs = 0;
  /** Whether the server has answered, with a key or without. */
  #asked = false;
  /** Settles with the question that is under way, which is worth waiting for. */
  #asking: Promise<void> | undefined;

  /** A prover that knows nothing of the server yet. */
  constructor(options: ProverOptions) {
    this.#options = options;
  }

  /** As the global `fetch`, with proofs. */
  readonly fetch: Fetch = async (input, init) => {
    const method = new URL(urlOf(input)).pathname.split("/").at(-1) ?? "";
    const body = init?.body;
    if (OPEN.includes(method) || !(body instanceof Uint8Array)) {
      const answer = this.#send(input, init);
      if (method === "GetServerInfo") this.#asking = answer.then(() => {}, () => {});
      return await answer;
    }
    await this.#asking;
    if (!this.#asked) await this.#ask(init?.signal ?? undefined);
    const response = await this.#sendProven(input, { ...init, body }, method);
    if (response.status !== 401 || this.#server?.key === undefined) return response;
    // Once more, with the time, and perhaps the key, that came with the refusal.
    await response.body?.cancel();
    return await this.#sendProven(input, { ...init, body }, method);
  };

  async #sendProven(
    input: string | URL | Request,
    init: RequestInit & { readonly body: Uint8Array },
    method: string,
  ): Promise<Response> {
    const server = this.#server;
    if (server?.key === undefined) return await this.#send(input, init);
    const headers = new Headers(init.headers);
    const contentType = headers.get("content-type") ?? "";
    const issuedAtMs = Math.floor(this.#options.now() + this.#aheadMs);
    const nonce = formatBase64(crypto.getRandomValues(new Uint8Array(NONCE_BYTES)));
    const covered = { method, contentType, body: init.body };
    const mac = proofMac(server.key, covered, { issuedAtMs, nonce });
    const publicKey = formatBase64(this.#options.identity.publicKey);
    const proof = { keyId: server.id, publicKey, issuedAtMs, nonce, mac };
    headers.set(PROOF_HEADER, formatProof(proof));
    return await this.#send(input, { ...init, headers });
  }

  /** Sends a request, and takes note of what the server says of itself. */
  async #send(input: string | URL | Request, init: RequestInit | undefined): Promise<Response> {
    const response = await this.#options.fetch(input, init);
    await this.#learn(response.headers);
    return response;
  }

  async #ask(signal: AbortSignal | undefined): Promise<void> {
    const url = `${this.#options.baseUrl}/coral.discovery.v1.DiscoveryService/GetServerInfo`;
    const headers = { "content-type": "application/json" };
    const response = await this.#send(url, {
      method: "POST",
      headers,
      body: "{}",
      ...(signal && { signal }),
    });
    await response.body?.cancel();
    // What answers otherwise is a server's trouble, and no sign of a Coral Discovery, which does not know the method.
    if (response.status < 500 || response.status === NOT_IMPLEMENTED) this.#asked = true;
  }

  async #learn(headers: Headers): Promise<void> {
    const text = headers.get(PROOF_KEY_HEADER);
    const time = Number(headers.get(PROOF_TIME_HEADER) ?? NaN);
    if (text === null) return;
    if (Number.isFinite(time)) this.#aheadMs = time - this.#options.now();
    this.#asked = true;
    if (this.#server?.text === text) return;
    const server = parseKey(text);
    if (server === undefined) return;
    const { publicKey: node, secret } = this.#options.identity;
    const key = await proofKey(secret, { node, server, other: "server" });
    this.#server = { text, id: proofKeyId(server), key };
  }
}
