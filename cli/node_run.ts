/** What `colony`, `agent` and `wireguard` share: settings to options, the log, the ready line. @module */
import type { CommonOptions, Log, MeshNodeOptions, RunningNode } from "../agent/mod.ts";
import type { Context } from "./context.ts";
import { createLog, type LogLevel } from "./log.ts";
import { defined } from "./defined.ts";
import type { Settings } from "./parameter.ts";
import type { MESH_NODE, WIREGUARD_NODE } from "./parameters.ts";
import { relayOffer } from "./offered_relay.ts";
import { proxyCredentials } from "./proxy_credentials.ts";
import { readyLine, runService } from "./service.ts";
import { painter } from "./text_format.ts";

/** Returns a log on stderr. */
export function logOf(level: LogLevel, context: Context): Log {
  return createLog(level, {
    write: (line) => context.err(`${line}\n`),
    paint: painter(context.errColour),
    now: () => new Date(),
  });
}

/** Turns the settings that every kind of node takes into options. */
export async function commonOptions(
  settings: Settings<typeof WIREGUARD_NODE> | Settings<typeof MESH_NODE>,
  log: Log,
): Promise<CommonOptions> {
  return defined({
    wgPort: settings.wgPort,
    socks5: settings.socks5,
    socks5Credentials: await proxyCredentials(settings),
    httpProxy: settings.httpProxy,
    forwards: settings.forward,
    exposes: settings.expose,
    datapath: settings.datapath,
    tun: settings.tun,
    log,
  });
}

/** Turns the settings of `colony` and `agent` into options. */
export async function meshOptions(
  settings: Settings<typeof MESH_NODE>,
  log: Log,
): Promise<MeshNodeOptions> {
  return defined({
    ...await commonOptions(settings, log),
    mesh: settings.mesh,
    discovery: settings.discovery,
    state: settings.state,
    name: settings.name,
    dns: settings.dns,
    stunServers: settings.stunServers,
    portMapping: settings.noPortMapping === true ? false : undefined,
    publicEndpoint: settings.publicEndpoint,
    noGuess: settings.noGuess,
    noReport: settings.noReport,
    noDirect: settings.noDirect,
    noRelay: settings.noRelay,
    relayBandwidth: settings.relayBandwidth,
    offerRelay: relayOffer(settings),
  });
}

/** Runs a node until a signal. */
export async function runNode(
  { kind, mesh, start }: {
    /** The command's name, for the ready line. */
    readonly kind: string;
    /** Absent: a node without a mesh. */
    readonly mesh?: string;
    readonly start: () => Promise<RunningNode>;
  },
  context: Context,
): Promise<number> {
  return await runService({
    start,
    async onReady(node): Promise<void> {
      const { node: { name } } = await node.status();
      const fields = [...(mesh === undefined ? [] : [`mesh=${mesh}`]), `name=${name}`];
      context.err(`${readyLine(kind, [...fields, ...node.listening])}\n`);
    },
  }, context);
}
