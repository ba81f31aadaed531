/**
 * Every flag of every command, defined once: the contract of DESIGN.md 2.9.
 *
 * A flag's environment variable is `MORAY_` and its name in capitals; its key in `moray.toml` is its name.
 *
 * @module
 */
import {
  ACCESS,
  DNS,
  EXPOSE,
  EXPOSE_ADDRESS,
  FORWARDS,
  FORWARDS_ADDRESS,
} from "./access_parameters.ts";
import { COLONY_NODE } from "./colony_parameters.ts";
import { DISCOVERY_SERVICE, METRICS } from "./discovery_parameters.ts";
import { LOG_LEVELS } from "./log.ts";
import {
  optional,
  type Parameter,
  type Parameters,
  repeated,
  required,
  toggle,
  withDefault,
} from "./parameter.ts";
import {
  BYTES_PER_SECOND,
  RELAY_SECRET,
  RELAY_SERVER,
  RELAY_SERVER_SECRET,
  relayName,
} from "./relay_values.ts";
import {
  choice,
  DIRECTORY,
  DISCOVERY_URL,
  DURATION,
  ENDPOINT,
  FILE,
  integer,
  INVITE_TEXT,
  IP,
  label,
  LISTEN,
  PORT,
  PORT_RANGE,
  STUN_SERVER,
  text,
} from "./values.ts";

export { COLONY_NODE, OPEN } from "./colony_parameters.ts";
export { DISCOVERY_SERVICE } from "./discovery_parameters.ts";

/** What every command with flags takes. */
export const COMMON = {
  logLevel: withDefault("log-level", choice("LEVEL", LOG_LEVELS), {
    group: "Common",
    description: "Least important log lines to print on stderr: debug, info, warn or error.",
    fallback: "info",
  }),
  config: optional("config", FILE, {
    group: "Common",
    description: "Configuration file (TOML): keys are the names of flags, lists are arrays. " +
      "Flags and environment win over it.",
    fallback: "none is read",
  }),
} as const satisfies Parameters;

/** As {@linkcode COMMON}, quieter: for commands whose output is for a person. */
export const COMMON_QUIET = {
  ...COMMON,
  logLevel: withDefault("log-level", choice("LEVEL", LOG_LEVELS), {
    group: "Common",
    description: "Least important log lines to print on stderr: debug, info, warn or error.",
    fallback: "warn",
  }),
} as const satisfies Parameters;

/** Where a running node keeps its key file and local API. */
export const STATE = required("state", DIRECTORY, {
  group: "Mesh",
  description: "State directory: key file and local API. Created with mode 0700.",
  hint: "give the node's state directory, for example --state ./moray-state",
});

/** `--json`. */
export const JSON_OUTPUT = toggle("json", {
  group: "Output",
  description: "Print JSON for programs instead of text for people.",
  fallback: "off",
});

/** `--no-port-mapping`, of nodes and of `netcheck`. */
const NO_PORT_MAPPING = toggle("no-port-mapping", {
  group: "Network",
  description: "Do not ask the gateway to let peers in (PCP, NAT-PMP, UPnP-IGD).",
  fallback: "it is asked",
});

/** `colony` and `agent`. */
export const MESH_NODE = {
  mesh: required("mesh", label("MESH"), {
    group: "Mesh",
    description: "Mesh id: 1 to 63 of a-z, 0-9 and -. All nodes of a mesh give the same.",
    hint: "name the mesh, for example --mesh reef",
  }),
  discovery: repeated("discovery", DISCOVERY_URL, {
    group: "Mesh",
    description: "Base URL of a Discovery service. Repeat for more; they are tried in order.",
    variables: ["CORAL_DISCOVERY_ENDPOINT"],
    hint: "give the Discovery service, for example --discovery http://127.0.0.1:8080",
  }),
  state: STATE,
  name: optional("name", label("NAME"), {
    group: "Mesh",
    description: "Name of this node inside the mesh: 1 to 63 of a-z, 0-9 and -.",
    fallback: "colony; for an agent the host's name",
  }),
  ...ACCESS,
  publicEndpoint: optional("public-endpoint", ENDPOINT, {
    group: "Network",
    description: "A fixed public address and UDP port that leads to this node (port forwarding).",
    fallback: "found by STUN",
  }),
  stunServers: repeated("stun-servers", STUN_SERVER, {
    group: "Network",
    description: "STUN server; port 3478 where none is given. Repeat, or separate with commas.",
    variables: ["CORAL_STUN_SERVERS"],
    fallback: "the ones that Discovery names",
    commas: true,
  }),
  dns: DNS,
  noPortMapping: NO_PORT_MAPPING,
  noReport: toggle("no-report", {
    group: "Mesh",
    description:
      "Do not tell Discovery's operator which peers are reached directly, and why others are not.",
    fallback: "it is told, without addresses",
  }),
  noGuess: toggle("no-guess", {
    group: "Network",
    description:
      "Never guess ports: a NAT that chooses a new one for each destination is reached " +
      "by a relay, or not at all.",
    fallback: "guess",
  }),
  noDirect: toggle("no-direct", {
    group: "Network",
    description: "Reach peers through relays only.",
    fallback: "direct where possible",
  }),
  noRelay: toggle("no-relay", {
    group: "Network",
    description: "Never use a relay: reach peers directly or not at all.",
    fallback: "relays where nothing else works",
  }),
  relayBandwidth: optional("relay-bandwidth", BYTES_PER_SECOND, {
    group: "Network",
    description: "Most bytes per second to send through a relay: 500k, 2M.",
    fallback: "what the relay allows",
  }),
  offerRelay: toggle("offer-relay", {
    group: "Relay",
    description: "Relay for the other nodes of the mesh while this one has a public address. " +
      "Discovery looks whether it can be reached.",
    fallback: "no relay",
  }),
  offerRelayPort: optional("offer-relay-port", PORT, {
    group: "Relay",
    description: "UDP and TCP port of --offer-relay, 0 to 65535; 0 lets the system choose.",
    fallback: "0",
  }),
  offerRelayPorts: optional("offer-relay-ports", PORT_RANGE, {
    group: "Relay",
    description: "UDP ports that --offer-relay gives to other nodes.",
    fallback: "49152-65535",
  }),
  offerRelayBandwidth: optional("offer-relay-bandwidth", BYTES_PER_SECOND, {
    group: "Relay",
    description: "Most bytes per second that --offer-relay relays, both directions and all nodes " +
      "together: 500k, 2M.",
    fallback: "1M",
  }),
  offerRelaySessions: optional(
    "offer-relay-sessions",
    integer("N", { min: 1, max: 1000, unit: "nodes", example: 16 }),
    {
      group: "Relay",
      description: "Nodes that --offer-relay serves at once, up to 1000.",
      fallback: "16",
    },
  ),
  offerRelayPrivate: toggle("offer-relay-private", {
    group: "Relay",
    description: "Let --offer-relay relay at private addresses and to them: for networks without " +
      "an Internet.",
    fallback: "off",
  }),
  forward: FORWARDS,
  expose: EXPOSE,
} as const satisfies Parameters;

/** `agent` only: what an invite says need not be given. */
export const JOINING = {
  mesh: optional("mesh", label("MESH"), {
    group: "Mesh",
    description: "Mesh id: 1 to 63 of a-z, 0-9 and -. All nodes of a mesh give the same.",
    fallback: "the invite's",
  }),
  discovery: repeated("discovery", DISCOVERY_URL, {
    group: "Mesh",
    description: "Base URL of a Discovery service. Repeat for more; they are tried in order.",
    variables: ["CORAL_DISCOVERY_ENDPOINT"],
    fallback: "the invite's",
  }),
  join: optional("join", INVITE_TEXT, {
    group: "Mesh",
    description:
      "Join by this invite, which moray invite prints on the colony. It is kept in the state " +
      "directory: the next start needs none. Others on this machine can read a flag; MORAY_JOIN they cannot.",
    fallback: "the one that the state directory has joined by",
  }),
} as const satisfies Parameters;

/** `invite`. */
export const INVITE = {
  name: optional("name", label("NAME"), {
    group: "Mesh",
    description: "Name for the agent inside the mesh: 1 to 63 of a-z, 0-9 and -.",
    fallback: "its own choice",
  }),
  expires: withDefault("expires", DURATION, {
    group: "Mesh",
    description: "How long the invite may be used: 30m, 24h, 7d, at most 365d.",
    fallback: "24h",
  }),
  list: toggle("list", {
    group: "Output",
    description: "List the members and the open invites instead.",
    fallback: "off",
  }),
  cancel: optional("cancel", text("ID", "the id of an open invite"), {
    group: "Mesh",
    description: "Take the open invite with this id back instead.",
    fallback: "none",
  }),
} as const satisfies Parameters;

/** `wireguard`. */
export const WIREGUARD_NODE = {
  ...ACCESS,
  wgPort: optional("wg-port", PORT, {
    group: "Network",
    description: "UDP port for WireGuard, 0 to 65535; 0 lets the system choose.",
    fallback: "the file's ListenPort, or 0",
  }),
  forward: FORWARDS_ADDRESS,
  expose: EXPOSE_ADDRESS,
} as const satisfies Parameters;

/** A rate of the relay's. */
function bandwidth(name: string, whose: string): Parameter<number> {
  return withDefault(
    name,
    integer("BYTES", { min: 0, max: 1e12, unit: "bytes per second", example: 12_500_000 }),
    {
      group: "Service",
      description: `Most bytes per second ${whose}, both directions together; 0 is no limit.`,
      fallback: "0",
    },
  );
}

/** `relay`. */
export const RELAY_SERVICE = {
  listenUdp: repeated("listen-udp", LISTEN, {
    group: "Service",
    description: "Address and UDP port for clients. Repeat for more.",
    fallback: "no UDP",
  }),
  listenTcp: repeated("listen-tcp", LISTEN, {
    group: "Service",
    description: "Address and TCP port for clients. Repeat for more.",
    fallback: "no TCP",
  }),
  listenTls: repeated("listen-tls", LISTEN, {
    group: "Service",
    description: "Address and TCP port for clients by TLS, and for WebSockets at wss://H:P/turn. " +
      "Needs --cert and --key. Repeat for more.",
    fallback: "no TLS",
  }),
  listenWebsocket: repeated("listen-websocket", LISTEN, {
    group: "Service",
    description: "Address and TCP port for WebSockets at ws://H:P/turn, as behind a proxy that " +
      "speaks TLS. Repeat for more.",
    fallback: "no WebSockets",
  }),
  cert: optional("cert", FILE, {
    group: "Service",
    description: "Certificate chain for --listen-tls, PEM.",
    fallback: "none",
  }),
  key: optional("key", FILE, {
    group: "Service",
    description: "Private key of the certificate, PEM.",
    fallback: "none",
  }),
  externalIp: repeated("external-ip", IP, {
    group: "Service",
    description: "The relay's address as peers see it. Repeat for the other family.",
    hint:
      "give the address at which peers reach this machine, for example --external-ip 203.0.113.7",
  }),
  relayPorts: withDefault("relay-ports", PORT_RANGE, {
    group: "Service",
    description: "UDP ports that are given to clients.",
    fallback: "49152-65535",
  }),
  secret: required("secret", text("SECRET", "a text that is not empty"), {
    group: "Service",
    description: "Shared with whoever issues credentials: passwords are made of it (the REST " +
      "scheme). Others on this machine can read a flag; MORAY_SECRET and the file they cannot.",
    hint: "give what the credentials are made of",
  }),
  realm: withDefault("realm", text("REALM", "a text that is not empty"), {
    group: "Service",
    description: "The realm of the credentials, best at most 20 characters: clients that send " +
      "short requests get no answer with a longer one.",
    fallback: "moray",
  }),
  allowPrivatePeers: toggle("allow-private-peers", {
    group: "Service",
    description: "Relay to private, loopback and link-local addresses too: for tests, and for " +
      "networks without an Internet.",
    fallback: "they are refused",
  }),
  discovery: repeated("discovery", DISCOVERY_URL, {
    group: "Relay",
    description:
      "Base URL of a Discovery service that offers this relay to its nodes, and shares the secret " +
      "(its --relay-secret). Repeat for more.",
    fallback: "none is told",
  }),
  relayId: optional("relay-id", relayName("ID"), {
    group: "Relay",
    description: "The relay's name at Discovery: each has another.",
    fallback: "its external address",
  }),
  region: optional("region", relayName("REGION"), {
    group: "Relay",
    description: "Where the relay stands, for nodes that ask for one there.",
    fallback: "not said",
  }),
  sessionBandwidth: bandwidth("session-bandwidth", "that one session relays"),
  totalBandwidth: bandwidth("total-bandwidth", "that all sessions relay"),
  drainSeconds: withDefault(
    "drain-seconds",
    integer("N", { min: 0, max: 3600, unit: "seconds", example: 30 }),
    {
      group: "Service",
      description: "How long clients have to move to another relay once this one is told to end, " +
        "up to 3600 s.",
      fallback: "5",
    },
  ),
  metrics: METRICS,
  datapath: withDefault("datapath", choice("DRIVER", ["auto", "portable", "fast"]), {
    group: "Network",
    description: "Datapath driver: auto, portable (any system) or fast (Linux).",
    fallback: "auto",
  }),
} as const satisfies Parameters;

/** `discovery`: its relays. */
export const DISCOVERY_RELAY = {
  relay: toggle("relay", {
    group: "Relay",
    description: "Be a relay too, in this process, by UDP, TCP and WebSockets (GET /turn).",
    fallback: "no relay",
  }),
  relaySecret: optional("relay-secret", RELAY_SECRET, {
    group: "Relay",
    description: "Secret that this Discovery shares with relays, which report themselves by it. " +
      "Better in MORAY_RELAY_SECRET or the configuration file than on the command line.",
    fallback: "none may report itself",
  }),
  relayListen: repeated("relay-listen", LISTEN, {
    group: "Relay",
    description: "Address and port of the relay, UDP and TCP. Repeat for more.",
    fallback: "[::]:3480",
  }),
  relayExternalIp: repeated("relay-external-ip", IP, {
    group: "Relay",
    description:
      "The relay's public address, where that is not the one that it listens on. Repeat " +
      "for the other family.",
    fallback: "the address listened on, or this machine's",
  }),
  relayId: optional("relay-id", relayName("ID"), {
    group: "Relay",
    description: "The relay's name for nodes.",
    fallback: "relay",
  }),
  relayRegion: optional("relay-region", relayName("REGION"), {
    group: "Relay",
    description: "Where the relay stands.",
    fallback: "not said",
  }),
  relayBandwidth: optional("relay-bandwidth", BYTES_PER_SECOND, {
    group: "Relay",
    description: "Most bytes per second that the relay carries for one node.",
    fallback: "not limited",
  }),
  relayAllowPrivatePeers: toggle("relay-allow-private-peers", {
    group: "Relay",
    description: "Let the relay send to private addresses: for one that serves a private network.",
    fallback: "off",
  }),
  noVolunteers: toggle("no-volunteers", {
    group: "Relay",
    description:
      "Take no relays that nodes run for their own mesh (--offer-relay). Otherwise those " +
      "that can be reached from here are offered, to their mesh only.",
    fallback: "they are taken",
  }),
  relayServer: repeated("relay-server", RELAY_SERVER, {
    group: "Relay",
    description: "A TURN server elsewhere, as turn:HOST:PORT?transport=udp, turns:HOST:PORT or " +
      "wss://HOST/turn. Repeat for more, with the same ID for more ways to one.",
    fallback: "none",
  }),
  relayServerSecret: repeated("relay-server-secret", RELAY_SERVER_SECRET, {
    group: "Relay",
    description:
      "The secret that a TURN server makes time-limited credentials of. Repeat for more.",
    fallback: "that of --relay-secret",
  }),
} as const satisfies Parameters;

/** `status` and `peers`. */
export const VERBOSE = toggle("verbose", {
  letter: "v",
  group: "Output",
  description: "Show every candidate, and every path to each peer.",
  fallback: "off; JSON always has them",
});

/** `status`. */
export const WATCH = toggle("watch", {
  letter: "w",
  group: "Output",
  description: "Go on, and show what changes, until Ctrl-C.",
  fallback: "off",
});

/** `ping`. */
export const PING = {
  count: optional(
    "count",
    integer("N", { min: 0, max: 1_000_000, unit: "a count", example: 4 }),
    {
      letter: "c",
      group: "Output",
      description: "How many echoes to send, up to 1000000; 0 goes on until Ctrl-C.",
      fallback: "4; with --until-direct without end",
    },
  ),
  interval: withDefault(
    "interval",
    integer("MS", { min: 10, max: 3_600_000, unit: "milliseconds", example: 1000 }),
    {
      letter: "i",
      group: "Output",
      description: "Time between two echoes in milliseconds, 10 to 3600000.",
      fallback: "1000",
    },
  ),
  timeout: withDefault(
    "timeout",
    integer("MS", { min: 10, max: 60_000, unit: "milliseconds", example: 5000 }),
    {
      group: "Output",
      description: "How long to wait for each answer in milliseconds, 10 to 60000.",
      fallback: "5000",
    },
  ),
  untilDirect: toggle("until-direct", {
    group: "Output",
    description: "Stop as soon as an answer has come over a direct path.",
    fallback: "off",
  }),
} as const satisfies Parameters;

/** `netcheck`. */
export const NETCHECK = {
  state: optional("state", DIRECTORY, {
    group: "Mesh",
    description: "State directory of a running node, which is asked what it has found out.",
    fallback: "the network is examined without a node",
  }),
  discovery: repeated("discovery", DISCOVERY_URL, {
    group: "Network",
    description:
      "Base URL of a Discovery service to check, and to ask for STUN servers. Repeat for more.",
    variables: ["CORAL_DISCOVERY_ENDPOINT"],
    fallback: "none",
  }),
  stunServers: repeated("stun-servers", STUN_SERVER, {
    group: "Network",
    description: "STUN server; port 3478 where none is given. Repeat, or separate with commas.",
    variables: ["CORAL_STUN_SERVERS"],
    fallback: "the ones that Discovery names; stun.cloudflare.com where none answers",
    commas: true,
  }),
  noPortMapping: NO_PORT_MAPPING,
  lifetime: toggle("lifetime", {
    group: "Network",
    description:
      "Also measure how long the NAT keeps an idle mapping, which takes up to 4 minutes.",
    fallback: "off",
  }),
} as const satisfies Parameters;

/** `demo`. */
export const KEEP = toggle("keep", {
  group: "Output",
  description: "Keep everything running and print how to use it, until Ctrl-C.",
  fallback: "off",
});

/** Every key that a configuration file may hold, whichever command reads it. */
export const FILE_KEYS: readonly string[] = [
  ...new Set(
    Object.values({
      ...COMMON,
      JSON_OUTPUT,
      ...MESH_NODE,
      ...COLONY_NODE,
      ...WIREGUARD_NODE,
      ...DISCOVERY_SERVICE,
      ...RELAY_SERVICE,
      ...DISCOVERY_RELAY,
      VERBOSE,
      WATCH,
      ...PING,
      ...NETCHECK,
      KEEP,
    }).map((parameter) => parameter.name).filter((name) => name !== "config"),
  ),
].sort();
