import { deepStrictEqual as assertEquals, ok, throws } from "node:assert/strict";
import type { ErrorCode } from "../core/mod.ts";
import { parseFlags } from "./command_line.ts";
import { parseConfigFile } from "./config_file.ts";
import { variableOf } from "./parameter.ts";
import {
  COMMON,
  DISCOVERY_RELAY,
  DISCOVERY_SERVICE,
  FILE_KEYS,
  JSON_OUTPUT,
  KEEP,
  MESH_NODE,
  NETCHECK,
  PING,
  RELAY_SERVICE,
  VERBOSE,
  WATCH,
  WIREGUARD_NODE,
} from "./parameters.ts";
import { resolveSettings, splitList } from "./settings.ts";
import {
  COLONY_CASES,
  LOCAL_CASES,
  OFFER_RELAY_CASES,
  SERVICE_CASES,
  type SettingCase,
} from "./testing/setting_case.ts";

const MISSING = Symbol("missing");
const at = (hostname: string, port: number) => ({ hostname, port });

/** Flags that name a file and have no default. */
const FILES = [
  DISCOVERY_SERVICE.tlsCert,
  DISCOVERY_SERVICE.tlsKey,
  DISCOVERY_SERVICE.statusTokenFile,
  RELAY_SERVICE.cert,
  RELAY_SERVICE.key,
];

const CASES: readonly SettingCase[] = [
  ...COLONY_CASES,
  ...OFFER_RELAY_CASES,
  ...SERVICE_CASES,
  ...LOCAL_CASES,
  {
    parameter: MESH_NODE.mesh,
    flag: ["--mesh", "one"],
    env: "two",
    toml: '"three"',
    values: ["one", "two", "three"],
    absent: MISSING,
  },
  {
    parameter: MESH_NODE.discovery,
    flag: ["--discovery", "http://a", "--discovery=http://b/"],
    env: "http://c, http://d",
    toml: '["http://e", "http://f"]',
    values: [["http://a", "http://b"], ["http://c", "http://d"], ["http://e", "http://f"]],
    absent: MISSING,
  },
  {
    parameter: MESH_NODE.state,
    flag: ["--state", "a"],
    env: "b",
    toml: '"c"',
    values: ["a", "b", "c"],
    absent: MISSING,
  },
  {
    parameter: MESH_NODE.name,
    flag: ["--name", "a"],
    env: "b",
    toml: '"c"',
    values: ["a", "b", "c"],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.wgPort,
    flag: ["--wg-port", "1"],
    env: "2",
    toml: "3",
    values: [1, 2, 3],
    absent: 0,
  },
  {
    parameter: WIREGUARD_NODE.wgPort,
    flag: ["--wg-port", "1"],
    env: "2",
    toml: "3",
    values: [1, 2, 3],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.datapath,
    flag: ["--datapath", "fast"],
    env: "portable",
    toml: '"auto"',
    values: ["fast", "portable", "auto"],
    absent: "auto",
  },
  {
    parameter: MESH_NODE.socks5,
    flag: ["--socks5", "127.0.0.1:1"],
    env: "127.0.0.1:2",
    toml: '"127.0.0.1:3"',
    values: [at("127.0.0.1", 1), at("127.0.0.1", 2), at("127.0.0.1", 3)],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.httpProxy,
    flag: ["--http-proxy", "127.0.0.1:1"],
    env: "127.0.0.1:2",
    toml: '"[::1]:3"',
    values: [at("127.0.0.1", 1), at("127.0.0.1", 2), at("::1", 3)],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.tun,
    flag: ["--tun", "moray0"],
    env: "moray1",
    toml: '"moray2"',
    values: ["moray0", "moray1", "moray2"],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.publicEndpoint,
    flag: ["--public-endpoint", "192.0.2.1:1"],
    env: "192.0.2.1:2",
    toml: '"192.0.2.1:3"',
    values: [at("192.0.2.1", 1), at("192.0.2.1", 2), at("192.0.2.1", 3)],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.stunServers,
    flag: ["--stun-servers", "a:1,b", "--stun-servers", "c:3"],
    env: "d,e:5",
    toml: '"f, g:7"',
    values: [["a:1", "b:3478", "c:3"], ["d:3478", "e:5"], ["f:3478", "g:7"]],
    absent: [],
  },
  {
    parameter: MESH_NODE.noPortMapping,
    flag: ["--no-port-mapping"],
    env: "true",
    toml: "false",
    values: [true, true, false],
    absent: undefined,
  },
  {
    parameter: MESH_NODE.forward,
    flag: ["--forward", "127.0.0.1:1:a:2", "--forward", "127.0.0.1:3:b:4"],
    env: "127.0.0.1:5:c:6",
    toml: '["127.0.0.1:7:d:8"]',
    values: [
      [{ listen: at("127.0.0.1", 1), peer: "a", port: 2 }, {
        listen: at("127.0.0.1", 3),
        peer: "b",
        port: 4,
      }],
      [{ listen: at("127.0.0.1", 5), peer: "c", port: 6 }],
      [{ listen: at("127.0.0.1", 7), peer: "d", port: 8 }],
    ],
    absent: [],
  },
  {
    parameter: MESH_NODE.expose,
    flag: ["--expose", "1:h:2"],
    env: "3:h:4,5:h:6",
    toml: '["7:h:8"]',
    values: [
      [{ meshPort: 1, hostname: "h", port: 2 }],
      [{ meshPort: 3, hostname: "h", port: 4 }, { meshPort: 5, hostname: "h", port: 6 }],
      [{ meshPort: 7, hostname: "h", port: 8 }],
    ],
    absent: [],
  },
  {
    parameter: DISCOVERY_SERVICE.listen,
    flag: ["--listen", "127.0.0.1:1"],
    env: "127.0.0.1:2",
    toml: '"127.0.0.1:3"',
    values: [at("127.0.0.1", 1), at("127.0.0.1", 2), at("127.0.0.1", 3)],
    absent: at("0.0.0.0", 8080),
  },
  {
    parameter: DISCOVERY_SERVICE.stunListen,
    flag: ["--stun-listen", "127.0.0.1:1", "--stun-listen", "[::1]:2"],
    env: "127.0.0.1:3",
    toml: '["127.0.0.1:4"]',
    values: [[at("127.0.0.1", 1), at("::1", 2)], [at("127.0.0.1", 3)], [at("127.0.0.1", 4)]],
    absent: [at("::", 3478)],
  },
  {
    parameter: DISCOVERY_SERVICE.stunAlternate,
    flag: ["--stun-alternate", "127.0.0.2:1", "--stun-alternate", "[::1]:2"],
    env: "127.0.0.2:3",
    toml: '["127.0.0.2:4"]',
    values: [[at("127.0.0.2", 1), at("::1", 2)], [at("127.0.0.2", 3)], [at("127.0.0.2", 4)]],
    absent: [],
  },
  {
    parameter: DISCOVERY_SERVICE.store,
    flag: ["--store", ":memory:"],
    env: "postgres://u:p@h/db",
    toml: '"c.sqlite"',
    values: [":memory:", "postgres://u:p@h/db", "c.sqlite"],
    absent: "moray-discovery.sqlite",
  },
  ...FILES.map((parameter) => ({
    parameter,
    flag: [`--${parameter.name}`, "a.pem"],
    env: "b.pem",
    toml: '"c.pem"',
    values: ["a.pem", "b.pem", "c.pem"] as const,
    absent: undefined,
  })),
  {
    parameter: DISCOVERY_SERVICE.allowUnproven,
    flag: ["--allow-unproven"],
    env: "true",
    toml: "true",
    values: [true, true, true],
    absent: undefined,
  },
  {
    parameter: COMMON.logLevel,
    flag: ["--log-level", "debug"],
    env: "warn",
    toml: '"error"',
    values: ["debug", "warn", "error"],
    absent: "info",
  },
  {
    parameter: PING.count,
    flag: ["--count", "1"],
    env: "2",
    toml: "3",
    values: [1, 2, 3],
    absent: undefined,
  },
  ...[
    ...[
      PING.untilDirect,
      VERBOSE,
      WATCH,
      MESH_NODE.noGuess,
      MESH_NODE.noReport,
      MESH_NODE.noDirect,
      MESH_NODE.noRelay,
    ],
    ...[MESH_NODE.offerRelay, MESH_NODE.offerRelayPrivate, DISCOVERY_RELAY.noVolunteers],
  ].map((parameter) => ({
    parameter,
    flag: [`--${parameter.name}`],
    env: "no",
    toml: "true",
    values: [true, false, true] as const,
    absent: undefined,
  })),
  {
    parameter: PING.interval,
    flag: ["--interval", "10"],
    env: "20",
    toml: "30",
    values: [10, 20, 30],
    absent: 1000,
  },
  {
    parameter: PING.timeout,
    flag: ["--timeout", "10"],
    env: "20",
    toml: "30",
    values: [10, 20, 30],
    absent: 5000,
  },
  {
    parameter: JSON_OUTPUT,
    flag: ["--json"],
    env: "0",
    toml: "true",
    values: [true, false, true],
    absent: undefined,
  },
  {
    parameter: NETCHECK.lifetime,
    flag: ["--lifetime"],
    env: "no",
    toml: "true",
    values: [true, false, true],
    absent: undefined,
  },
  {
    parameter: RELAY_SERVICE.region,
    flag: ["--region", "a"],
    env: "b",
    toml: '"c"',
    values: ["a", "b", "c"],
    absent: undefined,
  },
  {
    parameter: DISCOVERY_RELAY.relay,
    flag: ["--relay"],
    env: "no",
    toml: "true",
    values: [true, false, true],
    absent: undefined,
  },
  {
    parameter: DISCOVERY_RELAY.relaySecret,
    flag: ["--relay-secret", "a, b"],
    env: "c d",
    toml: '"e"',
    values: ["a, b", "c d", "e"],
    absent: undefined,
  },
  {
    parameter: DISCOVERY_RELAY.relayListen,
    flag: ["--relay-listen", "127.0.0.1:1", "--relay-listen", "[::1]:2"],
    env: "127.0.0.1:3,127.0.0.1:4",
    toml: '["127.0.0.1:5"]',
    values: [
      [at("127.0.0.1", 1), at("::1", 2)],
      [at("127.0.0.1", 3), at("127.0.0.1", 4)],
      [at("127.0.0.1", 5)],
    ],
    absent: [],
  },
  {
    parameter: DISCOVERY_RELAY.relayExternalIp,
    flag: ["--relay-external-ip", "192.0.2.1", "--relay-external-ip", "2001:DB8::1"],
    env: "192.0.2.2",
    toml: '["192.0.2.3"]',
    values: [["192.0.2.1", "2001:db8::1"], ["192.0.2.2"], ["192.0.2.3"]],
    absent: [],
  },
  {
    parameter: DISCOVERY_RELAY.relayId,
    flag: ["--relay-id", "a"],
    env: "b",
    toml: '"c"',
    values: ["a", "b", "c"],
    absent: undefined,
  },
  {
    parameter: DISCOVERY_RELAY.relayRegion,
    flag: ["--relay-region", "a"],
    env: "b",
    toml: '"c"',
    values: ["a", "b", "c"],
    absent: undefined,
  },
  {
    parameter: DISCOVERY_RELAY.relayBandwidth,
    flag: ["--relay-bandwidth", "1k"],
    env: "2M",
    toml: "3000",
    values: [1000, 2_000_000, 3000],
    absent: undefined,
  },
  {
    parameter: DISCOVERY_RELAY.relayAllowPrivatePeers,
    flag: ["--relay-allow-private-peers"],
    env: "no",
    toml: "true",
    values: [true, false, true],
    absent: undefined,
  },
  {
    parameter: DISCOVERY_RELAY.relayServer,
    flag: ["--relay-server", "a=turn:a", "--relay-server", "b@r=turns:b:1"],
    env: "c=turn:c?transport=tcp",
    toml: '["d=wss://d/turn"]',
    values: [
      [
        { id: "a", region: "", transport: { kind: "udp", endpoint: "a:3478" } },
        { id: "b", region: "r", transport: { kind: "tls", endpoint: "b:1" } },
      ],
      [{ id: "c", region: "", transport: { kind: "tcp", endpoint: "c:3478" } }],
      [{ id: "d", region: "", transport: { kind: "websocket", endpoint: "wss://d/turn" } }],
    ],
    absent: [],
  },
  {
    parameter: DISCOVERY_RELAY.relayServerSecret,
    flag: ["--relay-server-secret", "a=b=c"],
    env: "d=e,f=g",
    toml: '["h=i"]',
    values: [
      [{ id: "a", secret: "b=c" }],
      [{ id: "d", secret: "e" }, { id: "f", secret: "g" }],
      [{ id: "h", secret: "i" }],
    ],
    absent: [],
  },
  {
    parameter: RELAY_SERVICE.listenUdp,
    flag: ["--listen-udp", "127.0.0.1:1", "--listen-udp", "[::1]:2"],
    env: "127.0.0.1:3",
    toml: '["127.0.0.1:4"]',
    values: [[at("127.0.0.1", 1), at("::1", 2)], [at("127.0.0.1", 3)], [at("127.0.0.1", 4)]],
    absent: [],
  },
  {
    parameter: RELAY_SERVICE.listenTcp,
    flag: ["--listen-tcp", "127.0.0.1:1", "--listen-tcp", "[::1]:2"],
    env: "127.0.0.1:3",
    toml: '["127.0.0.1:4"]',
    values: [[at("127.0.0.1", 1), at("::1", 2)], [at("127.0.0.1", 3)], [at("127.0.0.1", 4)]],
    absent: [],
  },
  {
    parameter: RELAY_SERVICE.listenTls,
    flag: ["--listen-tls", "127.0.0.1:1", "--listen-tls", "[::1]:2"],
    env: "127.0.0.1:3",
    toml: '["127.0.0.1:4"]',
    values: [[at("127.0.0.1", 1), at("::1", 2)], [at("127.0.0.1", 3)], [at("127.0.0.1", 4)]],
    absent: [],
  },
  {
    parameter: RELAY_SERVICE.listenWebsocket,
    flag: ["--listen-websocket", "127.0.0.1:1", "--listen-websocket", "[::1]:2"],
    env: "127.0.0.1:3",
    toml: '["127.0.0.1:4"]',
    values: [[at("127.0.0.1", 1), at("::1", 2)], [at("127.0.0.1", 3)], [at("127.0.0.1", 4)]],
    absent: [],
  },
  {
    parameter: RELAY_SERVICE.externalIp,
    flag: ["--external-ip", "192.0.2.1", "--external-ip", "2001:DB8::1"],
    env: "192.0.2.2",
    toml: '["192.0.2.3"]',
    values: [["192.0.2.1", "2001:db8::1"], ["192.0.2.2"], ["192.0.2.3"]],
    absent: MISSING,
  },
  {
    parameter: RELAY_SERVICE.relayPorts,
    flag: ["--relay-ports", "1-2"],
    env: "3-3",
    toml: '"4-65535"',
    values: [{ first: 1, last: 2 }, { first: 3, last: 3 }, { first: 4, last: 65_535 }],
    absent: { first: 49_152, last: 65_535 },
  },
  {
    parameter: RELAY_SERVICE.secret,
    flag: ["--secret", "a, b"],
    env: "c d",
    toml: '"e"',
    values: ["a, b", "c d", "e"],
    absent: MISSING,
  },
  {
    parameter: RELAY_SERVICE.realm,
    flag: ["--realm", "a"],
    env: "b",
    toml: '"c"',
    values: ["a", "b", "c"],
    absent: "moray",
  },
  {
    parameter: RELAY_SERVICE.allowPrivatePeers,
    flag: ["--allow-private-peers"],
    env: "no",
    toml: "true",
    values: [true, false, true],
    absent: undefined,
  },
  {
    parameter: RELAY_SERVICE.sessionBandwidth,
    flag: ["--session-bandwidth", "1"],
    env: "2",
    toml: "3",
    values: [1, 2, 3],
    absent: 0,
  },
  {
    parameter: RELAY_SERVICE.totalBandwidth,
    flag: ["--total-bandwidth", "1"],
    env: "2",
    toml: "3",
    values: [1, 2, 3],
    absent: 0,
  },
  {
    parameter: RELAY_SERVICE.drainSeconds,
    flag: ["--drain-seconds", "0"],
    env: "3600",
    toml: "3",
    values: [0, 3600, 3],
    absent: 5,
  },
  {
    parameter: RELAY_SERVICE.metrics,
    flag: ["--metrics", "127.0.0.1:1"],
    env: "127.0.0.1:2",
    toml: '"127.0.0.1:3"',
    values: [at("127.0.0.1", 1), at("127.0.0.1", 2), at("127.0.0.1", 3)],
    absent: undefined,
  },
  {
    parameter: KEEP,
    flag: ["--keep"],
    env: "no",
    toml: "true",
    values: [true, false, true],
    absent: undefined,
  },
];

for (const { parameter, flag, env, toml, values, absent } of CASES) {
  Deno.test(`--${parameter.name}: the flag wins over the environment, and that over the file`, () => {
    const variable = variableOf(parameter.name);
    const file = parseConfigFile("moray.toml", `${parameter.name} = ${toml}\n`, FILE_KEYS);
    function read(args: readonly string[], set: string | undefined, withFile: boolean): unknown {
      const { value } = resolveSettings({ value: parameter }, {
        flags: parseFlags("test", { value: parameter }, args),
        env: (name) => name === variable ? set : undefined,
        ...(withFile && { file }),
      });
      return value;
    }
    assertEquals(read(flag, env, true), values[0]);
    assertEquals(read([], env, true), values[1]);
    assertEquals(read([], undefined, true), values[2]);
    // An empty variable is one that is not set.
    assertEquals(read([], " ", true), values[2]);
    if (absent === MISSING) {
      throws(() => read([], undefined, false), {
        code: "usage" satisfies ErrorCode,
        message: new RegExp(`^--${parameter.name} is missing: .*\\(or set ${variable}\\)$`),
      });
    } else {
      assertEquals(read([], undefined, false), absent);
    }
  });
}

Deno.test("the table above names every flag but --config", () => {
  const tested = new Set(CASES.map(({ parameter }) => parameter.name));
  assertEquals([...tested].sort(), [...FILE_KEYS]);
});

Deno.test("Coral's variables are understood, behind MORAY's own", () => {
  const parameters = { discovery: MESH_NODE.discovery, stunServers: MESH_NODE.stunServers };
  const coral: Record<string, string> = {
    CORAL_DISCOVERY_ENDPOINT: "https://coral.example.com/",
    CORAL_STUN_SERVERS: "stun.example.com:3478,stun2.example.com:19302",
  };
  assertEquals(resolveSettings(parameters, { flags: {}, env: (name) => coral[name] }), {
    discovery: ["https://coral.example.com"],
    stunServers: ["stun.example.com:3478", "stun2.example.com:19302"],
  });
  const both: Record<string, string> = { ...coral, MORAY_DISCOVERY: "http://127.0.0.1:1" };
  assertEquals(
    resolveSettings(parameters, { flags: {}, env: (name) => both[name] }).discovery,
    ["http://127.0.0.1:1"],
  );
});

Deno.test("a bad value is an error that names where it stands", () => {
  const parameters = { wgPort: MESH_NODE.wgPort };
  const text = "# port\nwg-port = 99999\n";
  const file = parseConfigFile("etc/moray.toml", text, FILE_KEYS);
  const expected = '"99999" is not a port from 0 to 65535, for example 51820';
  const none = (): undefined => undefined;
  throws(() => resolveSettings(parameters, { flags: { wgPort: "99999" }, env: none }), {
    code: "usage",
    message: `--wg-port: ${expected}`,
  });
  throws(() => resolveSettings(parameters, { flags: {}, env: () => "99999" }), {
    code: "usage",
    message: `MORAY_WG_PORT: ${expected}`,
  });
  throws(() => resolveSettings(parameters, { flags: {}, env: none, file }), {
    code: "config",
    message: `etc/moray.toml:2: wg-port: ${expected}`,
  });
});

Deno.test("a long or hostile bad value is shortened and escaped", () => {
  const parameters = { name: MESH_NODE.name };
  const hostile = `\x1b[31m\n${"x".repeat(500)}`;
  throws(
    () => resolveSettings(parameters, { flags: { name: hostile }, env: () => undefined }),
    ({ message }: Error) => {
      ok(message.length < 220, message);
      ok(message.startsWith('--name: "\\u001b[31m\\nxxx'), message);
      return true;
    },
  );
});

Deno.test("splitList drops empty parts", () => {
  assertEquals(splitList(" a, ,b,"), ["a", "b"]);
  assertEquals(splitList(" , "), []);
});
