import { deepStrictEqual as assertEquals, ok, rejects } from "node:assert/strict";
import { MorayError } from "../core/mod.ts";
import { connectLocalApi, startLocalApi } from "./local_api.ts";
import { writeAll } from "./splice.ts";
import { nodeReport } from "./netcheck/report.ts";
import type { NodeHandle, NodeStatus, PathStatus, PingReply } from "./status.ts";

const PATH: PathStatus = {
  kind: "direct",
  remote: "192.0.2.1:1",
  relay: null,
  rttMs: 1,
  mtu: 1420,
};
const STATUS: NodeStatus = {
  node: {
    name: "web",
    publicKey: "AA==",
    meshIpv4: null,
    meshIpv6: "fd00::1",
    nat: { mapping: "unknown", filtering: "unknown", hint: "NAT_UNKNOWN" },
    endpoints: [],
    candidates: [],
    datapath: "portable",
    cipher: "wasm",
    tun: null,
  },
  discovery: null,
  peers: [],
  counters: {},
};

const NETCHECK = nodeReport({
  families: {},
  stunServers: [{
    server: "192.0.2.1:1",
    origin: "peer",
    rttMs: 1,
    mapped: "192.0.2.2:2",
    reason: null,
  }],
  hint: "NAT_CONE",
  discovery: { url: "http://d", connected: true },
  portMapping: null,
  relays: [],
});

const NODE: NodeHandle = {
  status: () => Promise.resolve(STATUS),
  netcheck: () => Promise.resolve(NETCHECK),
  ping(peer, { sequence, timeoutMs }): Promise<PingReply> {
    if (peer === "nobody") {
      return Promise.reject(new MorayError("unreachable", "No peer is called nobody"));
    }
    if (peer === "bug") return Promise.reject(new TypeError("x is not a function"));
    return Promise.resolve({ sequence, rttMs: timeoutMs, path: PATH, reason: null });
  },
};
const log = (): void => {};

Deno.test("a command reads status and pings through the socket", async () => {
  await withState(async (state) => {
    const api = await startLocalApi({ state, node: NODE, log });
    assertEquals([api.path, modeOf(api.path)], [`${state}/api.sock`, 0o600]);
    using node = await connectLocalApi(state);
    assertEquals(await node.status(), STATUS);
    assertEquals(await node.netcheck(), NETCHECK);
    const replies = await Promise.all(
      [1, 2, 3].map((sequence) => node.ping("web", { sequence, timeoutMs: 10 })),
    );
    assertEquals(
      replies,
      [1, 2, 3].map((sequence) => ({ sequence, rttMs: 10, path: PATH, reason: null })),
    );
    await rejects(node.ping("nobody", { sequence: 1, timeoutMs: 10 }), {
      name: "MorayError",
      code: "unreachable",
      message: "No peer is called nobody",
    });
    await rejects(node.ping("bug", { sequence: 1, timeoutMs: 10 }), { code: "internal" });
    await rejects(node.ping("", { sequence: 1, timeoutMs: 10 }), { code: "usage" });
    assertEquals(await node.status(), STATUS);
    node[Symbol.dispose]();
    await rejects(node.status(), { code: "closed" });
    await api.stop();
  });
});

Deno.test("who watches hears of a change at once, and of none in its time", async () => {
  await withState(async (state) => {
    const waits: { ms: number; wake: () => void }[] = [];
    const changes = {
      changeWithin(ms: number): Promise<void> {
        return new Promise((wake) => waits.push({ ms, wake }));
      },
    };
    const api = await startLocalApi({ state, node: NODE, changes, log });
    using node = await connectLocalApi(state);
    let told: NodeStatus | undefined;
    const waiting = node.nextStatus({ timeoutMs: 60_000 }).then((status) => told = status);
    // Another client is not held up by it.
    using other = await connectLocalApi(state);
    while (waits.length === 0) await other.status();
    assertEquals([waits.map(({ ms }) => ms), told], [[60_000], undefined]);
    waits[0]?.wake();
    assertEquals(await waiting, STATUS);
    await rejects(node.nextStatus({ timeoutMs: 0 }), { code: "usage" });
    await rejects(node.nextStatus({ timeoutMs: 60_001 }), { code: "usage" });
    node[Symbol.dispose]();
    other[Symbol.dispose]();
    await api.stop();
  });
  await withState(async (state) => {
    const api = await startLocalApi({ state, node: NODE, log });
    using node = await connectLocalApi(state);
    assertEquals(await node.nextStatus({ timeoutMs: 1 }), STATUS);
    node[Symbol.dispose]();
    await api.stop();
  });
});

Deno.test("a status of most of a megabyte arrives whole", async () => {
  await withState(async (state) => {
    const counters = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`n${i}`, i]));
    const status = (): Promise<NodeStatus> => Promise.resolve({ ...STATUS, counters });
    const api = await startLocalApi({ state, node: { ...NODE, status }, log });
    using node = await connectLocalApi(state);
    assertEquals((await node.status()).counters, counters);
    node[Symbol.dispose]();
    await api.stop();
  });
});

Deno.test("connectLocalApi says that no node is running, whatever is missing", async () => {
  await withState(async (state) => {
    const none = (path: string): object => ({
      code: "unreachable",
      message: `No node is running with --state ${path}`,
    });
    await rejects(connectLocalApi(`${state}/none`), none(`${state}/none`));
    await rejects(connectLocalApi(state), none(state));
    const api = await startLocalApi({ state, node: NODE, log });
    await api.stop();
    await rejects(connectLocalApi(state), none(state));
    assertEquals(namesIn(state), ["api.lock"]);
  });
});

Deno.test("a second node with the same state is refused, whichever was first", async () => {
  await withState(async (state) => {
    const starts = await Promise.allSettled(
      Array.from({ length: 4 }, () => startLocalApi({ state, node: NODE, log })),
    );
    const started = starts.flatMap((start) => start.status === "fulfilled" ? [start.value] : []);
    const refused = starts.flatMap((start) => start.status === "rejected" ? [start.reason] : []);
    assertEquals(started.length, 1);
    for (const { code, message } of refused) {
      assertEquals([code, message], [
        "portInUse",
        `Another moray is running with --state ${state}`,
      ]);
    }
    using node = await connectLocalApi(state);
    assertEquals(await node.status(), STATUS);
    node[Symbol.dispose]();
    await Promise.all(started.map((api) => api.stop()));
  });
});

Deno.test("the socket of a killed process is replaced", async () => {
  await withState(async (state) => {
    const script = `Deno.listen({ transport: "unix", path: Deno.args[0] });
      console.log("ready");
      setInterval(() => {}, 1000);`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", script, `${state}/api.sock`],
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    await rejects(startLocalApi({ state, node: NODE, log }), { code: "portInUse" });
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    ok((await Deno.lstat(`${state}/api.sock`)).isSocket);
    await rejects(connectLocalApi(state), { code: "unreachable" });
    const api = await startLocalApi({ state, node: NODE, log });
    using node = await connectLocalApi(state);
    assertEquals(await node.status(), STATUS);
    node[Symbol.dispose]();
    await api.stop();
  });
});

Deno.test("a state directory with a long path works through a link to a private place", async () => {
  await withState(async (directory) => {
    const state = `${directory}/${"long".repeat(30)}`;
    const api = await startLocalApi({ state, node: NODE, log });
    ok(api.path.length <= 103 && !api.path.startsWith(directory));
    assertEquals(await Deno.readLink(`${state}/api.sock`), api.path);
    assertEquals(modeOf(api.path.replace(/\/[^/]*$/, "")), 0o700);
    await rejects(startLocalApi({ state, node: NODE, log }), { code: "portInUse" });
    using node = await connectLocalApi(state);
    assertEquals(await node.status(), STATUS);
    node[Symbol.dispose]();
    await api.stop();
    assertEquals(namesIn(state), ["api.lock"]);
    await rejects(Deno.lstat(api.path), Deno.errors.NotFound);
  });
});

Deno.test("nonsense on the socket is answered with an error, too much of it ends the connection", async () => {
  await withState(async (state) => {
    const api = await startLocalApi({ state, node: NODE, log });
    const nonsense = await talk(api.path, "{}\n\n[\n");
    const id =
      '{"id":null,"error":{"code":"usage","message":"A request needs an id: a number from 0"}}';
    const none =
      '{"id":null,"error":{"code":"usage","message":"A request is a JSON object in one line"}}';
    assertEquals(nonsense, `${id}\n${none}\n`);
    const long = await talk(api.path, "x".repeat(65_537));
    assertEquals(
      long,
      '{"id":null,"error":{"code":"limit","message":"A request is longer than 65536 bytes"}}\n',
    );
    using node = await connectLocalApi(state);
    assertEquals(await node.status(), STATUS);
    node[Symbol.dispose]();
    await api.stop();
  });
});

Deno.test("a node that ends while it is asked says so", async () => {
  await withState(async (state) => {
    const asked = Promise.withResolvers<void>();
    const status = (): Promise<NodeStatus> => {
      asked.resolve();
      return Promise.withResolvers<NodeStatus>().promise;
    };
    const api = await startLocalApi({ state, node: { ...NODE, status }, log });
    using node = await connectLocalApi(state);
    const answer = rejects(node.status(), { code: "closed" });
    await asked.promise;
    await api.stop();
    await answer;
  });
});

/** Sends text, ends the direction, and returns everything that comes back. */
async function talk(path: string, text: string): Promise<string> {
  using conn = await Deno.connect({ transport: "unix", path });
  await writeAll(conn, new TextEncoder().encode(text));
  await conn.closeWrite();
  return await new Response(conn.readable).text();
}

async function withState(act: (state: string) => Promise<void>): Promise<void> {
  const state = await Deno.realPath(await Deno.makeTempDir());
  try {
    await act(state);
  } finally {
    await Deno.remove(state, { recursive: true });
  }
}

function modeOf(path: string): number {
  return (Deno.statSync(path).mode ?? 0) & 0o777;
}

function namesIn(directory: string): string[] {
  return Array.from(Deno.readDirSync(directory), (entry) => entry.name);
}
