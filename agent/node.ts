/** Starts the three kinds of node. @module */
import { startMeshNode } from "./mesh_node.ts";
import type { MeshNodeOptions, RunningNode } from "./options.ts";

export { startWireGuard } from "./wireguard_node.ts";

/**
 * Starts the colony of a mesh: the node that every agent talks to. Resolves when it listens and is registered.
 *
 * Rejects with `MorayError`: `usage` (mesh id or name), `key` (key file), `portInUse`, `permission`, `unreachable` (Discovery
 * does not answer), `refused` (another key holds the mesh), `diskFull`.
 */
export function startColony(options: MeshNodeOptions): Promise<RunningNode> {
  return startMeshNode("colony", options);
}

/**
 * Starts an agent. Resolves when it listens, is registered, and has looked for its colony once; it connects by itself
 * as soon as the colony is there. Rejects as {@linkcode startColony} does.
 */
export function startAgent(options: MeshNodeOptions): Promise<RunningNode> {
  return startMeshNode("agent", options);
}
