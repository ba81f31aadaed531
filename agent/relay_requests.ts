/** What a mesh node asks of Discovery about relays, as `RelayControl` wants it. @module */
import {
  type Family,
  familyOf,
  formatSocketAddress,
  isLocalScope,
  MorayError,
  parseSocketAddress,
} from "../core/mod.ts";
import type { DiscoveryClient, RelayTransport } from "../discovery/mod.ts";
import { listInterfaces } from "../io/mod.ts";
import { isVirtualInterface } from "../traversal/mod.ts";
import type { MeshRequest } from "./mesh_messages.ts";
import type { Role } from "./mesh_peers.ts";
import type { Log } from "./options.ts";
import type { GrantedRelay } from "./relay_control.ts";
import { resolveEndpoints } from "./resolve_host.ts";
import type { RelayTransportInfo } from "./shared/mod.ts";

/** Addresses and URLs of one relay that are tried. */
const TRANSPORTS_MAX = 16;

/** Who asks. */
export interface RelayAsker {
  /** Discovery. */
  readonly discovery: DiscoveryClient;
  /** Mesh id. */
  readonly mesh: string;
  /** The node's key, base64. */
  readonly publicKey: string;
  /** What the node is. */
  readonly role: Role;
  /** Where the log goes. */
  readonly log: Log;
}

/** Asks for a relay and resolves its names. Rejects as {@linkcode DiscoveryClient.requestRelay} does, or with `unreachable`. */
export async function requestRelay(
  { discovery, mesh: meshId, publicKey, role, log }: RelayAsker,
  { relayId, failed }: MeshRequest & { readonly kind: "requestRelay" },
  signal: AbortSignal,
): Promise<GrantedRelay> {
  const query = { meshId, publicKey, role, relayId, failed };
  const grant = await discovery.requestRelay(query, { signal });
  const { relayId: id, sessionId, username, password, lifeMs } = grant;
  const resolved = await resolveTransports(grant.transports, log);
  const transports = ownFamiliesFirst(resolved, ownFamilies());
  if (transports.length === 0) {
    throw new MorayError("unreachable", `Relay ${id} has no address that can be used here`);
  }
  const { bandwidthBytesPerSecond } = grant;
  const credentials = { username, password, expiresAtMs: Date.now() + lifeMs };
  const relay = { id, sessionId, transports, ...credentials, bandwidthBytesPerSecond };
  return { relay, lifeMs, choices: grant.relays };
}

/** Puts last what no address of this machine leads to: whatever is tried in vain costs the time until the next is tried. */
export function ownFamiliesFirst(
  transports: readonly RelayTransportInfo[],
  own: ReadonlySet<Family>,
): readonly RelayTransportInfo[] {
  const leads = (transport: RelayTransportInfo): boolean => {
    if (transport.kind === "websocket") return true;
    const address = parseSocketAddress(transport.address);
    return address !== undefined &&
      (isLocalScope(address.hostname) || own.has(familyOf(address.hostname)));
  };
  const last = transports.filter((transport) => !leads(transport));
  return [...transports.filter(leads), ...last];
}

/** The families of which this machine has an address that leads beyond it: everywhere, if the system tells. */
function ownFamilies(): ReadonlySet<Family> {
  const useful = listInterfaces()
    .filter(({ name, address }) => !isVirtualInterface(name) && !isLocalScope(address));
  const routed = useful.filter((address) => address.routed === true);
  return new Set((routed.length > 0 ? routed : useful).map(({ family }) => family));
}

/** Returns the ways to a relay with every address of every name. */
async function resolveTransports(
  transports: readonly RelayTransport[],
  log: Log,
): Promise<readonly RelayTransportInfo[]> {
  const found = await Promise.all(
    transports.map(async ({ kind, endpoint, serverName }): Promise<RelayTransportInfo[]> => {
      if (kind === "websocket") return [{ kind, url: endpoint }];
      const onError = (error: MorayError): void => log("debug", `relay: ${error.message}`);
      const addresses = await resolveEndpoints([endpoint], onError);
      const host = endpoint.slice(0, endpoint.lastIndexOf(":"));
      const name = serverName ?? (host.startsWith("[") ? host.slice(1, -1) : host);
      return addresses.map((address) => ({
        kind,
        address: formatSocketAddress(address),
        ...(kind === "tls" && { serverName: name }),
      }));
    }),
  );
  return found.flat().slice(0, TRANSPORTS_MAX);
}
