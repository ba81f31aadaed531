/** How flags read in every layer, for the test of settings: those of `--offer-relay`, and others. @module */
import { parseCidr } from "../../core/mod.ts";
import { DISCOVERY_SERVICE } from "../discovery_parameters.ts";
import type { Parameter } from "../parameter.ts";
import { COLONY_NODE, MESH_NODE } from "../parameters.ts";

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

/** `--trusted-proxy`. */
const TRUSTED_PROXY_CASE: SettingCase = {
  parameter: DISCOVERY_SERVICE.trustedProxy,
  flag: ["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "fd00::1"],
  env: "192.0.2.7",
  toml: '["127.0.0.1"]',
  values: [
    [parseCidr("10.0.0.0/8"), parseCidr("fd00::1/128")],
    [parseCidr("192.0.2.7/32")],
    [parseCidr("127.0.0.1/32")],
  ],
  absent: [],
};

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

/** The case of `--status-token`. */
const STATUS_TOKEN_CASE: SettingCase = {
  parameter: DISCOVERY_SERVICE.statusToken,
  flag: ["--status-token", "0123456789abcdef"],
  env: "0123456789abcdeg",
  toml: '"0123456789abcdeh"',
  values: ["0123456789abcdef", "0123456789abcdeg", "0123456789abcdeh"],
  absent: undefined,
};

/** The flags of who may use the SOCKS5 proxy, and of the DNS server. */
export const LOCAL_CASES: readonly SettingCase[] = [
  {
    parameter: MESH_NODE.dns,
    flag: ["--dns", "127.0.0.1:53"],
    env: "[::1]:53",
    toml: '"127.0.0.1:0"',
    values: [
      { hostname: "127.0.0.1", port: 53 },
      { hostname: "::1", port: 53 },
      { hostname: "127.0.0.1", port: 0 },
    ],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.socks5User,
    flag: ["--socks5-user", "a"],
    env: "b",
    toml: '"c"',
    values: ["a", "b", "c"],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.socks5PasswordFile,
    flag: ["--socks5-password-file", "a"],
    env: "b",
    toml: '"c"',
    values: ["a", "b", "c"],
    absent: undefined,
  },
];

/** Flags of the service that have a value. */
export const SERVICE_CASES: readonly SettingCase[] = [TRUSTED_PROXY_CASE, STATUS_TOKEN_CASE];

/** What a colony has besides. */
export const COLONY_CASES: readonly SettingCase[] = [
  {
    parameter: COLONY_NODE.open,
    flag: ["--open"],
    env: "false",
    toml: "true",
    values: [true, false, true],
    absent: undefined,
  },
  {
    parameter: COLONY_NODE.policyFile,
    flag: ["--policy", "a"],
    env: "b",
    toml: '"c"',
    values: ["a", "b", "c"],
    absent: undefined,
  },
  {
    parameter: COLONY_NODE.meshSubnet,
    flag: ["--mesh-subnet", "10.1.0.0/16"],
    env: "10.2.0.0/16",
    toml: '"10.3.0.0/16"',
    values: ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"],
    absent: undefined,
  },
];
