/** Keys that give way to others, as a method. @module */
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type RotateKeyRequest,
  type RotateKeyResponse,
  RotateKeyResponseSchema,
} from "../../proto/mod.ts";
import type { Log } from "../log.ts";
import { openRotation } from "../signature/rotation.ts";
import type { NodeKey, RotateOutcome, Store } from "../store/store.ts";
import { type Caller, type Gate, provenKey } from "./proven.ts";
import { checkMeshId, invalid } from "./validate.ts";

/** Options of {@linkcode RotationService}. */
export interface RotationServiceOptions {
  /** Whose a mesh id is, and who is in it. */
  readonly store: Store;
  /** Knows who may do what. */
  readonly gate: Gate;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Runs a call of the store and names its faults. */
  readonly guarded: <T>(body: () => Promise<T>) => Promise<T>;
  /** Called with the old key once it is given up. */
  readonly onLeft: (node: NodeKey) => Promise<void>;
  /** Where the log goes. */
  readonly log: Log;
}

/** Gives up keys for others. */
export class RotationService {
  readonly #options: RotationServiceOptions;
  readonly #counters = { keysRotated: 0, rotationsRefused: 0 };

  /** A service on a store. */
  constructor(options: RotationServiceOptions) {
    this.#options = options;
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { ...this.#counters };
  }

  /** Gives up a key for the one that the call proves, as the old one has signed. Throws `ConnectError`. */
  async rotate(request: RotateKeyRequest, caller: Caller): Promise<RotateKeyResponse> {
    try {
      await this.#rotate(request, caller);
      return create(RotateKeyResponseSchema, { success: true });
    } catch (error) {
      this.#counters.rotationsRefused++;
      throw error;
    }
  }

  async #rotate({ rotation: signed }: RotateKeyRequest, caller: Caller): Promise<void> {
    const { store, gate, now, guarded, onLeft, log } = this.#options;
    // Also where others need none: whoever saw the statement could be the one who sends it.
    if (caller.values.get(provenKey) === "") {
      const message = "a proof of possession of the next key is required";
      throw new ConnectError(message, Code.Unauthenticated);
    }
    if (signed === undefined) throw invalid("rotation is required");
    const rotation = await openRotation(signed);
    if (rotation === undefined) {
      throw invalid("rotation is not one that the key which it gives up has signed");
    }
    const { meshId, oldKey } = rotation;
    checkMeshId(meshId);
    gate.callerFor(caller, rotation.newKey);
    const { kind } = await guarded(() => store.rotate(rotation, now()));
    if (kind === "repeated") return;
    const refused = kind === "rotated" ? undefined : refusal(kind);
    if (refused !== undefined) throw refused;
    this.#counters.keysRotated++;
    log("info", "a node goes on with another key", { mesh: meshId });
    await onLeft({ meshId, publicKey: oldKey });
  }
}

function refusal(
  kind: Exclude<RotateOutcome["kind"], "rotated" | "repeated">,
): ConnectError {
  switch (kind) {
    case "unknown":
      return new ConnectError("the old key is not known in this mesh", Code.NotFound);
    case "retired":
      return new ConnectError("the old key was given up before", Code.FailedPrecondition);
    case "older":
      return new ConnectError(
        "the rotation's sequence is not after that of the one before",
        Code.OutOfRange,
      );
    case "taken":
      return new ConnectError("the new key is known in this mesh already", Code.AlreadyExists);
  }
}
