/**
 * Checks proofs of possession: who holds which key, with which request, once.
 *
 * ```text
 *   header --parse--> server's key? --> time within a minute? --> MAC --> nonce not used? --> the key is proven
 * ```
 *
 * @module
 */
import { formatBase64, parseKey } from "../../core/mod.ts";
import { privateCryptoKey, publicKeyOf } from "../../io/x25519.ts";
import {
  macFits,
  parseProof,
  type Proof,
  PROOF_SKEW_MAX_MS,
  proofKey,
  proofKeyId,
  type ProvenRequest,
} from "../proof/proof.ts";
import type { Store } from "../store/store.ts";

/** Keys of nodes kept computed, 32 bytes each. The one that proved itself longest ago goes. */
export const PROOF_KEYS_MAX = 50_000;
/** Methods whose proofs may be used again while they are fresh. */
const LOOKUPS = ["LookupColony", "LookupAgent"];
/** The name of the server's private key in the store. */
const SECRET_NAME = "proof";

/** What a header proves. */
export type ProofVerdict =
  | { readonly proven: true; /** Base64. */ readonly publicKey: string }
  | { readonly proven: false; /** In one line. */ readonly reason: string };

/** Options of {@linkcode ProofChecker.open}. */
export interface ProofCheckerOptions {
  /** Where the server's key and the used nonces are kept. */
  readonly store: Store;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** 32 random bytes: the server's private key, if it has none yet. */
  readonly freshKey: Uint8Array<ArrayBuffer>;
  /** Keys kept computed. @default {@linkcode PROOF_KEYS_MAX} */
  readonly keysMax?: number;
}

/** Knows whether a proof is one. */
export class ProofChecker {
  /** The server's public key, base64. */
  readonly publicKey: string;
  readonly #options: ProofCheckerOptions;
  readonly #secret: CryptoKey;
  readonly #serverKey: Uint8Array;
  readonly #keyId: string;
  /** MAC keys by the node's public key, in order of last use. */
  readonly #keys = new Map<string, Uint8Array>();
  readonly #counters = { proofs: 0, proofsRefused: 0, proofsReplayed: 0, proofKeysForgotten: 0 };

  private constructor(options: ProofCheckerOptions, secret: CryptoKey, serverKey: Uint8Array) {
    this.#options = options;
    this.#secret = secret;
    this.#serverKey = serverKey;
    this.#keyId = proofKeyId(serverKey);
    this.publicKey = formatBase64(serverKey);
  }

  /** Takes the server's key out of the store, or puts a fresh one there. Rejects as the store does. */
  static async open(options: ProofCheckerOptions): Promise<ProofChecker> {
    const { store, freshKey } = options;
    const bytes = await store.secret(SECRET_NAME, freshKey);
    const [secret, serverKey] = await Promise.all([privateCryptoKey(bytes), publicKeyOf(bytes)]);
    bytes.fill(0);
    freshKey.fill(0);
    return new ProofChecker(options, secret, serverKey);
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { ...this.#counters };
  }

  /** Checks a header's value, and uses its nonce up, except for one that looks up only. Rejects as the store does. */
  async check(header: string, request: ProvenRequest): Promise<ProofVerdict> {
    const verdict = await this.#check(header, request);
    if (verdict.proven) this.#counters.proofs++;
    else this.#counters.proofsRefused++;
    return verdict;
  }

  async #check(header: string, request: ProvenRequest): Promise<ProofVerdict> {
    const { store, now } = this.#options;
    const proof = parseProof(header);
    if (proof === undefined) return refused("the proof is malformed");
    if (proof.keyId !== this.#keyId) return refused("the proof is for another Discovery's key");
    const offMs = proof.issuedAtMs - now();
    if (Math.abs(offMs) > PROOF_SKEW_MAX_MS) {
      return refused(`the proof's time is ${Math.round(offMs / 1000)} s off Discovery's`);
    }
    const key = await this.#keyOf(proof);
    if (key === undefined || !macFits(key, request, proof)) {
      return refused("the proof is wrong: the sender does not hold the key, or another sent this");
    }
    // Lookups change nothing, are many, and go on while the disk is full.
    if (LOOKUPS.includes(request.method)) return { proven: true, publicKey: proof.publicKey };
    // Beside other nodes' nonces: nobody uses up what is not his.
    const id = `proof ${proof.publicKey} ${proof.nonce}`;
    const outcome = await store.spend(id, proof.issuedAtMs + 2 * PROOF_SKEW_MAX_MS);
    if (outcome === "spent") return { proven: true, publicKey: proof.publicKey };
    if (outcome === "full") return refused("no room for another proof: try again later");
    this.#counters.proofsReplayed++;
    return refused("the proof was used before");
  }

  async #keyOf({ publicKey }: Proof): Promise<Uint8Array | undefined> {
    const key = this.#keys.get(publicKey) ?? await this.#agree(publicKey);
    if (key === undefined) return undefined;
    this.#keys.delete(publicKey);
    this.#keys.set(publicKey, key);
    // Asked for only where one must go: whatever was moved to the end left a gap at the front, and each is stepped over.
    if (this.#keys.size <= (this.#options.keysMax ?? PROOF_KEYS_MAX)) return key;
    const [oldest] = this.#keys.keys();
    if (oldest !== undefined) this.#keys.delete(oldest);
    this.#counters.proofKeysForgotten++;
    return key;
  }

  async #agree(publicKey: string): Promise<Uint8Array | undefined> {
    const node = parseKey(publicKey);
    const server = this.#serverKey;
    return node && await proofKey(this.#secret, { node, server, other: "node" });
  }
}

function refused(reason: string): ProofVerdict {
  return { proven: false, reason };
}
