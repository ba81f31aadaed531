/** Connections through the HTTP proxy that the environment names (`HTTPS_PROXY`, `NO_PROXY`), by CONNECT. @module */
import { formatBase64, messageOf } from "../core/mod.ts";
import { abortStream, writeAll } from "./splice.ts";

/** Longest answer of a proxy before the tunnel begins. */
const ANSWER_BYTES_MAX = 16_384;
/** End of an HTTP head. */
const HEAD_END = "\r\n\r\n";

/** Where a connection goes. */
export interface ProxyTarget {
  /** Name or address. */
  readonly hostname: string;
  /** TCP port. */
  readonly port: number;
}

/**
 * Returns the proxy for connections to a host; `undefined` if there is none, or `NO_PROXY` excepts the host. Only `http:` proxies count.
 *
 * @param environment Reads a variable; both cases of each name are looked at, the lower one first, as curl does.
 */
export function proxyFor(
  hostname: string,
  environment: (name: string) => string | undefined,
): URL | undefined {
  const read = (name: string): string => environment(name.toLowerCase()) ?? environment(name) ?? "";
  const excepted = read("NO_PROXY").split(",").map((entry) => entry.trim().replace(/^\./, ""))
    .some((entry) => entry === "*" || isUnder(hostname, entry));
  const text = read("HTTPS_PROXY") || read("ALL_PROXY");
  if (excepted || text === "") return undefined;
  const url = URL.parse(text.includes("://") ? text : `http://${text}`);
  return url?.protocol === "http:" ? url : undefined;
}

/** Opens a tunnel through a proxy. Rejects with the proxy's refusal in one line. */
export async function connectByProxy(
  proxy: URL,
  { hostname, port }: ProxyTarget,
  signal?: AbortSignal,
): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({
    hostname: proxy.hostname.replace(/^\[|\]$/g, ""),
    port: Number(proxy.port || 80),
    ...(signal && { signal }),
  });
  const onAbort = (): void => abortStream(conn);
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const authority = `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
    const credentials = authorization(proxy);
    const head = [
      `CONNECT ${authority} HTTP/1.1`,
      `Host: ${authority}`,
      ...(credentials === undefined ? [] : [`Proxy-Authorization: ${credentials}`]),
    ].join("\r\n") + HEAD_END;
    await writeAll(conn, new TextEncoder().encode(head));
    const status = await readStatus(conn);
    if (status !== 200) throw new TypeError(`the proxy answers ${status}`);
    return conn;
  } catch (error) {
    abortStream(conn);
    if (signal?.aborted) throw signal.reason;
    throw new TypeError(`by the proxy ${proxy.host}: ${messageOf(error)}`);
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Reads the head of the answer. What follows belongs to the tunnel, in which the client speaks first. */
async function readStatus(conn: Deno.Conn): Promise<number> {
  const bytes = new Uint8Array(ANSWER_BYTES_MAX);
  let length = 0;
  while (length < bytes.length) {
    const count = await conn.read(bytes.subarray(length));
    if (count === null) throw new TypeError("it has closed the connection");
    length += count;
    const text = new TextDecoder("latin1").decode(bytes.subarray(0, length));
    const end = text.indexOf(HEAD_END);
    if (end < 0) continue;
    const match = /^HTTP\/1\.[01] (\d{3})(?: |\r)/.exec(text);
    if (match === null) throw new TypeError("it does not speak HTTP/1.1");
    const status = Number(match[1]);
    if (status === 200 && end + HEAD_END.length < length) {
      throw new TypeError("it sends something before the tunnel");
    }
    return status;
  }
  throw new TypeError(`its answer is longer than ${ANSWER_BYTES_MAX} bytes`);
}

function authorization({ username, password }: URL): string | undefined {
  if (username === "") return undefined;
  const text = `${decoded(username)}:${decoded(password)}`;
  return `Basic ${formatBase64(new TextEncoder().encode(text))}`;
}

/** A percent sign that nobody has encoded stands for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function isUnder(hostname: string, domain: string): boolean {
  return domain !== "" && (hostname === domain || hostname.endsWith(`.${domain}`));
}
