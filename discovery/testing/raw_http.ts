/** HTTP by hand: requests that arrive slowly, or never, which `fetch` does not send. @module */

/** A connection on which a test writes what it likes. */
export class RawHttp implements Disposable {
  readonly #connection: Deno.TcpConn;

  private constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
  }

  /** Connects to the server of an `http://` URL. */
  static async connect(url: string): Promise<RawHttp> {
    const { hostname, port } = new URL(url);
    return new RawHttp(await Deno.connect({ hostname, port: Number(port) }));
  }

  /** Writes a part of a request. */
  async write(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
  }

  /** The head of a call whose body has this length. */
  async call(method: string, { length, type = "application/json" }: {
    readonly length: number;
    readonly type?: string;
  }): Promise<void> {
    await this.write(
      `POST /coral.discovery.v1.DiscoveryService/${method} HTTP/1.1\r\nHost: d\r\n` +
        `Content-Type: ${type}\r\nContent-Length: ${length}\r\n\r\n`,
    );
  }

  /** Reads until the answer's end, or the connection's. */
  async answer(): Promise<string> {
    let text = "";
    const buffer = new Uint8Array(4096);
    for (;;) {
      const read = await this.#connection.read(buffer).catch(() => null);
      if (read === null) return text;
      text += new TextDecoder().decode(buffer.subarray(0, read));
      const length = /content-length: (\d+)/i.exec(text)?.[1];
      const head = text.indexOf("\r\n\r\n");
      if (head >= 0 && length !== undefined && text.length >= head + 4 + Number(length)) {
        return text;
      }
    }
  }

  /** Ends the connection. */
  [Symbol.dispose](): void {
    this.#connection.close();
  }
}
