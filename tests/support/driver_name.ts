/** Prints which driver a datapath runs on, and which cipher; a process of its own, so that it can be started with other permissions. @module */
import { startDatapath } from "../../agent/datapath/start.ts";
import { say } from "./say.ts";

const datapath = await startDatapath({
  privateKey: new Uint8Array(32).fill(1),
  port: 0,
  mtu: 1280,
  driver: Deno.args[0] === "wasm" ? "wasm" : "auto",
  onEvent: () => {},
});
const { driver, cipher } = await datapath.client.send({ kind: "status" });
say(`${driver}, ${cipher}`);
await datapath.stop(1000);
