/**
 * Lends a web app of this machine to the mesh: `deno run -A examples/expose.ts DISCOVERY PORT`.
 *
 * The app goes on listening on 127.0.0.1 and knows nothing of the mesh; nobody outside the mesh reaches it.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- what an example says is its result
import { Node } from "../mod.ts";
import { untilStopped } from "./until_stopped.ts";

const [discovery = "http://127.0.0.1:8080", port = "3000"] = Deno.args;
const signal = untilStopped();
await using node = await Node.start({
  role: "colony",
  mesh: "reef",
  discovery,
  state: "./expose-state",
  open: true,
  exposes: [{ meshPort: 80, hostname: "127.0.0.1", port: Number(port) }],
  signal,
});
console.error(`ready http://colony.${node.mesh}.internal/ leads to http://127.0.0.1:${port}/`);
await node.finished;
