/** Discovery with what its flags say of relays: one in this process, others elsewhere, and those that report themselves. @module */
import { isLocalScope, MorayError } from "../core/mod.ts";
import { type DiscoveryOptions, type RelayServer, startDiscovery } from "../discovery/mod.ts";
import { externalIpsOf, RELAY_LIMITS, type RunningRelay, startRelay } from "../relay/mod.ts";
import type { Settings } from "./parameter.ts";
import { DISCOVERY_RELAY } from "./parameters.ts";
import type { Service } from "./service.ts";
import { type FlagTexts, resolveSettings } from "./settings.ts";

/** What the flags about relays say. */
export type RelaySettings = Settings<typeof DISCOVERY_RELAY>;

/** What flags that are given in code say; the environment and files say nothing. */
export function relaySettings(flags: FlagTexts): RelaySettings {
  return resolveSettings(DISCOVERY_RELAY, { flags, env: () => undefined });
}

/** Discovery, and the relay beside it if there is one. */
export interface RunningDiscoveryService extends Service {
  /** Discovery's URL. */
  readonly url: string;
  /** Every listening address as `key=value`. */
  readonly listening: readonly string[];
}

/** Name and realm of the relay in this process, where nobody gives it another. */
const ID = "relay";
const REALM = "moray";
/** Bytes of a secret that nobody needs to know. */
const SECRET_BYTES = 32;
/** How long a stopping relay gives its nodes to leave: a stop takes 2 s at most. */
const DRAIN_MS = 1200;

/** Starts Discovery and its relay. Rejects as they do, or with `usage` for flags that make no sense together. */
export async function startDiscoveryService(
  options: Omit<DiscoveryOptions, "relays" | "turn">,
  settings: RelaySettings,
): Promise<RunningDiscoveryService> {
  checkRelaySettings(settings);
  const servers = relayServers(settings);
  const secret = settings.relaySecret ?? randomSecret();
  const relay = settings.relay === true
    ? await startOwnRelay({ settings, secret, options })
    : undefined;
  try {
    const discovery = await startDiscovery({
      ...options,
      volunteers: settings.noVolunteers !== true,
      ...relayParts(relay, { settings, secret, servers }),
    });
    return {
      url: discovery.url,
      listening: [...discovery.listening, ...(relay?.listening ?? []).map((one) => `relay-${one}`)],
      finished: Promise.race([discovery.finished, ...relay === undefined ? [] : [relay.finished]]),
      stop: async () => {
        await Promise.all([discovery.stop(), relay && stopRelay(relay)]);
      },
    };
  } catch (error) {
    await relay?.stop();
    throw error;
  }
}

/** Returns the relays that the flags name, each with its secret. Throws `MorayError` `usage`. */
export function relayServers(
  { relayServer, relayServerSecret, relaySecret }: Pick<
    RelaySettings,
    "relayServer" | "relayServerSecret" | "relaySecret"
  >,
): readonly RelayServer[] {
  const secrets = new Map(relayServerSecret.map(({ id, secret }) => [id, secret]));
  const servers = new Map<string, RelayServer>();
  for (const { id, region, transport } of relayServer) {
    const known = servers.get(id);
    const secret = secrets.get(id) ?? relaySecret;
    if (secret === undefined) {
      throw new MorayError(
        "usage",
        `Relay ${id} has no secret: give --relay-server-secret ${id}=SECRET, or --relay-secret`,
      );
    }
    servers.set(id, {
      id,
      region: region === "" ? known?.region ?? "" : region,
      transports: [...known?.transports ?? [], transport],
      realm: "",
      bandwidthBytesPerSecond: 0,
      secret,
    });
  }
  for (const id of secrets.keys()) {
    if (servers.has(id)) continue;
    throw new MorayError(
      "usage",
      `--relay-server-secret is for relay ${id}, which no --relay-server names`,
    );
  }
  return [...servers.values()];
}

function checkRelaySettings(settings: RelaySettings): void {
  if (settings.relay === true) return;
  const { relayListen, relayExternalIp, relayId, relayRegion } = settings;
  const given = {
    "--relay-listen": relayListen.length > 0,
    "--relay-external-ip": relayExternalIp.length > 0,
    "--relay-id": relayId !== undefined,
    "--relay-region": relayRegion !== undefined,
    "--relay-bandwidth": settings.relayBandwidth !== undefined,
    "--relay-allow-private-peers": settings.relayAllowPrivatePeers === true,
  };
  for (const [flag, isGiven] of Object.entries(given)) {
    if (isGiven) throw new MorayError("usage", `${flag} is for the relay of --relay: add that`);
  }
}

/** Where the relay listens where nobody says. */
const LISTEN = { hostname: "::", port: 3480 } as const;

async function startOwnRelay(
  { settings, secret, options: { log, version } }: {
    readonly settings: RelaySettings;
    readonly secret: string;
    readonly options: Pick<DiscoveryOptions, "log" | "version">;
  },
): Promise<RunningRelay> {
  const { relayExternalIp, relayBandwidth = 0, relayAllowPrivatePeers = false } = settings;
  const listen = settings.relayListen.length > 0 ? settings.relayListen : [LISTEN];
  const externalIps = relayExternalIp.length > 0 ? relayExternalIp : externalIpsOf(listen);
  if (externalIps.length === 0) {
    throw new MorayError(
      "usage",
      "The relay has no address that nodes reach: give --relay-external-ip IP",
    );
  }
  if (!relayAllowPrivatePeers && externalIps.every(isPrivate)) {
    log(
      "warn",
      "the relay is at a private address, and refuses private peers: see " +
        "--relay-allow-private-peers",
    );
  }
  const { scopes } = RELAY_LIMITS;
  const session = { ...scopes.session, bytesPerSecond: relayBandwidth };
  const relay = await startRelay({
    listenUdp: listen,
    listenTcp: listen,
    externalIps,
    secret,
    realm: REALM,
    allowPrivatePeers: relayAllowPrivatePeers,
    limits: { ...RELAY_LIMITS, scopes: { ...scopes, session } },
    ...(version !== undefined && { version }),
    log,
  });
  return relay;
}

function relayParts(
  relay: RunningRelay | undefined,
  { settings, secret, servers }: {
    readonly settings: RelaySettings;
    readonly secret: string;
    readonly servers: readonly RelayServer[];
  },
): Pick<DiscoveryOptions, "relays" | "turn"> {
  const { relayId = ID, relayRegion = "", relayBandwidth = 0, relaySecret } = settings;
  if (relay === undefined && servers.length === 0 && relaySecret === undefined) return {};
  // Nobody can know a secret that was made here.
  const known = relaySecret === undefined ? {} : { secret: relaySecret };
  if (relay === undefined) return { relays: { servers, ...known } };
  const local = {
    id: relayId,
    region: relayRegion,
    transports: [...relay.transports, { kind: "websocket", endpoint: "/turn" } as const],
    realm: REALM,
    bandwidthBytesPerSecond: relayBandwidth,
    secret,
    report: () => relay.report(),
    revoke: (sessions: readonly string[]) => relay.revoke(sessions),
  };
  return {
    relays: { servers, local, ...known },
    turn: (request, remote) => relay.handleUpgrade(request, remote),
  };
}

async function stopRelay(relay: RunningRelay): Promise<void> {
  await relay.drain({ ms: DRAIN_MS });
  await relay.stop();
}

function randomSecret(): string {
  return crypto.getRandomValues(new Uint8Array(SECRET_BYTES)).toBase64();
}

/** Whether an address only means something in one network. */
function isPrivate(hostname: string): boolean {
  return isLocalScope(hostname) ||
    /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cd])/
      .test(hostname);
}
