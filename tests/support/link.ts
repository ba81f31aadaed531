/** Two network namespaces joined by a veth pair: for tests of two programs with nothing between them. @module */
import { must, run } from "./child.ts";
import { isStale } from "./natlab.ts";

/** One end of a {@linkcode Link}. */
export interface LinkEnd {
  /** The network namespace. */
  readonly namespace: string;
  /** The device that leads to the other end. */
  readonly device: string;
  /** Its IPv4 address. */
  readonly ip: string;
  /** Its IPv6 address. */
  readonly ip6: string;
}

let made = 0;

/** Two namespaces and the wire between them. */
export class Link implements AsyncDisposable {
  /** 10.77.0.1. */
  readonly a: LinkEnd;
  /** 10.77.0.2. */
  readonly b: LinkEnd;

  private constructor(a: LinkEnd, b: LinkEnd) {
    this.a = a;
    this.b = b;
  }

  /** Builds the pair. Namespaces that a killed run has left behind are removed first. */
  static async up(): Promise<Link> {
    const all = (await must(["ip", "netns", "list"])).split("\n").map((row) =>
      row.split(" ")[0] ?? ""
    );
    for (const name of all.filter((name) => name.includes("-link") && isStale(name))) {
      await must(["ip", "netns", "del", name]);
    }
    const name = `mt${Deno.pid}-link${++made}`;
    const a = { namespace: `${name}a`, device: "eth0", ip: "10.77.0.1", ip6: "fd77::1" };
    const b = { namespace: `${name}b`, device: "eth0", ip: "10.77.0.2", ip6: "fd77::2" };
    const link = new Link(a, b);
    try {
      await must(["ip", "netns", "add", a.namespace]);
      await must(["ip", "netns", "add", b.namespace]);
      await must(
        ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.namespace],
        { namespace: a.namespace },
      );
      for (const { namespace, device, ip, ip6 } of [a, b]) {
        const ipIn = (...args: string[]): Promise<string> => must(["ip", ...args], { namespace });
        await ipIn("link", "set", "lo", "up");
        await ipIn("addr", "add", `${ip}/24`, "dev", device);
        await ipIn("addr", "add", `${ip6}/64`, "dev", device, "nodad");
        await ipIn("link", "set", device, "up");
      }
    } catch (error) {
      await link[Symbol.asyncDispose]();
      throw error;
    }
    return link;
  }

  /** Removes both namespaces, and ends what still runs in them. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { namespace } of [this.a, this.b]) {
      const { code, stdout } = await run(["ip", "netns", "pids", namespace]);
      if (code !== 0) continue;
      for (const pid of stdout.split("\n").filter((row) => row !== "")) {
        await run(["kill", "-KILL", pid]);
      }
      await run(["ip", "netns", "del", namespace]);
    }
  }
}
