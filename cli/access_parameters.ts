/** The flags of nodes for ways into the mesh and out of it: what the datapath, proxies, forwards and exposed ports are. @module */
import { optional, type Parameters, repeated, withDefault } from "./parameter.ts";
import {
  choice,
  expose,
  FILE,
  FORWARD,
  FORWARD_ADDRESS,
  INTERFACE,
  LISTEN,
  PORT,
  SOCKS5_USER,
} from "./values.ts";

/** What `colony`, `agent` and `wireguard` take. */
export const ACCESS = {
  wgPort: withDefault("wg-port", PORT, {
    group: "Network",
    description: "UDP port for WireGuard and STUN, 0 to 65535; 0 lets the system choose.",
    fallback: "0",
  }),
  datapath: withDefault("datapath", choice("DRIVER", ["auto", "portable", "fast", "wasm"]), {
    group: "Network",
    description:
      "Datapath driver: auto, portable (any system), fast (Linux) or wasm (fast, no native cipher).",
    fallback: "auto",
  }),
  socks5: optional("socks5", LISTEN, {
    group: "Access",
    description: "Listen here for SOCKS5; names inside the mesh resolve. Port 0 lets the system " +
      "choose.",
    fallback: "no SOCKS5",
  }),
  socks5User: optional("socks5-user", SOCKS5_USER, {
    group: "Access",
    description: "Let only who knows this name and the password of --socks5-password-file use " +
      "--socks5. Without it whoever reaches the port reaches the mesh.",
    fallback: "anybody",
  }),
  socks5PasswordFile: optional("socks5-password-file", FILE, {
    group: "Access",
    description: "File whose first line is the password of --socks5-user, up to 255 bytes.",
    fallback: "none",
  }),
  httpProxy: optional("http-proxy", LISTEN, {
    group: "Access",
    description: "Listen here for an HTTP CONNECT proxy. Port 0 lets the system choose.",
    fallback: "no HTTP proxy",
  }),
  tun: optional("tun", INTERFACE, {
    group: "Access",
    description: "Make this network interface, with addresses and routes, so that every program " +
      "reaches the peers. Linux, as root.",
    fallback: "no interface",
  }),
} as const satisfies Parameters;

/** `--dns` of a node of a mesh. */
export const DNS = optional("dns", LISTEN, {
  group: "Access",
  description: "Listen here, by UDP and TCP, as a DNS server for NODE.MESH.internal; what is not " +
    "of the mesh is refused. Port 0 lets the system choose.",
  fallback: "no DNS server",
});

/** `--forward` of a node of a mesh. */
export const FORWARDS = repeated("forward", FORWARD, {
  group: "Access",
  description: "Local port H:P, or unix:PATH for a unix socket of this user, that leads to PORT " +
    "of PEER, a node's name or mesh address; with /udp for UDP. Repeat for more.",
  fallback: "none",
});

/** `--forward` of a plain WireGuard peer. */
export const FORWARDS_ADDRESS = repeated("forward", FORWARD_ADDRESS, {
  group: "Access",
  description: "Local port H:P, or unix:PATH for a unix socket of this user, that leads to PORT " +
    "of ADDR, an address inside the tunnel; with /udp for UDP. Repeat for more.",
  fallback: "none",
});

/** `--expose` of a node of a mesh. */
export const EXPOSE = repeated("expose", expose("MESHPORT:HOST:PORT[/udp]"), {
  group: "Access",
  description: "Port inside the mesh that leads to HOST:PORT here, or to the unix socket " +
    "unix:PATH; with /udp for UDP. Repeat for more.",
  fallback: "none",
});

/** `--expose` of a plain WireGuard peer. */
export const EXPOSE_ADDRESS = repeated("expose", expose("PORT:HOST:PORT[/udp]"), {
  group: "Access",
  description: "Port of this node inside the tunnel that leads to HOST:PORT here, or to the unix " +
    "socket unix:PATH; with /udp for UDP. Repeat for more.",
  fallback: "none",
});
