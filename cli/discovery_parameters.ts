/** The flags of `moray discovery` but for its relays, which are in `parameters.ts`. @module */
import { optional, type Parameters, repeated, toggle, withDefault } from "./parameter.ts";
import { STORE } from "./store_value.ts";
import { BLOCK, FILE, LISTEN, STATUS_TOKEN } from "./values.ts";

/** `--metrics`, of services. */
export const METRICS = optional("metrics", LISTEN, {
  group: "Service",
  description: "Serve counters for Prometheus here, at /metrics.",
  fallback: "none are served",
});

/** `discovery`. */
export const DISCOVERY_SERVICE = {
  listen: withDefault("listen", LISTEN, {
    group: "Service",
    description: "Address and TCP port of the HTTP service.",
    fallback: "0.0.0.0:8080",
  }),
  stunListen: repeated("stun-listen", LISTEN, {
    group: "Service",
    description: "Address and UDP port to answer STUN on. Repeat for more.",
    fallback: "[::]:3478",
    standard: ["[::]:3478"],
  }),
  stunAlternate: repeated("stun-alternate", LISTEN, {
    group: "Service",
    description:
      "Second address and UDP port of STUN, by which nodes find out how their NAT maps and filters. " +
      "Needs a --stun-listen of the same family with an address of its own and another port. Repeat for " +
      "the other family.",
    fallback: "none",
  }),
  tlsCert: optional("tls-cert", FILE, {
    group: "Service",
    description:
      "Certificate chain, PEM: the HTTP service speaks TLS, with HTTP/2. Needs --tls-key.",
    fallback: "no TLS",
  }),
  tlsKey: optional("tls-key", FILE, {
    group: "Service",
    description: "Private key of the certificate, PEM.",
    fallback: "none",
  }),
  metrics: METRICS,
  trustedProxy: repeated("trusted-proxy", BLOCK, {
    group: "Service",
    description:
      "Believe X-Forwarded-For and Forwarded of proxies in this block of addresses, for limits and the log. " +
      "The proxy must add to one of the two. Repeat for more.",
    fallback: "nobody's, and clients behind one proxy share one address's limits",
  }),
  statusToken: optional("status-token", STATUS_TOKEN, {
    group: "Service",
    description:
      "Serve a status page at / to whoever says this token: 16 characters or more. Better in " +
      "MORAY_STATUS_TOKEN or in --status-token-file, as others on this machine can read a flag.",
    fallback: "no status page",
  }),
  statusTokenFile: optional("status-token-file", FILE, {
    group: "Service",
    description: "File whose first line is the token of the status page.",
    fallback: "none",
  }),
  store: withDefault("store", STORE, {
    group: "Service",
    description:
      "SQLite file with the registrations; :memory: keeps nothing. Several services share " +
      "a PostgreSQL database: postgres://USER:PASSWORD@HOST/DATABASE, better in MORAY_STORE or the " +
      "file, as others on this machine can read a flag.",
    fallback: "moray-discovery.sqlite",
  }),
  allowUnproven: toggle("allow-unproven", {
    group: "Service",
    description:
      "Take registrations that prove no key, as those of plain Coral clients: anyone may " +
      "then claim a mesh, or an agent's id, whose owner has proven no key either.",
    fallback: "every node proves its key",
  }),
} as const satisfies Parameters;
