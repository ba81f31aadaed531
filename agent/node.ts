/** Starts the three kinds of node. Each loads when it is started: not every program that names them starts them all. @module */
import type { Role } from "./mesh_peers.ts";
import type { MeshNodeOptions, RunningNode, WireGuardNodeOptions } from "./options.ts";

/**
 * Starts the colony of a mesh: the node that every agent talks to. Resolves when it listens and is registered.
 *
 * Rejects with `MorayError`: `usage` (mesh id or name), `key` (key file), `portInUse`, `permission`, `unreachable` (Discovery
 * does not answer), `refused` (another key holds the mesh), `diskFull`.
 */
export async function startColony(options: MeshNodeOptions): Promise<RunningNode> {
  return await startMeshNode("colony", options);
}

/**
 * Starts an agent. Resolves when it listens, is registered, and has looked for its colony once; it connects by itself
 * as soon as the colony is there. Rejects as {@linkcode startColony} does.
 */
export async function startAgent(options: MeshNodeOptions): Promise<RunningNode> {
  return await startMeshNode("agent", options);
}

/** Starts a peer. Rejects with `config` (naming file and line), `portInUse`, `unreachable` (a name in an endpoint) or `limit`. */
export async function startWireGuard(options: WireGuardNodeOptions): Promise<RunningNode> {
  const wireguard = await import("./wireguard_node.ts");
  return await wireguard.startWireGuard(options);
}

/** Starts a node of a mesh. Its Worker loads while this thread loads the rest, which takes longer. */
async function startMeshNode(role: Role, options: MeshNodeOptions): Promise<RunningNode> {
  const { LoadingDatapath } = await import("./datapath/loading.ts");
  using loading = LoadingDatapath.begin();
  const mesh = await import("./mesh_node.ts");
  return await mesh.startMeshNode(role, options, loading);
}
