/** How each flag of `--offer-relay` reads in every layer, for the test of settings. @module */
import type { Parameter } from "../parameter.ts";
import { MESH_NODE } from "../parameters.ts";

/** Three spellings of a flag, strongest layer first, and what each must come out as. */
export interface SettingCase {
  /** The flag. */
  readonly parameter: Parameter<unknown>;
  /** On the command line. */
  readonly flag: readonly string[];
  /** In the environment. */
  readonly env: string;
  /** The value as TOML. */
  readonly toml: string;
  /** What each comes out as. */
  readonly values: readonly [fromFlag: unknown, fromEnv: unknown, fromFile: unknown];
  /** The value without any layer; a symbol if that must fail. */
  readonly absent: unknown;
}

/** The flags of `--offer-relay` that have a value. */
export const OFFER_RELAY_CASES: readonly SettingCase[] = [
  {
    parameter: MESH_NODE.offerRelayPort,
    flag: ["--offer-relay-port", "3478"],
    env: "0",
    toml: "5349",
    values: [3478, 0, 5349],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.offerRelayPorts,
    flag: ["--offer-relay-ports", "1-2"],
    env: "3-3",
    toml: '"4-65535"',
    values: [{ first: 1, last: 2 }, { first: 3, last: 3 }, { first: 4, last: 65_535 }],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.offerRelayBandwidth,
    flag: ["--offer-relay-bandwidth", "1k"],
    env: "2M",
    toml: "3000",
    values: [1000, 2_000_000, 3000],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.offerRelaySessions,
    flag: ["--offer-relay-sessions", "1"],
    env: "1000",
    toml: "3",
    values: [1, 1000, 3],
    absent: undefined,
  },
];
