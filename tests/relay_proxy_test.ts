/** Relays behind the HTTP proxy that the environment names: TLS by CONNECT, WebSockets by Deno. */
import { deepStrictEqual as assertEquals, match as assertMatch, rejects } from "node:assert/strict";
import { connectByProxy } from "../agent/proxy_connect.ts";
import { startTestRelay } from "./support/relayed_nodes.ts";
import { startConnectProxy } from "./support/connect_proxy.ts";
import { run } from "./support/child.ts";
import { ROOT } from "./support/needs.ts";
import { e2e, within } from "./support/scope.ts";
import { selfSigned } from "./support/turn.ts";

e2e("connectByProxy opens a tunnel, with the proxy's credentials", {}, async (scope) => {
  const proxy = startConnectProxy(scope);
  const { relay } = await startTestRelay(scope);
  const [hostname = "", port] = tcpOf(relay.listening).split(":");
  const url = new URL(proxy.url);
  url.username = "us er";
  url.password = "secr%t";
  const conn = await connectByProxy(url, { hostname, port: Number(port) });
  conn.close();
  const [head = ""] = proxy.heads;
  assertMatch(head, new RegExp(`^CONNECT 127\\.0\\.0\\.1:${port} HTTP/1\\.1\\r\\n`));
  assertMatch(head, new RegExp(`Proxy-Authorization: Basic ${btoa("us er:secr%t")}\\r\\n`));
});

e2e("connectByProxy says in one line what the proxy refuses", {}, async (scope) => {
  const target = { hostname: "127.0.0.1", port: 9 };
  const refusing = startConnectProxy(scope, { refuse: 407 });
  await rejects(connectByProxy(new URL(refusing.url), target), {
    message: `by the proxy ${new URL(refusing.url).host}: the proxy answers 407`,
  });
  await rejects(
    connectByProxy(new URL(refusing.url), target, AbortSignal.abort(new Error("enough"))),
    /enough|abort/i,
  );
});

e2e("a proxy that says nothing is told that nobody waits any more", {}, async (scope) => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  scope.defer(() => listener.close());
  const ended = (async (): Promise<void> => {
    const conn = await listener.accept();
    while (await conn.read(new Uint8Array(1024)) !== null);
    conn.close();
  })();
  const { port } = listener.addr as Deno.NetAddr;
  const target = { hostname: "127.0.0.1", port: 9 };
  const url = new URL(`http://127.0.0.1:${port}`);
  await rejects(connectByProxy(url, target, AbortSignal.timeout(200)), /timeout/i);
  await within(2_000, "the end of the connection", ended);
});

e2e(
  "a WebSocket to a relay takes the proxy of HTTPS_PROXY, and none where NO_PROXY excepts the host",
  {
    needs: ["full"],
    timeoutMs: 60_000,
  },
  async (scope) => {
    const files = scope.directory();
    const { key, certificate } = await selfSigned(files);
    const [cert, keyText] = await Promise.all(
      [certificate, key].map((path) => Deno.readTextFile(path)),
    );
    const { relay } = await startTestRelay(scope, {
      listenTls: [{ hostname: "127.0.0.1", port: 0 }],
      tls: { cert: cert ?? "", key: keyText ?? "" },
    });
    const port = /tls=127\.0\.0\.1:(\d+)/.exec(relay.listening.join(" "))?.[1];
    const proxy = startConnectProxy(scope);
    const program = `
    import { WebSocketBytes } from "${ROOT}agent/web_socket_bytes.ts";
    const bytes = await WebSocketBytes.open("wss://localhost:${port}/turn", { protocol: "turn" });
    console.log("open");
    bytes.close();
    Deno.exit();`;
    const connect = async (env: Record<string, string>): Promise<string> => {
      const { stdout, stderr } = await run([Deno.execPath(), "eval", "--unstable-net", program], {
        env: { DENO_CERT: certificate, HTTPS_PROXY: proxy.url, ...env },
      });
      return stdout.trim() || stderr;
    };
    assertEquals(await connect({}), "open");
    assertMatch(proxy.heads[0] ?? "", new RegExp(`^CONNECT localhost:${port} `));
    assertEquals(await connect({ NO_PROXY: "localhost" }), "open");
    assertEquals(proxy.heads.length, 1);
  },
);

function tcpOf(listening: readonly string[]): string {
  return /tcp=(\S+)/.exec(listening.join(" "))?.[1] ?? "";
}
