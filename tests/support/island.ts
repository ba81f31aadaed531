/** A network namespace of one machine: every port is free, names are its own, and nothing leads out. @module */
import { must, run } from "./child.ts";
import { isStale } from "./natlab.ts";

/** The machine's address in its namespace. */
export const ISLAND_IP = "203.0.113.7";

let made = 0;

/** The namespace. Programs in it see {@linkcode ISLAND_IP} on `eth0` besides the loopback interface. */
export class Island implements AsyncDisposable {
  /** Its name. */
  readonly namespace: string;
  readonly #etc: string;

  private constructor(namespace: string) {
    this.namespace = namespace;
    this.#etc = `/etc/netns/${namespace}`;
  }

  /**
   * Builds one. `names` lead to {@linkcode ISLAND_IP} for what is started by {@linkcode Island.command}. What a killed run has left
   * behind is removed first.
   */
  static async up({ names = [] }: { readonly names?: readonly string[] } = {}): Promise<Island> {
    const all = (await must(["ip", "netns", "list"])).split("\n").map((row) =>
      row.split(" ")[0] ?? ""
    );
    for (const name of all.filter((name) => name.includes("-island") && isStale(name))) {
      await new Island(name)[Symbol.asyncDispose]();
    }
    const island = new Island(`mt${Deno.pid}-island${++made}`);
    const { namespace } = island;
    try {
      await must(["ip", "netns", "add", namespace]);
      const ip = (...args: string[]): Promise<string> => must(["ip", ...args], { namespace });
      await ip("link", "set", "lo", "up");
      // A wire with both ends here: a card that is up.
      await ip("link", "add", "eth0", "type", "veth", "peer", "name", "wire");
      await ip("addr", "add", `${ISLAND_IP}/24`, "dev", "eth0");
      await ip("link", "set", "eth0", "up");
      await ip("link", "set", "wire", "up");
      await Deno.mkdir(island.#etc, { recursive: true });
      const hosts = ["127.0.0.1 localhost", "::1 localhost", `${ISLAND_IP} ${names.join(" ")}`];
      await Deno.writeTextFile(`${island.#etc}/hosts`, `${hosts.join("\n")}\n`);
    } catch (error) {
      await island[Symbol.asyncDispose]();
      throw error;
    }
    return island;
  }

  /** The words that run a command on the island, with its names. */
  command(...command: readonly string[]): readonly string[] {
    return ["ip", "netns", "exec", this.namespace, ...command];
  }

  /** Ends what still runs on it, and removes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { namespace } = this;
    const { code, stdout } = await run(["ip", "netns", "pids", namespace]);
    if (code === 0) {
      const pids = stdout.split("\n").filter((pid) => pid !== "");
      if (pids.length > 0) await run(["kill", "-9", ...pids]);
      await run(["ip", "netns", "del", namespace]);
    }
    await Deno.remove(this.#etc, { recursive: true }).catch(() => {});
  }
}
