/**
 * `tun_peers.ts NAME`: a datapath with an interface, at first one that cannot be had, then one whose peers come, change and go;
 * prints the routes after each step. A process of its own, since it works on the network namespace that it is started in.
 *
 * @module
 */
import { formatBase64, messageOf } from "../../core/mod.ts";
import { startDatapath } from "../../agent/datapath/start.ts";
import { TunPort } from "../../agent/datapath/tun_port.ts";
import { must } from "./child.ts";
import { say } from "./say.ts";

const [name = ""] = Deno.args;

/** Makes an interface that the kernel refuses to bring up; says why, and how many descriptors are left open. */
function refuse(): string {
  const count = (): number => [...Deno.readDirSync("/proc/self/fd")].length;
  const before = count();
  try {
    TunPort.open({ name, mtu: 70_000 }).close();
    return "not refused";
  } catch (error) {
    return `${messageOf(error)}; ${count() - before} left open`;
  }
}
say(`refused: ${refuse()}`);

const warnings: string[] = [];
const { client, stop } = await startDatapath({
  privateKey: new Uint8Array(32).fill(7),
  port: 0,
  mtu: 1420,
  tun: name,
  onEvent: (event) => void (event.kind === "log" && warnings.push(event.message)),
});

/** Prints the blocks that lead to the interface because of a peer. */
async function show(step: string): Promise<void> {
  const texts = [
    await must(["ip", "-4", "route", "show", "proto", "static"]),
    await must(["ip", "-6", "route", "show", "proto", "static"]),
  ];
  const lines = texts.join("").split("\n").filter((line) => line.includes(` dev ${name} `));
  say(`${step}: ${lines.map((line) => line.split(" ")[0]).join(" ")}`);
}

const keys = [1, 2].map((n) => formatBase64(new Uint8Array(32).fill(n)));
const [first = "", second = ""] = keys;
async function add(publicKey: string, ...allowedIps: string[]): Promise<void> {
  await client.send({ kind: "addPeer", publicKey, allowedIps, keepaliveSeconds: 0, mesh: false });
}

await client.send({ kind: "setAddresses", addresses: ["10.9.0.1/24", "fd09::1/64"] });
await show("start");
await add(first, "10.9.0.2/32", "10.9.1.0/24", "fd09::2/128");
await show("first");
await add(second, "10.9.0.0/24", "10.9.3.0/24", "0.0.0.0/0");
await show("second");
await add(first, "10.9.0.2/32", "10.9.2.0/24", "fd09::2/128");
await show("changed");
await client.send({ kind: "removePeer", publicKey: first });
await show("removed");
await add(second, "10.77.0.0/24").catch((error) => say(`refused: ${messageOf(error)}`));
for (const warning of warnings) say(`log: ${warning}`);
await stop(1000);
