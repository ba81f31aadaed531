import { deepStrictEqual as assertEquals, ok, rejects, throws } from "node:assert/strict";
import { MorayError } from "../core/mod.ts";
import { type Command, type DatapathEvent, FrameOutbox, SharedArena } from "./shared/mod.ts";
import { DatapathClient, LISTENERS_MAX, type NodeEvent, TunnelNetwork } from "./tunnel_network.ts";

/** A network whose worker is this test: it takes the commands and says the events itself. */
function bench(): {
  readonly client: DatapathClient;
  readonly network: TunnelNetwork;
  readonly worker: SharedArena;
  readonly heard: NodeEvent[];
  readonly commands: () => Command[];
  readonly say: (...events: DatapathEvent[]) => void;
} {
  const arena = SharedArena.create();
  const worker = SharedArena.attach(arena.buffer);
  const outbox = new FrameOutbox(worker.events);
  const heard: NodeEvent[] = [];
  const client = new DatapathClient({
    arena,
    wake: () => {},
    onEvent: (event) => heard.push(event),
  });
  const network = new TunnelNetwork({ client, resolve: (name) => `<${name}>` });
  return {
    client,
    network,
    worker,
    heard,
    commands(): Command[] {
      worker.answerWorkerBell();
      const all: Command[] = [];
      for (let c; (c = worker.commands.popJson()) !== undefined;) all.push(c as Command);
      return all;
    },
    say(...events): void {
      for (const event of events) ok(outbox.send(event));
      if (worker.ringMain()) client.handleWake();
    },
  };
}

const isError = (code: string, message: string) => (error: unknown): boolean => {
  assertEquals([(error as MorayError).code, (error as MorayError).message], [code, message]);
  return error instanceof MorayError;
};

Deno.test("DatapathClient gives each reply to its command, in any order", async () => {
  const { client, commands, say } = bench();
  const ping = client.send({ kind: "ping", address: "10.42.0.2", sequence: 1, timeoutMs: 100 });
  const remove = client.send({ kind: "removePeer", publicKey: "k" });
  const [first, second] = commands();
  ok(first !== undefined && second !== undefined);
  assertEquals([first.kind, second.kind, first.id === second.id], ["ping", "removePeer", false]);
  say(
    { kind: "reply", id: 999, ok: true },
    { kind: "reply", id: second.id, ok: false, code: "unreachable", message: "no such peer" },
    { kind: "reply", id: first.id, ok: true, value: 1.5 },
    { kind: "reply", id: first.id, ok: true, value: 2 },
  );
  await rejects(remove, isError("unreachable", "no such peer"));
  assertEquals(await ping, 1.5);
});

Deno.test("DatapathClient hands events on, and ends with a fatal one", async () => {
  const { client, network, heard, say } = bench();
  const pending = rejects(
    client.send({ kind: "status" }),
    isError("closed", "The node is closed: engine trap"),
  );
  const listener = network.listen(80);
  const accepting = rejects(
    listener.accept(),
    isError("closed", "The node is closed: engine trap"),
  );
  say({ kind: "peerLost", publicKey: "k" }, { kind: "fatal", message: "engine trap" });
  await Promise.all([pending, accepting]);
  assertEquals(heard.map(({ kind }) => kind), ["peerLost", "fatal"]);
  throws(() => network.listen(81), isError("closed", "The node is closed: engine trap"));
  say({ kind: "peerLost", publicKey: "k" });
  assertEquals(heard.length, 2);
  client.close();
});

Deno.test("DatapathClient refuses a command that is too long, and more than wait at most", async () => {
  const { client, commands } = bench();
  const servers = [{ address: `[::1]:${"9".repeat(1 << 20)}`, origin: "configured" }];
  const refused = "Too many or too long commands: setStunServers";
  await rejects(client.send({ kind: "setStunServers", servers }), isError("limit", refused));
  const settled: Promise<unknown>[] = [];
  for (let n = 0; n < 4096; n++) {
    settled.push(client.send({ kind: "linkChanged" }));
    if (n % 1000 === 0) commands();
  }
  const tooMany = "Too many or too long commands: linkChanged";
  await rejects(client.send({ kind: "linkChanged" }), isError("limit", tooMany));
  assertEquals(client.commandsRefused, 2);
  client.close();
  const results = await Promise.allSettled(settled);
  assertEquals(results.every(({ status }) => status === "rejected"), true);
});

Deno.test("TunnelNetwork names the address in every failure to connect", async () => {
  const { network, commands, say } = bench();
  const connecting = network.connect({ hostname: "fd00::7", port: 443 });
  const [command] = commands();
  ok(command?.kind === "connectStream");
  assertEquals(command.remote, "[fd00::7]:443");
  const message = "no peer has this address";
  say({ kind: "reply", id: command.id, ok: false, code: "unreachable", message });
  await rejects(
    connecting,
    isError("unreachable", "Cannot connect to [fd00::7]:443: no peer has this address"),
  );
  assertEquals(network.resolve("colony"), "<colony>");
});

Deno.test("TunnelNetwork refuses ports that are wrong, taken, or too many", () => {
  const { network } = bench();
  for (const port of [0, -1, 65536, 1.5, NaN]) {
    throws(
      () => network.listen(port),
      isError("usage", `Cannot listen on mesh port ${port}: not 1 to 65535`),
    );
  }
  const first = network.listen(1);
  throws(
    () => network.listen(1),
    isError("portInUse", "Cannot listen on mesh port 1: it is in use"),
  );
  for (let port = 2; port <= LISTENERS_MAX; port++) network.listen(port);
  throws(
    () => network.listen(1000),
    isError("limit", "Cannot listen on mesh port 1000: 256 ports are listened on"),
  );
  first.close();
  network.listen(1000);
});

Deno.test("TunnelNetwork resets what nobody listens for, and what has no address", () => {
  const { network, worker, say } = bench();
  const listener = network.listen(80);
  const ends = { remote: "10.42.0.2:50000", local: "10.42.0.1:80" };
  say(
    { kind: "accepted", port: 81, slot: 0, ...ends },
    { kind: "accepted", port: 80, slot: 1, ...ends, remote: "nonsense" },
    { kind: "accepted", port: 80, slot: 2, ...ends },
  );
  assertEquals([0, 1, 2].map((index) => worker.slot(index).mainFlags), [6, 6, 0]);
  assertEquals(network.counters.acceptsUnclaimed, 2);
  const reset: number[] = [];
  worker.takeDirtyForWorker(({ index }) => reset.push(index));
  assertEquals(reset.sort(), [0, 1]);
  listener.close();
  assertEquals(worker.slot(2).mainFlags, 6);
});
