/** `moray relay`: carries what nodes say to each other where they find no direct path. @module */
import { MorayError } from "../core/mod.ts";
import type { Log } from "../agent/mod.ts";
import type { RunningRelayReporter } from "../discovery/mod.ts";
import type { RelayLimits, RunningRelay, TlsPem } from "../relay/mod.ts";
import { type Command, defineCommand } from "./command.ts";
import { defined } from "./defined.ts";
import { logOf } from "./node_run.ts";
import { COMMON, RELAY_SERVICE } from "./parameters.ts";
import type { Settings } from "./parameter.ts";
import { readyLine, runService } from "./service.ts";

/** What the stop takes besides the drain. */
const STOP_MS_MAX = 1000;

/** The command. */
export const command: Command = defineCommand({
  parameters: { ...RELAY_SERVICE, ...COMMON },
  description:
    "A TURN server (RFC 8656) for moray's nodes and any other TURN client, over UDP, TCP, TLS and WebSockets. " +
    "It sees ciphertext only, and relays only between a client and the peers that the client names. " +
    "Credentials are time-limited and made of a shared secret. Prints one line that starts with " +
    "ready once it listens.",
  examples: [
    "moray relay --listen-udp 0.0.0.0:3478 --external-ip 203.0.113.7 --secret S",
    "moray relay --listen-udp 0.0.0.0:3478 --listen-tls 0.0.0.0:443 --cert chain.pem --key key.pem --external-ip 203.0.113.7 --secret S",
    "moray relay --listen-udp 0.0.0.0:3478 --external-ip 203.0.113.7 --secret S --discovery http://198.51.100.1:8080 --relay-id eu-1",
    "moray relay --listen-udp 127.0.0.1:0 --external-ip 127.0.0.1 --allow-private-peers --secret S",
  ],
  run: async (settings, context) => {
    const { startRelay, readTlsFiles, RELAY_LIMITS } = await import("../relay/mod.ts");
    const { cert, key, logLevel, drainSeconds } = settings;
    const listeners = [
      ...settings.listenUdp,
      ...settings.listenTcp,
      ...settings.listenTls,
      ...settings.listenWebsocket,
    ];
    if (listeners.length === 0) {
      throw new MorayError(
        "usage",
        "Nowhere to listen: give --listen-udp H:P, or another listener",
      );
    }
    if (settings.listenTls.length > 0 && (cert === undefined || key === undefined)) {
      throw new MorayError("usage", "--listen-tls needs --cert FILE and --key FILE");
    }
    const tls: TlsPem | undefined = cert === undefined || key === undefined
      ? undefined
      : await readTlsFiles(cert, key);
    return await runService({
      start: async () => {
        const relay = await startRelay(defined({
          listenUdp: settings.listenUdp,
          listenTcp: settings.listenTcp,
          listenTls: settings.listenTls,
          listenWebsocket: settings.listenWebsocket,
          tls,
          externalIps: settings.externalIp,
          portRange: settings.relayPorts,
          secret: settings.secret,
          realm: settings.realm,
          allowPrivatePeers: settings.allowPrivatePeers,
          limits: limitsOf(RELAY_LIMITS, settings),
          driver: settings.datapath,
          metrics: settings.metrics,
          version: context.version,
          log: logOf(logLevel, context),
        }));
        const reporter = await startReports(relay, settings, logOf(logLevel, context));
        return {
          finished: relay.finished,
          listening: relay.listening,
          stop: async (): Promise<void> => {
            const drained = relay.drain({ ms: drainSeconds * 1000 });
            // Discovery offers it to nobody from now on.
            await Promise.all([reporter?.report(), drained]);
            await Promise.all([reporter?.stop(), relay.stop()]);
          },
        };
      },
      onReady: ({ listening }) => context.err(`${readyLine("relay", listening)}\n`),
      stopMsMax: drainSeconds * 1000 + STOP_MS_MAX,
    }, context);
  },
});

/** Makes the relay known to Discovery, if there is one. */
async function startReports(
  relay: RunningRelay,
  { discovery, relayId, region = "", realm, secret, sessionBandwidth, externalIp }: Settings<
    typeof RELAY_SERVICE
  >,
  log: Log,
): Promise<RunningRelayReporter | undefined> {
  if (discovery.length === 0) return undefined;
  const { startRelayReporter } = await import("../discovery/mod.ts");
  const [address = "relay"] = externalIp;
  return await startRelayReporter({
    urls: discovery,
    identity: {
      id: relayId ?? address.replaceAll(":", "-"),
      region,
      transports: relay.transports,
      realm,
      bandwidthBytesPerSecond: sessionBandwidth,
    },
    secret,
    report: () => relay.report(),
    revoke: (sessions) => relay.revoke(sessions),
    log,
  });
}

function limitsOf(
  standard: RelayLimits,
  { sessionBandwidth, totalBandwidth }: {
    readonly sessionBandwidth: number;
    readonly totalBandwidth: number;
  },
): RelayLimits {
  const { session, total } = standard.scopes;
  return {
    ...standard,
    scopes: {
      ...standard.scopes,
      session: { ...session, bytesPerSecond: sessionBandwidth },
      total: { ...total, bytesPerSecond: totalBandwidth },
    },
  };
}
