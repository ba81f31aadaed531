/**
 * How a NAT chooses outside ports, from those that it chose: what prediction counts on.
 *
 * @module
 */
import { sameAddress, type SocketAddress } from "../core/mod.ts";

/** How a NAT chooses the outside port of a new mapping. */
export type PortAllocation =
  | {
    /** `preserving`: the port of the socket inside. `random`: no rule to be seen. */
    readonly kind: "preserving" | "random";
  }
  | {
    /** Each is a step away from the one before. */
    readonly kind: "sequential";
    /** The smallest step seen: what one mapping of ours takes. Others' mappings make it larger. */
    readonly delta: number;
  };

/** One mapping. */
export interface PortObservation {
  /** Port of the socket inside. */
  readonly local: number;
  /** The address outside. */
  readonly mapped: SocketAddress;
}

/** Steps over this are chance: a busy NAT hands out a few ports between two of ours, not hundreds. */
const STEP_MAX = 64;
/** With only one step to judge by, it has to be a small one: chance makes one of these in 1 of 4,000 cases. */
const LONE_STEP_MAX = 8;

/** Judges from mappings in the order in which they were made; `undefined` if there are too few different ones. */
export function allocationOf(observations: readonly PortObservation[]): PortAllocation | undefined {
  if (observations.length === 0) return undefined;
  if (observations.every(({ local, mapped }) => local === mapped.port)) {
    return { kind: "preserving" };
  }
  const distinct: SocketAddress[] = [];
  for (const { mapped } of observations) {
    if (!distinct.some((other) => sameAddress(other, mapped))) distinct.push(mapped);
  }
  const steps = distinct.slice(1).map(({ port }, i) => port - (distinct[i]?.port ?? 0));
  const [first] = steps;
  if (first === undefined) return undefined;
  const max = steps.length === 1 ? LONE_STEP_MAX : STEP_MAX;
  const inLine = steps.every((step) =>
    step !== 0 && Math.sign(step) === Math.sign(first) && Math.abs(step) <= max
  );
  if (!inLine) return { kind: "random" };
  return { kind: "sequential", delta: Math.sign(first) * Math.min(...steps.map(Math.abs)) };
}
