/**
 * moray as a program embeds it: a node whose streams end in this process, with the load of `load/protocol.ts` at
 * their ends, on the main thread.
 *
 *     stream_node.ts CONFIG CONTROL     CONFIG as for `moray wireguard`, CONTROL the path of a unix socket
 *
 * It serves the load on port 7 inside the tunnel, and makes such a load when a line on the unix socket asks for it.
 *
 * @module
 */
import { NameTable } from "../agent/names.ts";
import { NodeCore } from "../agent/node_core.ts";
import { parseWireGuardConfig, type WireGuardPeer } from "../agent/wireguard_config.ts";
import { formatBase64, formatCidr } from "../core/mod.ts";
import { obey } from "./load/control.ts";
import { answer, LOAD_PORT } from "./load/protocol.ts";

const MTU_DEFAULT = 1420;

const [file = "", control = ""] = Deno.args;
if (control === "") throw new Error("usage: stream_node.ts CONFIG CONTROL");
const config = parseWireGuardConfig(await Deno.readTextFile(file), { file });
const core = await NodeCore.start({ log: () => {}, wgPort: config.listenPort }, {
  privateKey: config.privateKey,
  mtu: config.mtu ?? MTU_DEFAULT,
  names: new NameTable(),
  onEvent: () => {},
});
const addresses = config.addresses.map(({ address, prefix }) => `${address}/${prefix}`);
await core.client.send({ kind: "setAddresses", addresses });
for (const peer of config.peers) await addPeer(peer);
const serving = serve();
const obeying = obey(control, (target) => core.network.connect(target));
Deno.stderr.writeSync(new TextEncoder().encode(`ready control=${control}\n`));
await Promise.all([serving, obeying]);

async function addPeer({ publicKey, allowedIps, endpoint }: WireGuardPeer): Promise<void> {
  await core.client.send({
    kind: "addPeer",
    publicKey: formatBase64(publicKey),
    name: "peer",
    mesh: false,
    allowedIps: allowedIps.map(formatCidr),
    keepaliveSeconds: 0,
    ...(endpoint && { endpoint: `${endpoint.host}:${endpoint.port}` }),
  });
}

async function serve(): Promise<void> {
  for await (const stream of core.network.listen(LOAD_PORT)) answer(stream);
}
