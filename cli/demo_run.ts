/**
 * The demo: a whole mesh in one process.
 *
 * ```
 *   fetch -> SOCKS5 -> agent ==== WireGuard over UDP ==== colony -> web page
 *                        \____ Discovery + STUN + relay ____/
 * ```
 *
 * @module
 */
import {
  type IssuedInvite,
  type Log,
  type NodeHandle,
  type PathStatus,
  type PingReply,
  type RunningNode,
  startAgent,
  startColony,
} from "../agent/mod.ts";
import { messageOf, MorayError } from "../core/mod.ts";
import { relaySettings, startDiscoveryService } from "./discovery_relay.ts";

/** One finished step. */
export interface DemoStep {
  /** What was done. */
  readonly title: string;
  /** What came of it: an address, a path. */
  readonly detail: string;
  /** How long it took, in milliseconds. */
  readonly ms: number;
}

/** What the demo found, while everything still runs. */
export interface DemoResult {
  /** How the agent reaches the colony. */
  readonly path: PathStatus;
  /** The page that came through the tunnel. */
  readonly page: string;
  /** The page's address inside the mesh. */
  readonly url: string;
  /** The agent's SOCKS5 listener as `host:port`. */
  readonly socks5: string;
  /** The page's own listener as `host:port`. */
  readonly web: string;
  /** State directory of the agent, for `moray status`. */
  readonly agentState: string;
  /** State directory of the colony. */
  readonly colonyState: string;
}

/** A demo that has shown everything and still runs. */
export interface RunningDemo {
  /** What it found. */
  readonly result: DemoResult;
  /** Rejects if a part of it dies; resolves once it has stopped. */
  readonly finished: Promise<void>;
  /** Stops every part and removes the temporary directories. Safe to call twice. */
  stop(): Promise<void>;
}

/** How to run the demo. */
export interface DemoOptions {
  /** Called after each step. */
  readonly onStep: (step: DemoStep) => void;
  /** Monotonic clock in milliseconds. */
  readonly now: () => number;
  /** A number for the page, so that it cannot have come from anywhere else. */
  readonly ticket: string;
  /** Version of this build. */
  readonly version: string;
  /** Where the parts log. */
  readonly log: Log;
  /** Ends the demo between two steps when aborted. */
  readonly signal: AbortSignal;
}

/** Longest step in milliseconds. */
export const DEMO_STEP_MS_MAX = 15_000;

/** The mesh of the demo. */
const MESH = "reef";
/** The mesh port that leads to the page. */
const PAGE_PORT = 80;
/** The page's address inside the mesh. */
const PAGE_URL = "http://colony/";

/**
 * Runs the demo up to the page and its path.
 *
 * Rejects with `timedOut` if a step takes too long, and with what a step rejects with; everything is stopped then.
 */
export async function startDemo(options: DemoOptions): Promise<RunningDemo> {
  const parts = new AsyncDisposableStack();
  try {
    const { result, finished } = await showMesh(parts, options);
    return { result, finished, stop: () => parts.disposeAsync() };
  } catch (error) {
    await parts.disposeAsync();
    throw error;
  }
}

async function showMesh(
  parts: AsyncDisposableStack,
  options: DemoOptions,
): Promise<{ result: DemoResult; finished: Promise<void> }> {
  const { log } = options;
  const step = stepper(options);
  const directory = await Deno.makeTempDir({ prefix: "moray-demo-" });
  parts.defer(() => removeDirectory(directory));
  const colonyState = `${directory}/colony`;
  const agentState = `${directory}/agent`;

  const discovery = await step("Start Discovery, STUN and a relay", async () => {
    const loopback = { hostname: "127.0.0.1", port: 0 };
    const service = await startDiscoveryService({
      listen: loopback,
      stunListen: [loopback],
      store: ":memory:",
      version: options.version,
      log,
    }, relaySettings({ relay: true, relayListen: ["127.0.0.1:0"], relayAllowPrivatePeers: true }));
    parts.defer(() => service.stop());
    return { value: service, detail: service.url };
  });
  const expected = pageText(options.ticket);
  const webPort = await step("Serve a small web page", async () => {
    const server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () => new Response(expected),
    );
    parts.defer(() => server.shutdown());
    return await Promise.resolve({
      value: server.addr.port,
      detail: `http://127.0.0.1:${server.addr.port}/`,
    });
  });
  const mesh = { mesh: MESH, discovery: [discovery.url], wgPort: 0, portMapping: false, log };
  const colony = await step("Start node colony, expose the page", async () => {
    const exposed = { meshPort: PAGE_PORT, hostname: "127.0.0.1", port: webPort };
    const node = await startColony({ ...mesh, state: colonyState, exposes: [exposed] });
    parts.defer(() => node.stop());
    return { value: node, detail: await addressOf(node) };
  });
  const join = await step("Invite a node", async () => {
    const { invite } = await inviteOf(colony);
    return { value: invite, detail: "one string, which lets one node in" };
  });
  const agent = await step("Start node agent, join the mesh", async () => {
    const socks5 = { hostname: "127.0.0.1", port: 0 };
    const node = await startAgent({ ...mesh, name: "agent", join, state: agentState, socks5 });
    parts.defer(() => node.stop());
    return { value: node, detail: await addressOf(node) };
  });
  const path = await step("Find a path and shake hands", async () => {
    const { path } = await firstReply(agent, options.signal);
    return { value: path, detail: formatPath(path) };
  });
  const socks5 = listenerOf(agent, "socks5");
  const page = await step("Fetch the page through the tunnel", async () => {
    const text = await fetchThrough(socks5);
    return { value: text, detail: `${PAGE_URL} via SOCKS5 ${socks5}` };
  });
  if (page !== expected) {
    throw new MorayError(
      "internal",
      `The page came through the tunnel changed: ${page.length} characters instead of ` +
        `${expected.length}`,
    );
  }
  const finished = Promise.race([discovery.finished, colony.finished, agent.finished]);
  const web = `127.0.0.1:${webPort}`;
  const result = { path, page, url: PAGE_URL, socks5, web, agentState, colonyState };
  return { result, finished };
}

/** Life of the demo's invite, in milliseconds. */
const INVITE_LIFE_MS = 600_000;

async function inviteOf({ membership }: RunningNode): Promise<IssuedInvite> {
  if (membership === undefined) throw new MorayError("internal", "The colony knows no members");
  return await membership.invite({ name: "agent", lifeMs: INVITE_LIFE_MS });
}

/** The page: it shows that it was made for this run. */
function pageText(ticket: string): string {
  return [
    "Hello from the reef!",
    "",
    "You read this through an encrypted WireGuard tunnel between two nodes",
    "that had never heard of each other a second ago. No root, no kernel",
    "module, no port opened by hand: only UDP packets that look like noise.",
    "",
    `Ticket of this visit: ${ticket}`,
    "",
  ].join("\n");
}

/** Does a step, and returns its value. */
type Stepper = <T>(
  title: string,
  work: () => Promise<{ value: T; detail: string }>,
) => Promise<T>;

/** Returns a function that does a step, times it, reports it, and gives up on it when it takes too long. */
function stepper({ onStep, now, signal }: DemoOptions): Stepper {
  return async <T>(
    title: string,
    work: () => Promise<{ value: T; detail: string }>,
  ): Promise<T> => {
    signal.throwIfAborted();
    const startedAt = now();
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      const limit = `${DEMO_STEP_MS_MAX / 1000} s`;
      late.reject(
        new MorayError(
          "timedOut",
          `Demo step "${title}" took longer than ${limit}; run it with --log-level debug to see why`,
        ),
      );
    }, DEMO_STEP_MS_MAX);
    const abort = () => late.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      const { value, detail } = await Promise.race([work(), late.promise]);
      onStep({ title, detail, ms: now() - startedAt });
      return value;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    }
  };
}

/** How long one echo may take before the next is sent, in milliseconds. */
const ECHO_MS_MAX = 1000;
/** Pause before the peer is asked for again while the node does not know it yet, in milliseconds. */
const RETRY_MS = 50;

/** Answers that may come over the relay, which is often there first, before that is shown as the path. */
const RELAYED_ANSWERS_MAX = 40;

/**
 * Sends echoes until one is answered: it makes the handshake. Then one more, whose time is that of the path alone; more while
 * they go over the relay, since the nodes are about to find the direct way.
 */
async function firstReply(
  agent: NodeHandle,
  signal: AbortSignal,
): Promise<{ path: PathStatus }> {
  let answered = 0;
  for (let sequence = 1; !signal.aborted; sequence++) {
    const reply = await echo(agent, sequence);
    if (reply === undefined || reply.rttMs === null || ++answered < 2) continue;
    if (reply.path.kind === "direct" || answered > RELAYED_ANSWERS_MAX) {
      return { path: { ...reply.path, rttMs: reply.rttMs } };
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  throw signal.reason;
}

async function echo(agent: NodeHandle, sequence: number): Promise<PingReply | undefined> {
  try {
    return await agent.ping("colony", { sequence, timeoutMs: ECHO_MS_MAX });
  } catch (error) {
    if (!(error instanceof MorayError) || error.code !== "unreachable") throw error;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    return undefined;
  }
}

async function fetchThrough(socks5: string): Promise<string> {
  // socks5h: the name `colony` travels to the agent, which alone knows it.
  using client = Deno.createHttpClient({ proxy: { url: `socks5h://${socks5}` } });
  try {
    const response = await fetch(PAGE_URL, { client });
    if (response.ok) return await response.text();
    throw new MorayError("refused", `The page answered with status ${response.status}`);
  } catch (error) {
    if (error instanceof MorayError) throw error;
    throw new MorayError(
      "unreachable",
      `The page cannot be fetched through the tunnel: ${messageOf(error)}`,
      error,
    );
  }
}

async function addressOf(node: RunningNode): Promise<string> {
  const { node: { meshIpv4, meshIpv6 } } = await node.status();
  return meshIpv4 ?? meshIpv6 ?? "no address yet";
}

/** The address behind `kind=` among what a node listens on. */
function listenerOf(node: RunningNode, kind: string): string {
  const prefix = `${kind}=`;
  const found = node.listening.find((entry) => entry.startsWith(prefix));
  if (found === undefined) throw new MorayError("internal", `The node listens on no ${kind}`);
  return found.slice(prefix.length);
}

/** Formats a path: `direct 127.0.0.1:40112`. */
function formatPath({ kind, remote, relay }: PathStatus): string {
  return relay === null ? `${kind} ${remote ?? ""}`.trim() : `${kind} via ${relay}`;
}

async function removeDirectory(directory: string): Promise<void> {
  try {
    await Deno.remove(directory, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
