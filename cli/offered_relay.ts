/** `--offer-relay`: brings the relay and the node together that do not know each other. @module */
import { MorayError } from "../core/mod.ts";
import type { OfferedRelay, OfferedRelaySpec, RelayOfferOptions } from "../agent/mod.ts";
import { defined } from "./defined.ts";
import type { Settings } from "./parameter.ts";
import type { MESH_NODE } from "./parameters.ts";

/** What the flags offer; `undefined` for nothing. Throws `MorayError` `usage` for flags that have nothing to be for. */
export function relayOffer(settings: Settings<typeof MESH_NODE>): RelayOfferOptions | undefined {
  const { offerRelay, offerRelayPort: port, offerRelayPorts: portRange } = settings;
  const { offerRelayBandwidth: bytesPerSecond, offerRelaySessions: sessionsMax } = settings;
  const { offerRelayPrivate: allowPrivatePeers } = settings;
  if (offerRelay === true) {
    return {
      ...defined({ port, portRange, bytesPerSecond, sessionsMax, allowPrivatePeers }),
      start: startOfferedRelay,
    };
  }
  const given = {
    "--offer-relay-port": port,
    "--offer-relay-ports": portRange,
    "--offer-relay-bandwidth": bytesPerSecond,
    "--offer-relay-sessions": sessionsMax,
    "--offer-relay-private": allowPrivatePeers,
  };
  for (const [flag, value] of Object.entries(given)) {
    if (value === undefined || value === false) continue;
    throw new MorayError("usage", `${flag} is for the relay of --offer-relay: add that`);
  }
  return undefined;
}

/** Starts the relay of a node, in a Worker of its own, by UDP and TCP. */
async function startOfferedRelay(spec: OfferedRelaySpec): Promise<OfferedRelay> {
  const { RELAY_LIMITS, startRelayWorker } = await import(
    "../relay/mod.ts" as string
  ) as typeof import("../relay/mod.ts");
  const { externalIps, port, bytesPerSecond, sessionsMax, log } = spec;
  const { scopes } = RELAY_LIMITS;
  const families = new Set(externalIps.map((ip) => ip.includes(":") ? 6 : 4));
  // "::" serves both families.
  const hostname = families.has(6) ? "::" : "0.0.0.0";
  const { secret, realm, onlyMesh, ownPorts, allowPrivatePeers, portRange } = spec;
  const shared = { externalIps, secret, realm, onlyMesh, ownPorts, allowPrivatePeers, log };
  const listen = [{ hostname, port }];
  return await startRelayWorker({
    ...shared,
    ...portRange && { portRange },
    listenUdp: listen,
    listenTcp: listen,
    limits: {
      ...RELAY_LIMITS,
      // What was offered is for all together. A node that moves needs two allocations for a while.
      scopes: {
        session: { ...scopes.session, allocationsMax: 2 },
        key: { ...scopes.key, allocationsMax: 4 },
        mesh: { ...scopes.mesh, allocationsMax: 2 * sessionsMax },
        total: { ...scopes.total, allocationsMax: 2 * sessionsMax, bytesPerSecond },
      },
    },
  });
}
