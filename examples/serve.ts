/**
 * A web site that exists inside the mesh only: `deno run -A examples/serve.ts DISCOVERY`.
 *
 * It greets who comes by the name of his node, and counts on his page by a WebSocket.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- what an example says is its result
import { Node } from "../mod.ts";
import { untilStopped } from "./until_stopped.ts";

const PAGE = `<!doctype html>
<title>The reef</title>
<h1>Hello, VISITOR</h1>
<p>The colony has counted to <output>nothing yet</output>.</p>
<script>
  const socket = new WebSocket("/count");
  socket.onmessage = ({ data }) => document.querySelector("output").textContent = data;
</script>
`;

const [discovery = "http://127.0.0.1:8080"] = Deno.args;
const signal = untilStopped();
// Open: who knows the mesh's name may join. Without that, "moray invite --state ./serve-state" lets nodes in one by one.
await using node = await Node.start({
  role: "colony",
  mesh: "reef",
  discovery,
  state: "./serve-state",
  open: true,
  signal,
});

node.serve(async (request, { remoteAddr }) => {
  const { pathname } = new URL(request.url);
  if (pathname === "/count") return count(request);
  if (pathname !== "/") return new Response("Not found\n", { status: 404 });
  const visitor = (await node.whois(remoteAddr.hostname))?.name ?? "stranger";
  const headers = { "content-type": "text/html; charset=utf-8" };
  return new Response(PAGE.replace("VISITOR", () => visitor), { headers });
});
console.error(`ready http://colony.${node.mesh}.internal/`);
await node.finished;

/** Counts, ten times a second, for as long as somebody looks. */
function count(request: Request): Response {
  const { socket, response } = Deno.upgradeWebSocket(request);
  let counted = 0;
  const timer = setInterval(() => socket.send(String(++counted)), 100);
  socket.onclose = () => clearInterval(timer);
  // The visitor is gone; the close follows.
  socket.onerror = () => clearInterval(timer);
  return response;
}
