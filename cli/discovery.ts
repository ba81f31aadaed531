/** `moray discovery`: the service where nodes find each other. @module */
import { MorayError } from "../core/mod.ts";
import type { TlsPem } from "../relay/mod.ts";
import { type Command, defineCommand } from "./command.ts";
import { logOf } from "./node_run.ts";
import type { Settings } from "./parameter.ts";
import { COMMON, DISCOVERY_RELAY, DISCOVERY_SERVICE } from "./parameters.ts";
import { readyLine, runService } from "./service.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: { ...DISCOVERY_SERVICE, ...DISCOVERY_RELAY, ...COMMON },
  description:
    "Keeps who is registered in which mesh, introduces nodes to each other, and answers STUN so that " +
    "they learn their public addresses. It never sees what they say to each other. With --relay it also " +
    "carries their packets, encrypted end to end, where no direct path exists. Prints one line " +
    "that starts with ready once it listens.",
  examples: [
    "moray discovery --listen 0.0.0.0:8080 --stun-listen [::]:3478",
    "moray discovery --stun-listen 203.0.113.7:3478 --stun-alternate 203.0.113.8:3479",
    "moray discovery --relay --relay-listen 203.0.113.7:3480",
    "moray discovery --relay-server eu=turn:turn.example.com:3478 --relay-server-secret eu=SECRET",
    "moray discovery --listen 127.0.0.1:0 --stun-listen 127.0.0.1:0 --store :memory:",
    "moray discovery --status-token-file /etc/moray/status-token",
    "moray discovery --listen 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem",
    "MORAY_STORE=postgres://moray:SECRET@db.example.com/moray moray discovery",
  ],
  run: async (settings, context) => {
    const { startDiscoveryService } = await import("./discovery_relay.ts");
    const { listen, stunListen, stunAlternate, store, allowUnproven, metrics, logLevel } = settings;
    const { trustedProxy } = settings;
    const tls = await tlsOf(settings);
    const statusToken = await statusTokenOf(settings);
    return await runService({
      start: () =>
        startDiscoveryService({
          listen,
          stunListen,
          stunAlternates: stunAlternate,
          version: context.version,
          store,
          trustedProxies: trustedProxy,
          ...(tls && { tls }),
          ...(metrics && { metrics }),
          ...(statusToken !== undefined && { statusToken }),
          ...(allowUnproven !== undefined && { allowUnproven }),
          log: logOf(logLevel, context),
        }, settings),
      onReady: (service) => context.err(`${readyLine("discovery", service.listening)}\n`),
    }, context);
  },
});

/** What the TLS flags name; `undefined` where they are not given. */
async function tlsOf(
  { tlsCert, tlsKey }: Pick<Settings<typeof DISCOVERY_SERVICE>, "tlsCert" | "tlsKey">,
): Promise<TlsPem | undefined> {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined) {
    throw new MorayError("usage", "--tls-cert FILE and --tls-key FILE need each other");
  }
  const { readTlsFiles } = await import("../relay/mod.ts");
  return await readTlsFiles(tlsCert, tlsKey);
}

/** The token of the status page; `undefined` where none is given. */
async function statusTokenOf(
  { statusToken, statusTokenFile }: Pick<
    Settings<typeof DISCOVERY_SERVICE>,
    "statusToken" | "statusTokenFile"
  >,
): Promise<string | undefined> {
  if (statusTokenFile === undefined) return statusToken;
  if (statusToken !== undefined) {
    throw new MorayError("usage", "--status-token and --status-token-file: give one of them");
  }
  const { readStatusToken } = await import("../discovery/mod.ts");
  return await readStatusToken(statusTokenFile);
}
