/** What a Discovery makes of a rotation. @module */
import { Code } from "@connectrpc/connect";
import { hasCode } from "./transport.ts";

/** What became of a rotation. */
export type RotationAnswer =
  /** The new key stands in the place of the old one, since now or before. */
  | "rotated"
  /** The mesh does not know the old key: there was nothing to move. */
  | "unknown"
  /** The old key was given up for another before. */
  | "retired"
  /** The new key is, or was, somebody's in this mesh. */
  | "taken"
  /** The server has no rotations, as a plain Coral Discovery. */
  | "unsupported";

const ANSWERS: readonly (readonly [Code, RotationAnswer])[] = [
  [Code.NotFound, "unknown"],
  [Code.FailedPrecondition, "retired"],
  [Code.AlreadyExists, "taken"],
  [Code.Unimplemented, "unsupported"],
];

/** Returns what a call of RotateKey came to; rejects as the call for anything else. */
export async function rotationAnswer(call: Promise<unknown>): Promise<RotationAnswer> {
  try {
    await call;
    return "rotated";
  } catch (error) {
    const [, answer] = ANSWERS.find(([code]) => hasCode(error, code)) ?? [];
    if (answer !== undefined) return answer;
    throw error;
  }
}
