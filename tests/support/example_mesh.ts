/** What the examples need around them: Discovery on a machine of its own, and places for their processes. @module */
import { Child } from "./child.ts";
import { Island, ISLAND_IP } from "./island.ts";
import { Moray, moray } from "./moray.ts";
import { ROOT } from "./needs.ts";
import type { Scope } from "./scope.ts";

/** One test's examples. */
export class ExampleMesh {
  /** Discovery's URL. */
  readonly discovery = `http://${ISLAND_IP}:8080`;
  /** Where all of it runs. */
  readonly island: Island;
  readonly #scope: Scope;

  private constructor(scope: Scope, island: Island) {
    this.#scope = scope;
    this.island = island;
  }

  /** Starts Discovery. */
  static async start(scope: Scope): Promise<ExampleMesh> {
    const island = scope.use(await Island.up());
    const mesh = new ExampleMesh(scope, island);
    const listen = ["--listen", `${ISLAND_IP}:8080`, "--stun-listen", `${ISLAND_IP}:3478`];
    await mesh.moray("discovery", ...listen, "--store", ":memory:");
    return mesh;
  }

  /** Starts a program of moray. */
  async moray(...args: readonly string[]): Promise<Moray> {
    const started = this.#scope.use(
      await Moray.start(args, { namespace: this.island.namespace }),
    );
    this.#explain(args[0] ?? "", started.child);
    return started;
  }

  /** Starts a colony of a closed mesh, and returns its state directory. */
  async closedColony(...args: readonly string[]): Promise<string> {
    const state = this.#scope.directory();
    const joining = ["--mesh", "reef", "--discovery", this.discovery, "--state", state];
    const options = { namespace: this.island.namespace, env: { MORAY_OPEN: "false" } };
    const command = [Deno.execPath(), "run", "-A", `${ROOT}main.ts`, "colony"];
    const child = this.#scope.use(new Child([...command, ...joining, ...args], options));
    await child.line(/^ready\b/);
    this.#explain("colony", child);
    return state;
  }

  /** An invite of a colony. */
  async invite(state: string): Promise<string> {
    const { code, stdout, stderr } = await moray(["invite", "--state", state]);
    if (code !== 0) throw new Error(stderr);
    return stdout.trim();
  }

  /** Starts an example in a directory of its own: `hello.ts`, and its arguments. */
  example(file: string, ...args: readonly string[]): Child {
    return this.exampleIn(this.#scope.directory(), file, ...args);
  }

  /** Starts an example in a directory. */
  exampleIn(cwd: string, file: string, ...args: readonly string[]): Child {
    const command = [Deno.execPath(), "run", "-A", `${ROOT}examples/${file}`, ...args];
    const options = {
      namespace: this.island.namespace,
      cwd,
      env: { DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" },
    };
    const child = this.#scope.use(new Child(command, options));
    this.#explain(file, child);
    return child;
  }

  #explain(title: string, child: Child): void {
    this.#scope.explain(() => Promise.resolve(`--- ${title}\n${child.log.slice(-4000)}`));
  }
}
