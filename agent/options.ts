/** What a node is started with: the values behind the flags of DESIGN.md 2.9. @module */
import type { SocketAddress } from "../core/mod.ts";
import type { RelayOfferOptions } from "./relay_offer_options.ts";
import type { Network } from "./network.ts";
import type { NodeHandle, PathChange } from "./status.ts";

/** One line of the log. Levels as in most loggers; `fields` hold no secrets. */
export type Log = (
  level: "debug" | "info" | "warn" | "error",
  message: string,
  fields?: Readonly<Record<string, string | number | boolean | null>>,
) => void;

/** A unix socket of this machine. */
export interface UnixPath {
  /** Its path, at most 103 bytes. */
  readonly path: string;
}

/** `--forward H:P:PEER:PORT[/udp]`, `--forward unix:PATH:PEER:PORT`: a local port or unix socket that leads to a peer's port. */
export interface ForwardRule {
  /** Local address or unix socket to listen on; a unix socket is for this user only, and for TCP. */
  readonly listen: SocketAddress | UnixPath;
  /** What is carried. @default "tcp" */
  readonly protocol?: "tcp" | "udp";
  /** Node name, `<node>.<mesh>.internal` or mesh address literal. */
  readonly peer: string;
  /** Port on the peer, 1 to 65535. */
  readonly port: number;
}

/** `--expose MESHPORT:HOST:PORT[/udp]`: a port inside the mesh that leads to a local service. */
export interface ExposePortRule {
  /** Port inside the mesh, 1 to 65535. */
  readonly meshPort: number;
  /** Local service: name or literal. */
  readonly hostname: string;
  /** Local service's port. */
  readonly port: number;
  /** What is carried. @default "tcp" */
  readonly protocol?: "tcp" | "udp";
}

/** `--expose MESHPORT:unix:PATH`: a port inside the mesh that leads to a local unix socket. */
export interface ExposePathRule extends UnixPath {
  /** Port inside the mesh, 1 to 65535. */
  readonly meshPort: number;
}

/** A port inside the mesh that leads to a local service. */
export type ExposeRule = ExposePortRule | ExposePathRule;

/** Who may use a SOCKS5 proxy. */
export interface ProxyCredentials {
  /** 1 to 255 bytes of UTF-8. */
  readonly username: string;
  /** 1 to 255 bytes of UTF-8. */
  readonly password: string;
}

/** What every kind of node takes. */
export interface CommonOptions {
  /** UDP port for WireGuard and STUN; 0 lets the system choose. @default 0 */
  readonly wgPort?: number;
  /** Local SOCKS5 listener. Absent: none. */
  readonly socks5?: SocketAddress;
  /** Who may use it. Absent: whoever reaches the port. */
  readonly socks5Credentials?: ProxyCredentials;
  /** Local HTTP CONNECT proxy. Absent: none. */
  readonly httpProxy?: SocketAddress;
  /** Local ports that lead to peers. @default [] */
  readonly forwards?: readonly ForwardRule[];
  /** Mesh ports that lead to local services. @default [] */
  readonly exposes?: readonly ExposeRule[];
  /** Datapath driver; `wasm` is `fast` with the cipher in WebAssembly. @default "auto" */
  readonly datapath?: "auto" | "portable" | "fast" | "wasm";
  /**
   * Name of an interface to make in the kernel, 1 to 15 characters: programs then reach the peers without a proxy. Needs Linux, root
   * and the fast driver. Absent: none.
   */
  readonly tun?: string;
  /** Where the node's log lines go. */
  readonly log: Log;
}

/** `moray colony` and `moray agent`. */
export interface MeshNodeOptions extends CommonOptions {
  /** Mesh id: 1 to 63 of `a-z 0-9 -`, a DNS label. */
  readonly mesh: string;
  /** Discovery base URLs, tried in order; at least one. */
  readonly discovery: readonly string[];
  /** State directory: key file and local API socket. Created with mode 0700. */
  readonly state: string;
  /** Node name, a DNS label. @default `colony`, or the host's name */
  readonly name?: string;
  /**
   * Local DNS server, by UDP and TCP: addresses of `<node>.<mesh>.internal`, names of addresses of nodes, and nothing else. Absent: none.
   */
  readonly dns?: SocketAddress;
  /** STUN servers as `host:port`. Empty: the ones that Discovery names. @default [] */
  readonly stunServers?: readonly string[];
  /** Whether to ask the gateways for a port (PCP, NAT-PMP, UPnP-IGD). @default true */
  readonly portMapping?: boolean;
  /** A fixed public endpoint, announced as a candidate. */
  readonly publicEndpoint?: SocketAddress;
  /** Never guess or predict the ports of a NAT that chooses them anew for each destination. @default false */
  readonly noGuess?: boolean;
  /** Do not report paths to Discovery, whose operator sees them. @default false */
  readonly noReport?: boolean;
  /** Reach peers through relays only. @default false */
  readonly noDirect?: boolean;
  /** Never use a relay. @default false */
  readonly noRelay?: boolean;
  /** Most that is sent through a relay, in bytes a second. @default what the relay allows */
  readonly relayBandwidth?: number;
  /** Relays for the other nodes of the mesh while this one has a public address. Absent: it does not. */
  readonly offerRelay?: RelayOfferOptions;
  /** Colony only: whether nodes need no invite. @default false */
  readonly open?: boolean;
  /** Agent only: an invite, as `moray invite` prints it. @default the one that the state directory has joined by */
  readonly join?: string;
  /** Colony only: the port of its control service inside the mesh, which is announced to Coral clients too. @default 9000 */
  readonly connectPort?: number;
  /**
   * Colony only: path of the file that says who may reach whom in the mesh. It is read again when it changes. @default agents and their
   * colony reach each other, and agents no other agents
   */
  readonly policyFile?: string;
  /**
   * Colony only: the block that nodes get IPv4 addresses from, as a CIDR with a prefix of 8 to 30 inside a private range. Other than before,
   * nodes get other addresses. @default "10.42.0.0/16"
   */
  readonly meshSubnet?: string;
}

/** `moray wireguard FILE`. */
export interface WireGuardNodeOptions extends CommonOptions {
  /** Path of the configuration file, for messages. */
  readonly file: string;
  /** Content of the configuration file. */
  readonly text: string;
}

/** A started node. */
export interface RunningNode extends NodeHandle, AsyncDisposable {
  /**
   * Every listening address, for the `ready` line, as `key=value`: `wg=0.0.0.0:51820`, `socks5=127.0.0.1:1080`,
   * `forward=127.0.0.1:8080`, `expose=8080` ...
   */
  readonly listening: readonly string[];
  /** Resolves when the node has stopped by `stop`; rejects if it died. */
  readonly finished: Promise<void>;
  /** Streams and names inside the mesh. */
  readonly network: Network;
  /** Has `listener` called with every change of the path to a peer, until the node ends. It must not throw. */
  subscribe(listener: (change: PathChange) => void): void;
  /** Deregisters, closes every listener and stream, stops the Worker. Takes at most 2 s. Safe to call twice. */
  stop(): Promise<void>;
}
