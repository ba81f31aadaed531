import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { formatBase64, MorayError } from "../core/mod.ts";
import { publicKeyOf } from "../io/mod.ts";
import { generatePrivateKey } from "./key_file.ts";
import { startWireGuard } from "./wireguard_node.ts";

const log = (): void => {};

async function config(peerKey?: string): Promise<string> {
  const privateKey = generatePrivateKey();
  const publicKey = peerKey ?? formatBase64(await publicKeyOf(privateKey));
  return `[Interface]
PrivateKey = ${formatBase64(privateKey)}
Address = 10.9.0.1/24

[Peer]
PublicKey = ${publicKey}
AllowedIPs = 10.9.0.2/32
`;
}

Deno.test("startWireGuard refuses a peer with the node's own key, and names the file", async () => {
  const text = await config();
  const error = await startWireGuard({ file: "wg.conf", text, log }).then(
    () => undefined,
    (e) => e,
  );
  assert(error instanceof MorayError);
  assertEquals([error.code, error.message], [
    "config",
    "wg.conf: [Peer] 1 has the key of [Interface]",
  ]);
});

Deno.test("startWireGuard says what it listens on and who its peers are, and stops", async () => {
  const peer = formatBase64(await publicKeyOf(generatePrivateKey()));
  await using node = await startWireGuard({
    file: "wg.conf",
    text: await config(peer),
    socks5: { hostname: "127.0.0.1", port: 0 },
    log,
  });
  assert(node.listening.some((address) => /^wg=.+:\d+$/.test(address)));
  assert(node.listening.some((address) => /^socks5=127\.0\.0\.1:\d+$/.test(address)));
  const { peers, discovery } = await node.status();
  assertEquals(discovery, null);
  assertEquals(peers.map(({ publicKey, meshIpv4, path }) => [publicKey, meshIpv4, path.kind]), [
    [peer, "10.9.0.2", "none"],
  ]);
  const lost = await node.ping("10.9.0.2", { sequence: 1, timeoutMs: 50 });
  assertEquals([lost.sequence, lost.rttMs], [1, null]);
  await node.stop();
  await node.finished;
});
