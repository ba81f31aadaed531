/**
 * `watch_herd.ts MESHES NODES FIRST URL URL`: registers NODES nodes in each of MESHES meshes, which prove their keys and sign
 * their records, and keeps their Watch streams open. Prints a line of JSON, {@linkcode HerdReport}, whenever something has changed.
 *
 * Each mesh is a site of its own, 127.0.0.FIRST and on, as Discovery's limits are per address.
 *
 * @module
 */
import { formatBase64 } from "../../core/mod.ts";
import { DiscoveryClient } from "../../discovery/mod.ts";
import type { Identity } from "../../discovery/client/prover.ts";
import { freshIdentity } from "../../discovery/testing/identity.ts";
import { say } from "./say.ts";

/** Time that a call may take: the nodes share a process, whose work must not count as the server's silence. */
const CALL_MS = 10_000;
const REPORT_MS = 100;

/** What became of a herd. */
export interface HerdReport {
  /** Streams that stand at each URL. */
  readonly standing: Readonly<Record<string, number>>;
  /** When the last of them began to, in unix milliseconds; 0 if none stands. */
  readonly lastAt: number;
  /** Fewest and most peers that a colony, and that an agent, knows. */
  readonly known: Readonly<Record<"colony" | "agent", readonly [number, number]>>;
}

/** A node as Discovery sees it. */
class HerdNode {
  readonly role: "colony" | "agent";
  readonly known = new Set<string>();
  stands: { readonly url: string; readonly since: number } | undefined;
  readonly #key: { readonly meshId: string; readonly publicKey: string };
  readonly #client: DiscoveryClient;

  constructor(
    { role, meshId, identity, urls, http }: {
      readonly role: "colony" | "agent";
      readonly meshId: string;
      readonly identity: Identity;
      readonly urls: readonly string[];
      readonly http: Deno.HttpClient;
    },
  ) {
    this.role = role;
    this.#key = { meshId, publicKey: formatBase64(identity.publicKey) };
    this.#client = new DiscoveryClient({
      urls,
      identity,
      log: () => {},
      timeoutMs: CALL_MS,
      fetch: (input, init) => fetch(input, { ...init, client: http }),
    });
  }

  async register(): Promise<void> {
    const endpoints = [{ hostname: "192.0.2.1", port: 51820 }];
    await this.#client.register({ ...this.#key, role: this.role, endpoints });
  }

  async watch(): Promise<void> {
    await this.#client.watch({
      ...this.#key,
      signal: new AbortController().signal,
      onEvent: (event) => {
        if (event.kind === "upserted") this.known.add(event.peer.publicKey);
        else if (event.kind === "removed") this.known.delete(event.publicKey);
      },
      onState: (state) => {
        this.stands = state.connected ? { url: state.url, since: Date.now() } : undefined;
      },
    });
  }
}

function report(nodes: readonly HerdNode[]): HerdReport {
  const standing: Record<string, number> = {};
  for (const { stands } of nodes) {
    if (stands !== undefined) standing[stands.url] = (standing[stands.url] ?? 0) + 1;
  }
  const sizes = (role: string): [number, number] => {
    const all = nodes.filter((node) => node.role === role).map(({ known }) => known.size);
    return [Math.min(...all), Math.max(...all)];
  };
  return {
    standing,
    lastAt: Math.max(0, ...nodes.map(({ stands }) => stands?.since ?? 0)),
    known: { colony: sizes("colony"), agent: sizes("agent") },
  };
}

if (import.meta.main) {
  const [meshes = 0, perMesh = 0, first = 0] = Deno.args.slice(0, 3).map(Number);
  const urls = Deno.args.slice(3);
  const nodes: HerdNode[] = [];
  await Promise.all(Array.from({ length: meshes }, async (_, mesh) => {
    const http = Deno.createHttpClient({ localAddress: `127.0.0.${first + mesh}` });
    const meshId = `mesh${first + mesh}`;
    for (let i = 0; i < perMesh; i++) {
      const identity = await freshIdentity();
      // Half of the nodes prefer either server.
      const order = i % 2 === 0 ? urls : urls.toReversed();
      const role = i === 0 ? "colony" : "agent";
      const node = new HerdNode({ role, meshId, identity, urls: order, http });
      nodes.push(node);
      await node.register();
    }
  }));
  for (const node of nodes) void node.watch();
  let last = "";
  setInterval(() => {
    const line = JSON.stringify(report(nodes));
    if (line !== last) say(line);
    last = line;
  }, REPORT_MS);
}
