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
        const answering = answerConnect(conn, {
          note: (head) => heads.push(head),
          onOpen: (other) => open.add(other),
          ...(refuse !== undefined && { refuse }),
        });
        answering.catch(() => {});
      }
    } catch {
      // Closed.
    }
  })();
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

/** Options of {@linkcode answerConnect}. */
export interface AnswerOptions {
  /** Hears the head of the request. */
  readonly note: (head: string) => void;
  /** Hears of the connection to the target. */
  readonly onOpen?: (other: Deno.Conn) => void;
  /** The status of every answer. @default 200 for CONNECT */
  readonly refuse?: number;
  /** The only port that may be connected to; others get 403. @default any */
  readonly port?: number;
}

/** Reads one CONNECT and joins the connection to its target. */
export async function answerConnect(
  conn: Deno.Conn,
  { note, onOpen, refuse, port }: AnswerOptions,
): Promise<void> {
  const buffer = new Uint8Array(8192);
  const count = await conn.read(buffer) ?? 0;
  const head = new TextDecoder().decode(buffer.subarray(0, count));
  note(head);
  const match = /^CONNECT \[?([^\s\]]+?)\]?:(\d+) /.exec(head);
  const target = { hostname: match?.[1] ?? "", port: Number(match?.[2]) };
  const allowed = port === undefined || target.port === port;
  const status = refuse ?? (match === null ? 405 : allowed ? 200 : 403);
  const answer = `HTTP/1.1 ${status} ${status === 200 ? "OK" : "No"}\r\n\r\n`;
  await conn.write(new TextEncoder().encode(answer));
  if (status !== 200) return conn.close();
  const other = await Deno.connect(target);
  onOpen?.(other);
  await Promise.allSettled([
    conn.readable.pipeTo(other.writable),
    other.readable.pipeTo(conn.writable),
  ]);
}
