/**
 * `fetch` into the mesh: Deno's own, with a proxy in this process that leads to the mesh and asks for a password that only this
 * process knows.
 *
 * @module
 */
import { formatBase64 } from "../../core/mod.ts";
import type { Network } from "../network.ts";
import type { Log } from "../options.ts";
import { startSocks5 } from "../socks5_server.ts";
import type { LocalListener } from "../stream_server.ts";

/** What a {@linkcode MeshHttpClient} is made of. */
export interface MeshHttpClientOptions {
  /** The mesh. */
  readonly network: Network;
  /** Makes that many random bytes, for the password. */
  readonly randomBytes: (count: number) => Uint8Array;
  /** Where the proxy's lines go. */
  readonly log: Log;
}

const PASSWORD_BYTES = 32;
const USERNAME = "moray";

/** What `fetch` needs to reach the mesh. Opened with the first request. */
export class MeshHttpClient {
  readonly #options: MeshHttpClientOptions;
  #opened: { readonly proxy: LocalListener; readonly client: Deno.HttpClient } | undefined;
  #closed = false;

  /** Opens nothing yet. */
  constructor(options: MeshHttpClientOptions) {
    this.#options = options;
  }

  /** For the `client` option of `fetch` and `WebSocket`. Throws `Deno.errors.BadResource` once it is closed. */
  get client(): Deno.HttpClient {
    if (this.#closed) throw new Deno.errors.BadResource("The node has stopped");
    this.#opened ??= this.#open();
    return this.#opened.client;
  }

  /** Ends its connections. Safe to call twice. */
  async stop(): Promise<void> {
    this.#closed = true;
    const opened = this.#opened;
    this.#opened = undefined;
    opened?.client.close();
    await opened?.proxy.stop();
  }

  #open(): { readonly proxy: LocalListener; readonly client: Deno.HttpClient } {
    const { network, randomBytes, log } = this.#options;
    const password = formatBase64(randomBytes(PASSWORD_BYTES));
    const credentials = { username: USERNAME, password };
    const listen = { hostname: "127.0.0.1", port: 0 };
    const proxy = startSocks5({ listen, network, log, credentials });
    // By name: the proxy resolves it, and certificates are checked against it.
    const url = `socks5h://127.0.0.1:${proxy.address.port}`;
    const client = Deno.createHttpClient({ proxy: { url, basicAuth: credentials } });
    return { proxy, client };
  }
}
