/** What a client knows of one server's long-term credentials (RFC 8489 section 9.2): realm, nonce, algorithm, key. @module */
import { equals } from "../../core/mod.ts";
import {
  findAttribute,
  NONCE,
  PASSWORD_ALGORITHMS,
  REALM,
  type StunAttribute,
  type StunMessage,
  USERNAME,
} from "../stun/codec.ts";
import {
  type Integrity,
  signStun,
  type SignStunOptions,
  type StunCredentials,
  verifyStun,
} from "../stun/integrity.ts";
import {
  longTermKey,
  parseNonceFeatures,
  type PasswordAlgorithm,
  passwordAlgorithmAttribute,
  passwordAlgorithmsOf,
} from "./credentials.ts";

/** Longest REALM and NONCE that are taken: 127 characters of at most 6 bytes, as RFC 8489 has them. */
const TEXT_BYTES_MAX = 763;

/** What a server's challenge has told. */
interface Challenge {
  readonly realm: Uint8Array;
  readonly nonce: Uint8Array;
  readonly algorithm: PasswordAlgorithm;
  /** PASSWORD-ALGORITHMS, which the requests repeat so that nobody can take the better ones away. */
  readonly offered: Uint8Array | undefined;
}

/** What signs the requests to one server. */
export class Authentication {
  #credentials: StunCredentials;
  /** Those that replace the ones in use once they are refused. */
  #next: StunCredentials | undefined;
  #challenge: Challenge | undefined;
  #key: Uint8Array | undefined;
  #generation = 0;

  /** Knows no realm yet. */
  constructor(credentials: StunCredentials) {
    this.#credentials = credentials;
  }

  /** Counts challenges and credentials: a request that was signed by an older state may succeed with this one. */
  get generation(): number {
    return this.#generation;
  }

  /** Whether requests can be signed. */
  get ready(): boolean {
    return this.#key !== undefined;
  }

  /** Takes newer credentials, for when those in use are refused. */
  renew(credentials: StunCredentials): void {
    const { username, password } = this.#credentials;
    const same = credentials.username === username && credentials.password === password;
    this.#next = same ? undefined : credentials;
  }

  /** Uses the newer credentials from now on. Returns whether there are any. */
  advance(): boolean {
    if (this.#next === undefined) return false;
    this.#credentials = this.#next;
    this.#next = undefined;
    this.#renewKey();
    return true;
  }

  /**
   * Takes the challenge in an error answer. Returns whether it is a new one; `false` also for one without realm or nonce,
   * and one whose nonce says that better algorithms were taken away (RFC 8489 section 9.2.5).
   */
  take(answer: StunMessage): boolean {
    const nonce = textOf(answer, NONCE);
    // 438 need not repeat the realm.
    const realm = textOf(answer, REALM) ?? this.#challenge?.realm;
    if (nonce === undefined || realm === undefined) return false;
    const features = parseNonceFeatures(new TextDecoder().decode(nonce));
    const offered = features.passwordAlgorithms ? passwordAlgorithmsOf(answer) : undefined;
    if (features.passwordAlgorithms && offered === undefined) return false;
    const [algorithm = offered === undefined ? "md5" : undefined] = offered ?? [];
    if (algorithm === undefined) return false;
    const old = this.#challenge;
    if (old !== undefined && equals(old.nonce, nonce) && equals(old.realm, realm)) return false;
    const list = offered && findAttribute(answer, PASSWORD_ALGORITHMS);
    this.#challenge = { realm, nonce, algorithm, offered: list?.slice() };
    this.#renewKey();
    return true;
  }

  /** Encodes a request with what signs it. Throws `RangeError` while not {@linkcode Authentication.ready}. */
  sign(request: StunMessage, options: SignStunOptions): Uint8Array<ArrayBuffer> {
    const [challenge, key] = [this.#challenge, this.#key];
    if (challenge === undefined || key === undefined) throw new RangeError("No challenge yet");
    const { realm, nonce, offered, algorithm } = challenge;
    const username = new TextEncoder().encode(this.#credentials.username);
    const attributes: StunAttribute[] = [
      ...request.attributes,
      { type: USERNAME, value: username },
      { type: REALM, value: realm },
      { type: NONCE, value: nonce },
    ];
    if (offered !== undefined) {
      attributes.push({ type: PASSWORD_ALGORITHMS, value: offered });
      attributes.push(passwordAlgorithmAttribute(algorithm));
    }
    return signStun({ ...request, attributes }, key, { ...options, integrity: this.#integrity });
  }

  /** Returns what an answer's signature covers; `undefined` if it has none or a wrong one. */
  verify(bytes: Uint8Array, answer: StunMessage): StunMessage | undefined {
    if (this.#key === undefined) return undefined;
    return verifyStun(bytes, answer, this.#key, { integrity: this.#integrity });
  }

  /** With PASSWORD-ALGORITHMS the stronger attribute signs, whatever makes the key (RFC 8489 section 9.2.3). */
  get #integrity(): Integrity {
    return this.#challenge?.offered === undefined ? "sha1" : "sha256";
  }

  #renewKey(): void {
    if (this.#challenge === undefined) return;
    const { realm, algorithm } = this.#challenge;
    const text = new TextDecoder().decode(realm);
    this.#key = longTermKey(algorithm, { ...this.#credentials, realm: text });
    this.#generation++;
  }
}

function textOf(message: StunMessage, type: number): Uint8Array | undefined {
  const value = findAttribute(message, type);
  return value === undefined || value.length > TEXT_BYTES_MAX ? undefined : value.slice();
}
