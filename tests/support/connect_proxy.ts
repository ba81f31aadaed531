/** An HTTP proxy that knows CONNECT only, and notes what it was asked. For tests. @module */
import type { Scope } from "./scope.ts";

/** A running proxy. */
export interface ConnectProxy {
  /** For `HTTPS_PROXY`, without credentials. */
  readonly url: string;
  /** The heads of the requests, as they came. */
  readonly heads: readonly string[];
}

/** Starts a proxy on loopback; it ends with the scope. `refuse`: the status of every answer. */
export function startConnectProxy(
  scope: Scope,
  { refuse }: { refuse?: number } = {},
): ConnectProxy {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const heads: string[] = [];
  const open = new Set<Deno.Conn>();
  const serving = (async (): Promise<void> => {
    try {
      for await (const conn of listener) {
        open.add(conn);
        serve(conn).catch(() => {});
      }
    } catch {
      // Closed.
    }
  })();
  async function serve(conn: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(8192);
    const count = await conn.read(buffer) ?? 0;
    const head = new TextDecoder().decode(buffer.subarray(0, count));
    heads.push(head);
    const match = /^CONNECT \[?([^\s\]]+?)\]?:(\d+) /.exec(head);
    const status = refuse ?? (match === null ? 405 : 200);
    const answer = `HTTP/1.1 ${status} ${status === 200 ? "OK" : "No"}\r\n\r\n`;
    await conn.write(new TextEncoder().encode(answer));
    if (status !== 200 || match === null) return conn.close();
    const other = await Deno.connect({ hostname: match[1] ?? "", port: Number(match[2]) });
    open.add(other);
    await Promise.allSettled([
      conn.readable.pipeTo(other.writable),
      other.readable.pipeTo(conn.writable),
    ]);
  }
  scope.defer(async () => {
    listener.close();
    for (const conn of open) {
      try {
        conn.close();
      } catch {
        // Closed already.
      }
    }
    await serving;
  });
  const { port } = listener.addr as Deno.NetAddr;
  return { url: `http://127.0.0.1:${port}`, heads };
}
