/** Discovery, a colony with a web server behind it, and an agent with a SOCKS5 port: the mesh that most tests run on. @module */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { NodeStatus } from "../../agent/status.ts";
import { startWebServer } from "./http.ts";
import { Moray, moray, type MorayOptions, type Program } from "./moray.ts";
import { eventually, type Scope } from "./scope.ts";

/** Where the three parts run and how they hear of each other. */
export interface MeshOptions {
  /** Which program. */
  readonly program: Program;
  /** Addresses that Discovery listens on, `H:P`. */
  readonly discovery: { readonly listen: string; readonly stunListen: string };
  /** Base URL that nodes use. Absent: the one of the ready line. */
  readonly url?: string;
  /** Namespaces. Absent: ours, for all three. */
  readonly namespaces?: {
    readonly discovery: string;
    readonly colony: string;
    readonly agent: string;
  };
  /** Additional flags of both nodes. @default [] */
  readonly nodeFlags?: readonly string[];
}

/** A running mesh. */
export interface Mesh {
  /** The service. */
  readonly discovery: Moray;
  /** The colony; port 8080 inside the mesh is its web server. */
  readonly colony: Moray;
  /** The agent; `socks5=` and `forward=` are in its ready line. */
  readonly agent: Moray;
  /** The web server behind the colony, as the colony addresses it. */
  readonly web: string;
  /** State directories. */
  readonly state: { readonly colony: string; readonly agent: string };
  /** The mesh id. */
  readonly name: string;
  /** The status of one of the two nodes. */
  status(node: "colony" | "agent"): Promise<NodeStatus>;
  /** Runs a command that talks to a running node. */
  command(node: "colony" | "agent", args: readonly string[]): ReturnType<typeof moray>;
}

const MESH_PORT = "8080";

/** Starts all of it. Everything ends with the scope. */
export async function startMesh(scope: Scope, options: MeshOptions): Promise<Mesh> {
  const { program, namespaces, nodeFlags = [] } = options;
  const place = (node: "discovery" | "colony" | "agent"): MorayOptions => ({
    program,
    ...(namespaces === undefined ? {} : { namespace: namespaces[node] }),
  });
  const name = "reef";
  const { listen, stunListen } = options.discovery;
  const discovery = scope.use(
    await Moray.start(
      ["discovery", "--listen", listen, "--stun-listen", stunListen, "--store", ":memory:"],
      place("discovery"),
    ),
  );
  const web = await startWebServer(scope, place("colony"));
  const state = { colony: scope.directory(), agent: scope.directory() };
  const joining = ["--mesh", name, "--discovery", options.url ?? urlOf(discovery), ...nodeFlags];
  const colony = scope.use(
    await Moray.start(
      ["colony", "--open", ...joining, "--state", state.colony, "--expose", `${MESH_PORT}:${web}`],
      place("colony"),
    ),
  );
  const agent = scope.use(
    await Moray.start([
      "agent",
      ...joining,
      "--state",
      state.agent,
      "--name",
      "walker",
      "--socks5",
      "127.0.0.1:0",
      "--forward",
      `127.0.0.1:0:colony:${MESH_PORT}`,
    ], place("agent")),
  );
  for (const [node, part] of Object.entries({ discovery, colony, agent })) {
    scope.explain(async () => {
      const status = node === "discovery"
        ? undefined
        : await moray(["status", "--json", "--state", state[node as "agent"]], {
          ...place(node as "agent"),
          timeoutMs: 3_000,
        }).catch((error) => ({ stdout: "", stderr: String(error) }));
      const text = status === undefined ? "" : status.stdout + status.stderr;
      return `--- ${node}\n${part.child.log.slice(-4_000)}\n${text}`;
    });
  }
  const command: Mesh["command"] = (node, args) =>
    moray([...args, "--state", state[node]], place(node));
  return {
    discovery,
    colony,
    agent,
    web,
    state,
    name,
    command,
    async status(node): Promise<NodeStatus> {
      const { code, stdout, stderr } = await command(node, ["status", "--json"]);
      assertEquals(code, 0, stderr);
      return JSON.parse(stdout) as NodeStatus;
    },
  };
}

/** The base URL in the ready line of `moray discovery`. */
export function urlOf(discovery: Moray): string {
  const url = /https?:\/\/[^\s,]+/.exec(discovery.ready)?.[0];
  if (url !== undefined) return url;
  const [secure] = discovery.addresses("https");
  if (secure !== undefined) return `https://${secure}`;
  const [address] = ["http", "listen"].flatMap((key) => discovery.addresses(key));
  if (address === undefined) throw new Error(`No address of the service in: ${discovery.ready}`);
  return `http://${address}`;
}

/** Resolves with the status of a node once its only peer is reached directly; rejects after 15 s. */
export function directStatus(mesh: Mesh, node: "colony" | "agent"): Promise<NodeStatus> {
  return eventually(`${node} to reach its peer directly`, async () => {
    const status = await mesh.status(node);
    return status.peers[0]?.path.kind === "direct" ? status : undefined;
  }, { timeoutMs: 15_000, everyMs: 500 });
}

/** Checks that a status has the shape that DESIGN.md 2.9 promises to programs. */
export function assertStatusShape(status: NodeStatus): void {
  const string = (value: unknown): boolean => typeof value === "string";
  const number = (value: unknown): boolean => typeof value === "number" && Number.isFinite(value);
  const orNull = (check: (value: unknown) => boolean) => (value: unknown): boolean =>
    value === null || check(value);
  const { node, discovery, peers, counters } = status;
  expectFields(node, { name: string, publicKey: isKey, datapath: string });
  expectFields(node, { meshIpv4: orNull(string), meshIpv6: orNull(string) });
  expectFields(node.nat, { mapping: string, filtering: string, hint: string });
  assert(node.endpoints.every(string), "node.endpoints");
  if (discovery !== null) {
    expectFields(discovery, { url: string, connected: (value) => typeof value === "boolean" });
  }
  for (const peer of peers) {
    expectFields(peer, { name: string, publicKey: isKey, rxBytes: number, txBytes: number });
    expectFields(peer, {
      meshIpv4: orNull(string),
      meshIpv6: orNull(string),
      reason: orNull(string),
    });
    expectFields(peer, { lastHandshakeAt: orNull(isTime) });
    const kind = (value: unknown): boolean => ["direct", "relayed", "none"].includes(String(value));
    expectFields(peer.path, { kind, remote: orNull(string), relay: orNull(string) });
    expectFields(peer.path, { rttMs: orNull(number), mtu: orNull(number) });
  }
  assert(Object.values(counters).every(number), "counters");
}

function expectFields(object: object, checks: Record<string, (value: unknown) => boolean>): void {
  for (const [name, check] of Object.entries(checks)) {
    const value = (object as Record<string, unknown>)[name];
    assert(check(value), `${name} is ${JSON.stringify(value)}`);
  }
}

function isKey(value: unknown): boolean {
  return typeof value === "string" && /^[A-Za-z0-9+/]{43}=$/.test(value);
}

function isTime(value: unknown): boolean {
  return typeof value === "string" && !Number.isNaN(Date.parse(value)) && value.includes("T");
}
