/** Two hosts and a router between them, in network namespaces: for what routers say of datagrams that they do not forward. @module */
import { must, run } from "./child.ts";
import { isStale } from "./natlab.ts";

/** A host of a {@linkcode RoutedLink}, or its router as seen from host `a`. */
export interface RoutedHost {
  /** The network namespace. */
  readonly namespace: string;
  /** Its address. */
  readonly ip: string;
}

/** What lies between the hosts. */
export interface RoutedLinkOptions {
  /** The only family that there is. */
  readonly family: 4 | 6;
  /** MTU of the wire between the router and host `b`; the one to host `a` has 1500. */
  readonly mtu: number;
}

let made = 0;

/** `a` --1500-- router --mtu-- `b`. */
export class RoutedLink implements AsyncDisposable {
  /** The host whose own wire is wide. */
  readonly a: RoutedHost;
  /** The router. */
  readonly router: RoutedHost;
  /** The host behind the narrow wire. */
  readonly b: RoutedHost;

  private constructor(a: RoutedHost, router: RoutedHost, b: RoutedHost) {
    this.a = a;
    this.router = router;
    this.b = b;
  }

  /** Builds it. Namespaces that a killed run has left behind are removed first. */
  static async up({ family, mtu }: RoutedLinkOptions): Promise<RoutedLink> {
    const all = (await must(["ip", "netns", "list"])).split("\n").map((row) =>
      row.split(" ")[0] ?? ""
    );
    for (const name of all.filter((name) => name.includes("-routed") && isStale(name))) {
      await must(["ip", "netns", "del", name]);
    }
    const name = `mt${Deno.pid}-routed${++made}`;
    const [left, right] = family === 4 ? ["10.78.1.", "10.78.2."] : ["fd78:1::", "fd78:2::"];
    const length = family === 4 ? 24 : 64;
    const link = new RoutedLink(
      { namespace: `${name}a`, ip: `${left}2` },
      { namespace: `${name}r`, ip: `${left}1` },
      { namespace: `${name}b`, ip: `${right}2` },
    );
    const { a, router, b } = link;
    try {
      for (const { namespace } of [a, router, b]) {
        await must(["ip", "netns", "add", namespace]);
        await must(["ip", "link", "set", "lo", "up"], { namespace });
      }
      for (
        const [host, device, ip, width] of [[a, "left", `${left}1`, 1500], [
          b,
          "right",
          `${right}1`,
          mtu,
        ]] as const
      ) {
        const { namespace } = host;
        await must(
          ["ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace],
          { namespace: router.namespace },
        );
        for (const [at, end, address] of [[router, device, ip], [host, "eth0", host.ip]] as const) {
          const ipIn = (...args: string[]): Promise<string> =>
            must(["ip", ...args], { namespace: at.namespace });
          await ipIn("link", "set", end, "mtu", `${width}`);
          const nodad = family === 6 ? ["nodad"] : [];
          await ipIn("addr", "add", `${address}/${length}`, "dev", end, ...nodad);
          await ipIn("link", "set", end, "up");
        }
        await must(["ip", `-${family}`, "route", "add", "default", "via", ip], { namespace });
      }
      const forwarding = family === 4 ? "net.ipv4.ip_forward" : "net.ipv6.conf.all.forwarding";
      await must(["sysctl", "-q", "-w", `${forwarding}=1`], { namespace: router.namespace });
    } catch (error) {
      await link[Symbol.asyncDispose]();
      throw error;
    }
    return link;
  }

  /** Removes the namespaces, and ends what still runs in them. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { namespace } of [this.a, this.router, this.b]) {
      const { code, stdout } = await run(["ip", "netns", "pids", namespace]);
      if (code !== 0) continue;
      for (const pid of stdout.split("\n").filter((row) => row !== "")) {
        await run(["kill", "-KILL", pid]);
      }
      await run(["ip", "netns", "del", namespace]);
    }
  }
}
