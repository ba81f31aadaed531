/**
 * moray in your tests: a mesh in memory, under a time of its own, without sockets.
 *
 * ```ts
 * import { TestMesh } from "./testing.ts";
 *
 * await using mesh = await TestMesh.start({ nodes: ["colony", "a", "b"] });
 * mesh.link("a", "colony", { delayMs: 80, loss: 0.02 });
 * mesh.cut("b", "colony");
 * console.log((await mesh.node("a").ping("colony")).rttMs, mesh.now);
 * ```
 *
 * @module
 */
export { TestMesh, type TestMeshOptions } from "./agent/memory/test_mesh.ts";
export type { LinkQuality } from "./agent/memory/memory_link.ts";
