/** wireguard-go with a TUN device in a namespace: the other end in interoperability tests and benchmarks. @module */
import { Child, must, run } from "./child.ts";
import { toolFolder, which } from "./needs.ts";
import { eventually } from "./scope.ts";

/** The commit that the tests are run against. */
const VERSION = "v0.0.0-20260522210424-ecfc5a8d5446";
/** Downloading and building on a slow machine. */
const BUILD_MS_MAX = 240_000;
/** A listening socket's flags in /proc/net/unix: __SO_ACCEPTCON of the kernel's net.h. */
const ACCEPTS = "00010000";

/** One WireGuard interface with one peer. */
export interface WireGuardGoOptions {
  /** Namespace of the device. */
  readonly namespace: string;
  /** Private key, base64. */
  readonly privateKey: string;
  /** Address of the device with its prefix length. */
  readonly address: string;
  /** A second address of the device with its prefix length. Absent: none. */
  readonly address6?: string;
  /** UDP port. */
  readonly listenPort: number;
  /** Public key of the peer. */
  readonly peerPublicKey: string;
  /** Preshared key, base64. Absent: none. */
  readonly presharedKey?: string;
  /** What the peer may send from and is sent. */
  readonly allowedIps: string;
  /** Where the peer is. Absent: it must speak first. */
  readonly endpoint?: string;
  /** Logs errors only: for benchmarks. @default false */
  readonly quiet?: boolean;
  /** Another program with the same ways: what stands before the device's name. @default wireguard-go in the foreground */
  readonly program?: readonly string[];
}

let made = 0;

/** Returns the path of wireguard-go, building it on first use. */
export async function wireguardGo(): Promise<string> {
  const folder = toolFolder();
  const path = `${folder}/wireguard-go`;
  if (which(path) !== undefined) return path;
  await Deno.mkdir(folder, { recursive: true });
  // `go install` names the program after the module's last element.
  const scratch = await Deno.makeTempDir({ dir: folder });
  try {
    await must([which("go") ?? "go", "install", `golang.zx2c4.com/wireguard@${VERSION}`], {
      env: { GOBIN: scratch },
      timeoutMs: BUILD_MS_MAX,
    });
    await Deno.rename(`${scratch}/wireguard`, path);
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
  return path;
}

/** A running wireguard-go. */
export class WireGuardGo implements AsyncDisposable {
  /** The process. */
  readonly child: Child;
  /** Name of the TUN device. */
  readonly device: string;
  readonly #namespace: string;

  private constructor(child: Child, device: string, namespace: string) {
    this.child = child;
    this.device = device;
    this.#namespace = namespace;
  }

  /** Starts wireguard-go and configures its device. */
  static async start(options: WireGuardGoOptions): Promise<WireGuardGo> {
    const { namespace } = options;
    const device = `w${Deno.pid}n${++made}`;
    const program = options.program ?? [await wireguardGo(), "-f"];
    const child = new Child([...program, device], {
      namespace,
      env: { LOG_LEVEL: options.quiet === true ? "error" : "verbose" },
    });
    const started = new WireGuardGo(child, device, namespace);
    try {
      await eventually("wireguard-go to take a configuration", async () => {
        return child.ended || await listens(child.pid, socketOf(device)) ? true : undefined;
      });
      if (child.ended) throw new Error(`${program[0]} has ended: ${child.log.slice(-1_000)}`);
      await started.#configure(options);
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
    return started;
  }

  /** Counters and the last handshake of the peer, as `wg show DEVICE dump` gives them. */
  async peer(): Promise<{ lastHandshake: number; rxBytes: number; txBytes: number }> {
    const dump = await must(["wg", "show", this.device, "dump"], { namespace: this.#namespace });
    const fields = (dump.split("\n")[1] ?? "").split("\t");
    return {
      lastHandshake: Number(fields[4]),
      rxBytes: Number(fields[5]),
      txBytes: Number(fields[6]),
    };
  }

  /** Ends it; the device goes with it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.child[Symbol.asyncDispose]();
    await run(["rm", "-f", socketOf(this.device)]);
  }

  async #configure(options: WireGuardGoOptions): Promise<void> {
    const { namespace, presharedKey, endpoint } = options;
    // Keys go through files of mode 0600: arguments are visible to every user.
    const folder = await Deno.makeTempDir({ prefix: "moray-wg-" });
    try {
      const file = async (name: string, text: string): Promise<string> => {
        await Deno.writeTextFile(`${folder}/${name}`, text, { mode: 0o600 });
        return `${folder}/${name}`;
      };
      const psk = presharedKey === undefined
        ? []
        : ["preshared-key", await file("psk", presharedKey)];
      await must([
        "wg",
        "set",
        this.device,
        "listen-port",
        String(options.listenPort),
        "private-key",
        await file("key", options.privateKey),
        "peer",
        options.peerPublicKey,
        ...psk,
        "allowed-ips",
        options.allowedIps,
        ...(endpoint === undefined ? [] : ["endpoint", endpoint]),
      ], { namespace });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
    for (const address of [options.address, options.address6 ?? []].flat()) {
      await must(["ip", "addr", "add", address, "dev", this.device], { namespace });
    }
    await must(["ip", "link", "set", this.device, "mtu", "1420", "up"], { namespace });
  }
}

/** Where wireguard-go takes its configuration. */
function socketOf(device: string): string {
  return `/var/run/wireguard/${device}.sock`;
}

/**
 * Whether somebody listens on a unix socket in a process's network namespace. wg(8) must not be asked for it: it removes
 * a socket that is bound and not listened on yet, as one that a dead process left.
 */
async function listens(pid: number, path: string): Promise<boolean> {
  const sockets = await Deno.readTextFile(`/proc/${pid}/net/unix`).catch(() => "");
  return sockets.split("\n").some((row) => {
    const fields = row.trim().split(/\s+/);
    // boringtun-cli's path has a slash too many.
    return fields[3] === ACCEPTS && fields.at(-1)?.replaceAll("//", "/") === path;
  });
}
