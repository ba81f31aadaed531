/** Who a request proved to be, and what may be done by whom. @module */
import { Code, ConnectError, type ContextValues, createContextKey } from "@connectrpc/connect";

/** The public key that the request proved to hold, base64; empty for none. */
export const provenKey = createContextKey<string>("", { description: "proven public key" });

/** What a check needs of a call. */
export interface Caller {
  /** Values of the request. */
  readonly values: ContextValues;
}

/** Knows who may do what. */
export class Gate {
  readonly #allowUnproven: boolean;
  #refused = 0;

  /** `allowUnproven`: whether those who prove nothing are believed, as plain Coral clients are. */
  constructor(allowUnproven: boolean) {
    this.#allowUnproven = allowUnproven;
  }

  /** Calls refused for what they did not prove. */
  get refused(): number {
    return this.#refused;
  }

  /**
   * Returns the key that the call proved; empty where it proved none and need not. Throws `ConnectError` `UNAUTHENTICATED`
   * where it must.
   */
  caller({ values }: Caller): string {
    const proven = values.get(provenKey);
    if (proven === "" && !this.#allowUnproven) {
      throw this.#refusal("a proof of possession of the node's key is required");
    }
    return proven;
  }

  /** As {@linkcode Gate.caller}, for a call that is made for `publicKey`: whoever proves another is refused. */
  callerFor(caller: Caller, publicKey: string): string {
    const proven = this.caller(caller);
    if (proven !== "" && proven !== publicKey) {
      this.#refused++;
      throw new ConnectError("the request proves another key than its own", Code.PermissionDenied);
    }
    return proven;
  }

  /** An `UNAUTHENTICATED` with this message, counted. */
  #refusal(message: string): ConnectError {
    this.#refused++;
    return new ConnectError(message, Code.Unauthenticated);
  }

  /** Throws where a node was registered by one who proved its key, and this call proved nothing. */
  guard(proven: string, record: { readonly proven: boolean } | undefined): void {
    if (proven === "" && record?.proven === true) {
      throw this.#refusal("the node has proven its key: so must whoever speaks for it");
    }
  }
}
