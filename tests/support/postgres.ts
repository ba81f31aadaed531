/** A PostgreSQL server of a test's own: in a temp folder, on a loopback port, as an unprivileged user. @module */
import postgres from "postgres";
import { must } from "./child.ts";
import { postgresFolder } from "./needs.ts";

const USER = "moray";
const PASSWORD = "correct horse";

/** A running server. Its processes are no children of ours: {@linkcode PostgresServer.stop} ends them. */
export class PostgresServer implements AsyncDisposable {
  /** The port on 127.0.0.1. */
  readonly port: number;
  readonly #folder: string;
  readonly #namespace: string | undefined;
  #databases = 0;
  #running = true;

  private constructor(folder: string, port: number, namespace: string | undefined) {
    this.#folder = folder;
    this.#namespace = namespace;
    this.port = port;
  }

  /** Makes a cluster and starts it, in a network namespace if one is given, where {@linkcode PostgresServer.query} does not reach. */
  static async start(
    { namespace }: { readonly namespace?: string } = {},
  ): Promise<PostgresServer> {
    const folder = await Deno.makeTempDir({ prefix: "moray-postgres-" });
    const server = new PostgresServer(folder, freePort(), namespace);
    try {
      await Deno.writeTextFile(`${folder}/password`, PASSWORD);
      await must(["chown", "-R", owner(), folder]);
      const secrets = ["--auth=scram-sha-256", `--pwfile=${folder}/password`];
      const make = ["initdb", "-D", `${folder}/data`, "-U", USER, "-E", "UTF8", "--no-sync"];
      await server.#run([...make, ...secrets]);
      await server.resume();
      return server;
    } catch (error) {
      await Deno.remove(folder, { recursive: true });
      throw error;
    }
  }

  /** The URL of one of its databases. */
  url(database: string): string {
    return `postgres://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${this.port}/${database}`;
  }

  /** The password in its URLs. */
  get password(): string {
    return PASSWORD;
  }

  /** Makes a database, an empty one or a copy of another that nobody has open, and returns its URL. */
  async createDatabase(template = "template1"): Promise<string> {
    const name = `test${++this.#databases}`;
    await this.query("postgres", `CREATE DATABASE ${name} TEMPLATE ${template}`);
    return this.url(name);
  }

  /** Runs statements in a database, over a connection of their own, and returns the rows. */
  async query(database: string, sql: string): Promise<Record<string, unknown>[]> {
    const url = database.includes("://") ? database : this.url(database);
    const client = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });
    try {
      return [...await client.unsafe(sql)];
    } finally {
      await client.end();
    }
  }

  /** Starts it again after {@linkcode PostgresServer.stop}. */
  async resume(): Promise<void> {
    const options = [
      `-p ${this.port}`,
      "-c listen_addresses=127.0.0.1",
      `-c unix_socket_directories=${this.#folder}`,
      "-c fsync=off",
    ].join(" ");
    const log = `${this.#folder}/log`;
    await this.#run([
      "pg_ctl",
      "-D",
      `${this.#folder}/data`,
      "-w",
      "-o",
      options,
      "-l",
      log,
      "start",
    ]);
    this.#running = true;
  }

  /** Ends it as a crash would: connections break, and what was committed stays. */
  async stop(): Promise<void> {
    if (!this.#running) return;
    await this.#run(["pg_ctl", "-D", `${this.#folder}/data`, "-w", "-m", "immediate", "stop"]);
    this.#running = false;
  }

  /** Ends it and removes its folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await Deno.remove(this.#folder, { recursive: true });
  }

  async #run([program = "", ...args]: readonly string[]): Promise<void> {
    const path = `${postgresFolder() ?? ""}/${program}`;
    // The server refuses to run as root.
    const as = Deno.uid() === 0
      ? ["setpriv", `--reuid=${owner()}`, `--regid=${group()}`, "--clear-groups"]
      : [];
    const options = { cwd: this.#folder, namespace: this.#namespace, timeoutMs: 60_000 };
    await must([...as, path, ...args], options);
  }
}

/** Whom the server runs as: us, or the package's user where we are root. */
function owner(): string {
  if (Deno.uid() !== 0) return String(Deno.uid());
  return /^postgres:/m.test(Deno.readTextFileSync("/etc/passwd")) ? "postgres" : "nobody";
}

function group(): string {
  return owner() === "postgres" ? "postgres" : "nogroup";
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
