/** A mesh in memory with a real web server behind one of its nodes, for tests of the proxies. @module */
import { startExpose } from "../expose.ts";
import type { TunnelConn } from "../network.ts";
import type { Log } from "../options.ts";
import type { StreamServer } from "../stream_server.ts";
import { MemoryMesh, type MemoryNetwork } from "./memory_network.ts";

/** Address of the node that exposes the web server on mesh port 80, named `web.reef.internal`. */
export const WEB = "fd00::2";
/** Address of a node that never answers, named `silent`. */
export const SILENT = "fd00::3";

/** The laboratory of one test. */
export class ProxyLab implements AsyncDisposable {
  /** The mesh. */
  readonly mesh = new MemoryMesh();
  /** The network of the node under test. */
  readonly network: MemoryNetwork = this.mesh.node("agent", "fd00::1");
  /** The network of the node with the web server. */
  readonly web: MemoryNetwork = this.mesh.node("web.reef.internal", WEB);
  /** Log lines as `level message`. */
  readonly lines: string[] = [];
  /** Requests that the web server answered, as `METHOD path host`. */
  readonly requests: string[] = [];
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #expose: StreamServer;

  /** Starts the web server: `/bytes/N` answers N bytes, POST echoes, `/` answers `hello`. */
  constructor() {
    this.mesh.node("silent", SILENT);
    this.mesh.silence(SILENT);
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen(): void {} },
      (request): Response => {
        const { pathname, search } = new URL(request.url);
        const host = request.headers.get("host") ?? "";
        this.requests.push(`${request.method} ${pathname}${search} ${host}`);
        if (request.method === "POST") return new Response(request.body);
        const size = /^\/bytes\/(\d+)$/.exec(pathname)?.[1];
        return new Response(
          size === undefined ? "hello\n" : new Uint8Array(Number(size)).fill(120),
        );
      },
    );
    const rule = { meshPort: 80, hostname: "127.0.0.1", port: this.#server.addr.port };
    this.#expose = startExpose(rule, { network: this.web, log: () => {} });
  }

  /** Collects lines. */
  get log(): Log {
    return (level, message) => void this.lines.push(`${level} ${message}`);
  }

  /** Opens a connection to the web server's node as a peer does. */
  connect(port: number): Promise<TunnelConn> {
    return this.network.connect({ hostname: WEB, port });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
    await this.#expose.stop();
  }
}

/** What a program said. */
export interface ProgramOutput {
  /** Exit status. */
  readonly code: number;
  /** Standard output. */
  readonly stdout: string;
}

/** Runs curl, without its configuration file and the environment's proxies; `undefined` if there is none. */
export async function curl(...args: readonly string[]): Promise<ProgramOutput | undefined> {
  try {
    const command = new Deno.Command("curl", {
      args: ["-q", "-sS", "--noproxy", "", "-m", "20", ...args],
      stderr: "null",
    });
    const { code, stdout } = await command.output();
    return { code, stdout: new TextDecoder().decode(stdout) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Says why a test was left out. */
export function skip(name: string, reason: string): void {
  // deno-lint-ignore no-console
  console.log(`skipped: ${name}: ${reason}`);
}

/** Waits until `condition` holds; rejects after 5 s. For what a program does without saying so. */
export async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 5000; !condition();) {
    if (performance.now() > end) throw new Error(`Not within 5 s: ${condition}`);
    await new Promise((wake) => setTimeout(wake, 1));
  }
}
