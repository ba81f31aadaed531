/** What a mesh node asks of Discovery, and its goodbyes there: a {@linkcode MeshRequest} in, a {@linkcode MeshAnswer} out. @module */
import { messageOf } from "../core/mod.ts";
import type {
  DiscoveryClient,
  Membership,
  NodeKey,
  PeerEvent,
  ServerInfo,
  WatchState,
} from "../discovery/mod.ts";
import type { MeshAccess } from "./membership/access.ts";
import type { MeshAnswer, MeshRequest } from "./mesh_messages.ts";
import type { Role } from "./mesh_peers.ts";
import type { Log } from "./options.ts";
import { requestRelay } from "./relay_requests.ts";
import type { Vouchers } from "./vouchers.ts";

/** Options of {@linkcode MeshDiscovery}. */
export interface MeshDiscoveryOptions extends NodeKey {
  /** Discovery. */
  readonly client: DiscoveryClient;
  /** What the node is. */
  readonly role: Role;
  /** What lets the node into its mesh. */
  readonly access: Pick<
    MeshAccess,
    "extend" | "handleRegistered" | "handleMembership" | "handleSynchronized"
  >;
  /** What STUN servers vouch for of the node's addresses. */
  readonly vouchers: Vouchers;
  /** Called with what the server says of itself, before the control learns of it. Resolves with whether there is any STUN server to ask. */
  readonly onServerInfo: (info: ServerInfo) => Promise<boolean>;
  /** Called where the server does not say it. */
  readonly onNoServerInfo: () => void;
  /** Called with each event of the Watch stream. */
  readonly onPeerEvent: (event: PeerEvent) => void;
  /** Called with each change of the Watch stream. */
  readonly onWatchState: (state: WatchState) => void;
  /** Where the log goes. */
  readonly log: Log;
  /** Ends what is under way, but no goodbye. */
  readonly signal: AbortSignal;
}

/** Discovery as one node uses it. */
export class MeshDiscovery {
  readonly #options: MeshDiscoveryOptions;

  /** Asks nothing yet. */
  constructor(options: MeshDiscoveryOptions) {
    this.#options = options;
  }

  /** Does what is asked. Rejects as the methods of {@linkcode DiscoveryClient} do. */
  async answer(request: MeshRequest): Promise<MeshAnswer> {
    const { client, meshId, publicKey: from, role, log, signal } = this.#options;
    const { onServerInfo, onNoServerInfo } = this.#options;
    switch (request.kind) {
      case "serverInfo": {
        const info = await client.serverInfo({ signal, meshId }).catch((error) => {
          onNoServerInfo();
          throw error;
        });
        return { kind: "serverInfo", features: info.features, stun: await onServerInfo(info) };
      }
      case "register": {
        const { access, vouchers } = this.#options;
        const registration = await access.extend(request.registration);
        const observations = vouchers.of(registration.observedEndpoints ?? []);
        const registered = await client.register({ ...registration, observations }, { signal });
        access.handleRegistered(registered);
        return { kind: "registered", ttlMs: registered.ttlMs };
      }
      case "lookUpColony":
        return { kind: "colony", peer: await client.lookupColony(meshId, { signal }) };
      case "lookUpAgent": {
        const { publicKey } = request;
        // On a plain Coral Discovery the key is found as the agent's id, which is what an agent of ours registers.
        const query = client.features.watch
          ? { meshId, publicKey }
          : { meshId, agentId: publicKey };
        return { kind: "agent", publicKey, peer: await client.lookupAgent(query, { signal }) };
      }
      case "punch": {
        const { publicKey } = request;
        const punched = await client.initiatePunch({ meshId, from, to: publicKey }, { signal });
        return { kind: "punched", publicKey, ...punched };
      }
      case "requestRelay": {
        const asker = { discovery: client, mesh: meshId, publicKey: from, role, log };
        const granted = await requestRelay(asker, request, signal);
        return { kind: "relayGranted", request, granted };
      }
      case "releaseRelay":
        await client.releaseRelay({ meshId, sessionId: request.sessionId }, { signal });
        return { kind: "relayReleased" };
    }
  }

  /** Opens the Watch stream, where the server has them. */
  watch(): void {
    const { client, meshId, publicKey, log, signal } = this.#options;
    const { access, onPeerEvent, onWatchState: onState } = this.#options;
    if (!client.features.watch) {
      log("info", "this Discovery has no Watch streams: looking up instead");
      return;
    }
    const onEvent = (event: PeerEvent): void => {
      onPeerEvent(event);
      if (event.kind === "synchronized") void access.handleSynchronized(signal);
    };
    const onMembership = (membership: Membership): void => access.handleMembership(membership);
    client.watch({ meshId, publicKey, signal, onEvent, onState, onMembership })
      .catch((error) => log("error", `watch: ${messageOf(error)}`));
  }

  /** Removes the registration. Never rejects: it expires by itself. */
  async deregister(signal: AbortSignal): Promise<void> {
    const { client, meshId, publicKey, role, log } = this.#options;
    await client.deregister({ meshId, publicKey, role }, { signal })
      .catch((error) => log("debug", `deregister: ${messageOf(error)}`));
  }

  /** Gives relay sessions back. Never rejects: they end by themselves. */
  async releaseRelays(sessions: readonly string[], signal: AbortSignal): Promise<void> {
    const { client, meshId, log } = this.#options;
    await Promise.all(
      sessions.map((sessionId) =>
        client.releaseRelay({ meshId, sessionId }, { signal })
          .catch((error) => log("debug", `giving a relay back: ${messageOf(error)}`))
      ),
    );
  }
}
