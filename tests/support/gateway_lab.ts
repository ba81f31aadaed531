/**
 * A host behind a home router, in network namespaces: `miniupnpd` opens the router's ports, and nothing else does.
 *
 * ```text
 *   host 192.168.77.2 -- lan 192.168.77.1  router  wan 11.22.33.1 -- outside 11.22.33.2
 *        2001:db8:77::2                                                      2001:db8:33::2
 * ```
 *
 * The router masquerades IPv4, and forwards nothing inwards that is no answer. Its outer address is one that `miniupnpd` takes
 * for public, which it does not for the documentation's.
 *
 * @module
 */
import { Child, must, run } from "./child.ts";
import { isStale } from "./natlab.ts";

/** What the router's daemon speaks. */
export interface DaemonOptions {
  /** NAT-PMP and PCP on IPv4; PCP on IPv6 it always speaks. @default true */
  readonly pcp?: boolean;
  /** Lets no PCP through to the daemon, so that on this port it seems to speak NAT-PMP only. @default false */
  readonly natPmpOnly?: boolean;
  /** UPnP-IGD. @default true */
  readonly upnp?: boolean;
  /** Describes itself as version 1 of the device. @default false */
  readonly version1?: boolean;
  /** Most seconds that it grants. @default 86400 */
  readonly lifetimeMax?: number;
}

/** What the daemon fills. */
const CHAINS = ["miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd"];
let made = 0;

/** The three namespaces. */
export class GatewayLab implements AsyncDisposable {
  /** The host's namespace. */
  readonly host: string;
  /** The router's. */
  readonly router: string;
  /** The namespace outside. */
  readonly outside: string;
  /** The router's address outside. */
  readonly external = "11.22.33.1";
  /** The address of the namespace outside. */
  readonly outsideIp = "11.22.33.2";
  /** The host's IPv6 address, reached from outside through the router's firewall. */
  readonly hostIp6 = "2001:db8:77::2";
  readonly #folder: string;
  #daemon: Child | undefined;

  private constructor(name: string) {
    this.host = `${name}h`;
    this.router = `${name}r`;
    this.outside = `${name}o`;
    this.#folder = Deno.makeTempDirSync({ prefix: "moray-gateway-" });
  }

  /** Builds it, without a daemon. Namespaces that a killed run has left behind are removed first. */
  static async up(): Promise<GatewayLab> {
    const all = (await must(["ip", "netns", "list"])).split("\n").map((row) =>
      row.split(" ")[0] ?? ""
    );
    for (const name of all.filter((name) => name.includes("-gateway") && isStale(name))) {
      await must(["ip", "netns", "del", name]);
    }
    const lab = new GatewayLab(`mt${Deno.pid}-gateway${++made}`);
    try {
      await lab.#build();
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
    return lab;
  }

  /** Starts the daemon, or another one in its place: its mappings and its clock begin anew. */
  async startDaemon(
    options: DaemonOptions = {},
  ): Promise<void> {
    const { pcp = true, natPmpOnly = false, upnp = true, version1 = false } = options;
    const { lifetimeMax = 86_400 } = options;
    await this.stopDaemon();
    // The first byte of the payload is the version.
    if (natPmpOnly) await this.#nft("add rule inet filter input udp dport 5351 @th,64,8 2 drop");
    const yes = (value: boolean): string => value ? "yes" : "no";
    const file = `${this.#folder}/miniupnpd.conf`;
    Deno.writeTextFileSync(
      file,
      [
        "ext_ifname=wan",
        "listening_ip=lan",
        `enable_natpmp=${yes(pcp)}`,
        `enable_upnp=${yes(upnp)}`,
        `force_igd_desc_v1=${yes(version1)}`,
        "secure_mode=yes",
        "system_uptime=no",
        "min_lifetime=1",
        `max_lifetime=${lifetimeMax}`,
        "upnp_table_name=filter",
        "upnp_nat_table_name=filter",
        "upnp_forward_chain=miniupnpd",
        "upnp_nat_chain=prerouting_miniupnpd",
        "upnp_nat_postrouting_chain=postrouting_miniupnpd",
        "allow 1024-65535 192.168.77.0/24 1024-65535",
        "deny 0-65535 0.0.0.0/0 0-65535",
        "",
      ].join("\n"),
    );
    const pid = `${this.#folder}/miniupnpd.pid`;
    const daemon = new Child(["miniupnpd", "-d", "-f", file, "-P", pid], {
      namespace: this.router,
    });
    this.#daemon = daemon;
    await daemon.line(/HTTP listening on port|Listening for NAT-PMP/);
  }

  /** Ends the daemon; it takes its mappings with it. */
  async stopDaemon(): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    await daemon?.[Symbol.asyncDispose]();
    for (const chain of ["input", ...CHAINS]) {
      await this.#nft(`flush chain inet filter ${chain}`);
    }
  }

  /** What the daemon has printed. */
  get daemonLog(): string {
    return this.#daemon?.log ?? "";
  }

  /** The mappings that the router holds, as nftables prints them. */
  async rules(): Promise<string> {
    const chains = ["miniupnpd", "prerouting_miniupnpd"];
    const texts = await Promise.all(
      chains.map((chain) =>
        must(["nft", "list", "chain", "inet", "filter", chain], { namespace: this.router })
      ),
    );
    return texts.join("\n").split("\n").filter((line) => /dport|dnat/.test(line)).join("\n");
  }

  /** Sends a datagram of text from a port outside that nobody has ever heard of. */
  async sendFromOutside(ip: string, port: number, text: string): Promise<void> {
    const script = `printf '%s' '${text}' > /dev/udp/${ip}/${port}`;
    await must(["bash", "-c", script], { namespace: this.outside });
  }

  /** Removes the namespaces, and ends what still runs in them. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon?.[Symbol.asyncDispose]();
    for (const namespace of [this.host, this.router, this.outside]) {
      const { code, stdout } = await run(["ip", "netns", "pids", namespace]);
      if (code !== 0) continue;
      for (const pid of stdout.split("\n").filter((row) => row !== "")) {
        await run(["kill", "-KILL", pid]);
      }
      await run(["ip", "netns", "del", namespace]);
    }
    Deno.removeSync(this.#folder, { recursive: true });
  }

  async #build(): Promise<void> {
    const { host, router, outside } = this;
    const ip = (namespace: string, line: string): Promise<string> =>
      must(["ip", ...line.split(" ")], { namespace });
    for (const namespace of [host, router, outside]) {
      await must(["ip", "netns", "add", namespace]);
      await ip(namespace, "link set lo up");
    }
    await must(
      ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"],
      { namespace: router },
    );
    await ip(router, `link add lan type veth peer name eth0 netns ${host}`);
    await ip(router, `link add wan type veth peer name eth0 netns ${outside}`);
    const ends = [
      [router, "lan", "192.168.77.1/24", "2001:db8:77::1/64"],
      [host, "eth0", "192.168.77.2/24", "2001:db8:77::2/64"],
      [router, "wan", "11.22.33.1/24", "2001:db8:33::1/64"],
      [outside, "eth0", "11.22.33.2/24", "2001:db8:33::2/64"],
    ] as const;
    for (const [namespace, device, v4, v6] of ends) {
      await ip(namespace, `addr add ${v4} dev ${device}`);
      await ip(namespace, `addr add ${v6} dev ${device} nodad`);
      // A fixed one: the kernel's own is tentative for a second.
      await ip(namespace, `addr add fe80::${device === "eth0" ? 2 : 1}/64 dev ${device} nodad`);
      await ip(namespace, `link set ${device} up`);
    }
    await ip(host, "route add default via 192.168.77.1");
    await ip(host, "-6 route add default via fe80::1 dev eth0");
    await ip(outside, "-6 route add 2001:db8:77::/64 via 2001:db8:33::1");
    await this.#nft(`
      table inet filter {
        chain miniupnpd { }
        chain prerouting_miniupnpd { }
        chain postrouting_miniupnpd { }
        chain input { type filter hook input priority 0; }
        chain forward {
          type filter hook forward priority 0; policy drop;
          ct state established,related accept
          iifname "lan" accept
          jump miniupnpd
        }
        chain prerouting {
          type nat hook prerouting priority -100;
          jump prerouting_miniupnpd
        }
        chain postrouting {
          type nat hook postrouting priority 100;
          jump postrouting_miniupnpd
          oifname "wan" meta nfproto ipv4 masquerade
        }
      }`);
  }

  async #nft(script: string): Promise<void> {
    const file = `${this.#folder}/rules.nft`;
    Deno.writeTextFileSync(file, `${script}\n`);
    await must(["nft", "-f", file], { namespace: this.router });
  }
}
