/** A mesh in this process, over the loopback interface: Discovery, a colony and an agent, as a program embeds them. @module */
import { Node, type NodeOptions } from "../../agent/embed/mod.ts";
import { startDiscovery } from "../../discovery/mod.ts";

/** A running mesh. */
export interface EmbeddedMesh extends AsyncDisposable {
  /** The colony. */
  readonly colony: Node;
  /** An agent, named `walker`. */
  readonly agent: Node;
  /** Starts another agent; it ends with the mesh. */
  join(options?: Partial<NodeOptions>): Promise<Node>;
}

/** Starts one. */
export async function startEmbeddedMesh(): Promise<EmbeddedMesh> {
  await using stack = new AsyncDisposableStack();
  const local = { hostname: "127.0.0.1", port: 0 };
  const discovery = stack.use(
    await startDiscovery({ listen: local, stunListen: [local], store: ":memory:", log: () => {} }),
  );
  const common = { mesh: "reef", discovery: discovery.url, portMapping: false };
  const colony = stack.use(await Node.start({ ...common, role: "colony", open: true }));
  const join = async (options: Partial<NodeOptions> = {}): Promise<Node> =>
    kept.use(await Node.start({ ...common, ...options }));
  const kept = new AsyncDisposableStack();
  stack.use(kept);
  const agent = await join({ name: "walker" });
  const all = stack.move();
  return { colony, agent, join, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
