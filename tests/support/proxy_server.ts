/**
 * An HTTP proxy as a process of its own: `proxy_server.ts --listen H:P --port N`.
 *
 * It knows CONNECT only, to port N only, and prints the first line of each request, and `ready proxy=H:P` before, on standard error.
 *
 * @module
 */
import { formatSocketAddress, parseSocketAddress } from "../../core/mod.ts";
import { answerConnect } from "./connect_proxy.ts";

const [listenFlag, text = "", portFlag, port] = Deno.args;
const listen = parseSocketAddress(text);
if (listenFlag !== "--listen" || listen === undefined || portFlag !== "--port") {
  throw new Error("usage: proxy_server.ts --listen H:P --port N");
}
const listener = Deno.listen(listen);
const say = (line: string): void => {
  Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
};
Deno.addSignalListener("SIGTERM", () => Deno.exit(0));
say(`ready proxy=${formatSocketAddress(listen)}`);
for await (const conn of listener) {
  const note = (head: string): void => say(head.split("\r\n")[0] ?? "");
  answerConnect(conn, { note, port: Number(port) }).catch(() => {});
}
