import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { formatBase64 } from "../core/mod.ts";
import { publicKeyOf } from "../io/mod.ts";
import { generatePrivateKey } from "./key_file.ts";
import { MemberKeys } from "./member_keys.ts";
import { NodeStun } from "./node_stun.ts";
import type { CommandBody } from "./shared/mod.ts";

const NAMED = {
  stunServers: ["192.0.2.1:3478"],
  stunCredentials: { username: "user", password: "secret" },
};
const NOTHING = { stunServers: [], stunCredentials: undefined };
const FALLBACK = "198.51.100.9:3478";

Deno.test("NodeStun asks what is configured; Discovery's servers, with its credentials, where nothing is", async () => {
  const configured = await bench(["203.0.113.1:3478"]);
  assertEquals(await configured.stun.setDiscovery(NAMED), true);
  assertEquals(configured.servers(), [["203.0.113.1:3478", "configured", undefined]]);
  const discovered = await bench([]);
  assertEquals(await discovered.stun.setDiscovery(NAMED), true);
  assertEquals(discovered.servers(), [["192.0.2.1:3478", "discovery", "user"]]);
});

Deno.test("NodeStun adds the public server once nobody answers, not before, and once", async () => {
  const { stun, servers, commands } = await bench([]);
  await stun.setDiscovery(NAMED);
  assertEquals(servers().length, 1);
  stun.handleSilence();
  stun.handleSilence();
  await until(() => commands.length > 1);
  assertEquals(servers(), [
    ["192.0.2.1:3478", "discovery", "user"],
    [FALLBACK, "default", undefined],
  ]);
  assertEquals(commands.length, 2);
});

Deno.test("NodeStun asks the public server at once where there is no other", async () => {
  const { stun, servers, commands } = await bench([]);
  assertEquals(await stun.setDiscovery(NOTHING), false);
  await until(() => commands.length > 1);
  assertEquals(servers(), [[FALLBACK, "default", undefined]]);
});

Deno.test("NodeStun does not wait for a Discovery that does not answer", async () => {
  const configured = await bench(["203.0.113.1:3478"]);
  configured.stun.handleNoDiscovery();
  await until(() => configured.commands.length > 0);
  assertEquals(configured.servers(), [["203.0.113.1:3478", "configured", undefined]]);
  const without = await bench([]);
  without.stun.handleNoDiscovery();
  await until(() => without.commands.length > 1);
  assertEquals(without.servers(), [[FALLBACK, "default", undefined]]);
  // Once Discovery is back, its servers are asked as well.
  await without.stun.setDiscovery(NAMED);
  assertEquals(without.servers()[0], ["192.0.2.1:3478", "discovery", "user"]);
});

Deno.test("NodeStun introduces a peer with credentials, and nobody with a weak key", async () => {
  const { stun, commands } = await bench([]);
  const peer = formatBase64(await publicKeyOf(generatePrivateKey()));
  stun.introduce(formatBase64(new Uint8Array(32)));
  stun.introduce(peer);
  await until(() => commands.length > 0);
  const [only, ...others] = commands;
  assertEquals(others, []);
  assert(only?.kind === "setMember" && only.publicKey === peer);
});

Deno.test("NodeStun says nothing of a peer that went before its credentials were made", async () => {
  const { stun, commands } = await bench([]);
  const [gone, stays] = await Promise.all(
    [0, 0].map(async () => formatBase64(await publicKeyOf(generatePrivateKey()))),
  );
  assert(gone !== undefined && stays !== undefined);
  stun.introduce(gone);
  stun.forget(gone);
  stun.introduce(stays);
  await until(() => commands.length > 0);
  assertEquals(commands.map((command) => "publicKey" in command && command.publicKey), [stays]);
});

interface Bench {
  readonly stun: NodeStun;
  readonly commands: CommandBody[];
  /** The servers of the last command: address, origin, user. */
  servers(): unknown[];
}

async function bench(configured: readonly string[]): Promise<Bench> {
  const commands: CommandBody[] = [];
  const privateKey = generatePrivateKey();
  const publicKey = await publicKeyOf(privateKey);
  const keys = MemberKeys.open({ privateKey, publicKey, mesh: "reef" });
  await keys;
  const stun = new NodeStun({
    configured,
    keys,
    fallback: [FALLBACK],
    send: (command) => commands.push(command),
    refresh: () => Promise.resolve(),
    log: () => {},
    signal: new AbortController().signal,
  });
  return {
    stun,
    commands,
    servers: () => {
      const last = commands.findLast(({ kind }) => kind === "setStunServers");
      assert(last?.kind === "setStunServers");
      return last.servers.map((
        { address, origin, credentials },
      ) => [address, origin, credentials?.username]);
    },
  };
}

/** Waits until `condition` holds; throws after 10 s. */
async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error("It never comes");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
