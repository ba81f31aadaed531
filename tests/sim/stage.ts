/** What the acts of a world share: its parts, its clock, and where they report to. @module */
import type { Expectations } from "./expectations.ts";
import type { Faults } from "./faults.ts";
import type { Topology } from "./net/topology.ts";
import type { SimNode } from "./node.ts";
import type { Pair } from "./pair.ts";
import type { SimDiscovery } from "./discovery.ts";
import type { SimRelay } from "./relay.ts";
import type { Verdicts } from "./verdicts.ts";

/** The parts of a world. */
export interface Stage {
  /** What is expected. */
  readonly expectations: Expectations;
  /** The networks. */
  readonly topology: Topology;
  /** The service. */
  readonly discovery: SimDiscovery;
  /** Relays by id; none in most worlds. */
  readonly relays: ReadonlyMap<string, SimRelay>;
  /** What is wrong at the moment. */
  readonly faults: Faults;
  /** Every node. */
  readonly nodes: ReadonlyMap<string, SimNode>;
  /** Every agent with the colony. */
  readonly pairs: readonly Pair[];
  /** What pairs must reach. */
  readonly verdicts: Verdicts;
  /** When the world is healed. */
  readonly healAt: number;
  /** The present, in milliseconds. */
  now(): number;
  /** Has something happen after so many milliseconds. */
  after(ms: number, happening: () => void): void;
  /** Tells what happens, for the trace and a person. */
  say(line: () => string): void;
  /** Takes a number into the trace. */
  mix(value: number): void;
  /** Something must not have happened. */
  violate(what: string): void;
}
