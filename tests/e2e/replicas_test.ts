/** Two Discovery services on one PostgreSQL database: what is registered at one is known at the other, and either may die. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { startWebServer } from "../support/http.ts";
import { MIB } from "../support/bytes.ts";
import { Moray, type Program, SOURCE } from "../support/moray.ts";
import { urlOf } from "../support/mesh.ts";
import { PostgresServer } from "../support/postgres.ts";
import { e2e, type Scope } from "../support/scope.ts";

const NEEDS = ["full", "postgres"] as const;
/** A database, and services on it that keep their ports over restarts. */
class Replicas {
  readonly urls: string[] = [];
  readonly server: PostgresServer;
  readonly #scope: Scope;
  readonly #store: string;
  readonly #level: string;
  readonly #running: Moray[] = [];

  private constructor(
    scope: Scope,
    { server, store, level }: {
      readonly server: PostgresServer;
      readonly store: string;
      readonly level: string;
    },
  ) {
    this.#scope = scope;
    this.server = server;
    this.#store = store;
    this.#level = level;
  }

  static async start(scope: Scope, count: number, level = "debug"): Promise<Replicas> {
    const server = scope.use(await PostgresServer.start());
    const replicas = new Replicas(scope, { server, store: await server.createDatabase(), level });
    for (let i = 0; i < count; i++) {
      const running = await replicas.#open("127.0.0.1:0");
      replicas.#running.push(running);
      replicas.urls.push(urlOf(running));
    }
    return replicas;
  }

  url(i: number): string {
    const url = this.urls[i];
    if (url === undefined) throw new Error(`No replica ${i}`);
    return url;
  }

  /** Number of registrations in the database, expired ones too. */
  async rows(): Promise<number> {
    const [row] = await this.server.query(this.#store, "SELECT count(*)::int AS n FROM nodes");
    return Number(row?.["n"]);
  }

  /** `kill -9`. */
  async kill(i: number): Promise<void> {
    const { child } = this.#at(i);
    child.signal("SIGKILL");
    await child.exited;
  }

  /** SIGTERM. */
  async stop(i: number): Promise<void> {
    assertEquals(await this.#at(i).stop(), 0);
  }

  /** Starts one again where it was. */
  async restart(i: number): Promise<void> {
    this.#running[i] = await this.#open(new URL(this.url(i)).host);
  }

  /** Whether a log holds the database's password. */
  leaked(): boolean {
    return this.#running.some(({ child }) => child.log.includes(this.server.password));
  }

  async #open(listen: string): Promise<Moray> {
    const program: Program = {
      ...SOURCE,
      options: { ...SOURCE.options, env: { ...SOURCE.options.env, MORAY_STORE: this.#store } },
    };
    const flags = ["--listen", listen, "--stun-listen", "127.0.0.1:0", "--log-level", this.#level];
    return this.#scope.use(await Moray.start(["discovery", ...flags], { program }));
  }

  #at(i: number): Moray {
    const running = this.#running[i];
    if (running === undefined) throw new Error(`No replica ${i}`);
    return running;
  }
}

e2e(
  "two replicas on PostgreSQL: an agent of one reaches a colony of the other, and both live through a restart of each",
  { needs: NEEDS, timeoutMs: 150_000 },
  async (scope) => {
    const replicas = await Replicas.start(scope, 2);
    const web = await startWebServer(scope, {});
    const joining = (...at: number[]): string[] => [
      ...["--mesh", "reef", "--state", scope.directory()],
      ...at.flatMap((i) => ["--discovery", replicas.url(i)]),
    ];
    const colony = scope.use(
      await Moray.start(["colony", ...joining(1, 0), "--expose", `8080:${web}`]),
    );
    const startAgent = async (name: string, at: number): Promise<Moray> =>
      scope.use(
        await Moray.start(
          ["agent", ...joining(at), "--name", name, "--forward", "127.0.0.1:0:colony:8080"],
        ),
      );
    scope.explain(() => Promise.resolve(`--- colony\n${colony.child.log.slice(-4000)}`));
    const read = async (agent: Moray): Promise<void> => {
      const url = `http://${agent.address("forward")}/bytes?mib=1`;
      const response = await fetch(url, { signal: scope.signal });
      assertEquals((await response.bytes()).length, MIB, String(response.status));
    };
    let nodes = 1;
    const add = async (name: string, at: number): Promise<void> => {
      await read(await startAgent(name, at));
      assertEquals(await replicas.rows(), ++nodes, `registrations with ${name}`);
    };
    await add("first", 0);
    // A rolling restart: nobody registers anew, and whoever comes is found.
    for (const i of [1, 0]) {
      await replicas.stop(i);
      await add(`without${i}`, 1 - i);
      await replicas.restart(i);
      await add(`with${i}`, i);
    }
    assert(!replicas.leaked(), "a log holds the password");
  },
);
