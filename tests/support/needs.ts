/** What a test may need of the machine, and the sentence for where it is missing. @module */

/**
 * - `full`: the full suite was asked for (`deno task test` runs only what works anywhere)
 * - `long`: the long suite was asked for (`MORAY_LONG=1`)
 * - `root`: user 0 on Linux, with network namespaces
 * - `tun`: root and `/dev/net/tun`
 * - `natlab`: root, Python 3, and natbox built or Go to build it
 * - `wireguard-go`: found, or Go to build it, and `wg`
 * - `go`: Go, to build what is compared with
 * - `gateway`: root, miniupnpd and nft
 * - `postgres`: a PostgreSQL server that can be started, as another user where we are root
 * - `binary`: the compiled program
 * - any other: a command of that name
 */
export type Need =
  | "full"
  | "long"
  | "root"
  | "tun"
  | "natlab"
  | "wireguard-go"
  | "gateway"
  | "tayga"
  | "dnsmasq"
  | "binary"
  | "curl"
  | "tcpdump"
  | "iperf3"
  | "turnserver"
  | "postgres"
  | "chromium"
  | "sshd"
  | "ssh"
  | "nc"
  | "dig"
  | "npm"
  | "python3"
  | "go";

/** Debian's packages of commands that have another name. */
const PACKAGES: Partial<Record<Need, string>> = {
  turnserver: "coturn",
  sshd: "openssh-server",
  ssh: "openssh-client",
  nc: "netcat-openbsd",
  dig: "bind9-dnsutils",
};

/** The root of the repository. */
export const ROOT: string = new URL("../../", import.meta.url).pathname;

/** Returns why the first unmet need is unmet, or `undefined` if all are met. */
export function unmet(needs: readonly Need[]): string | undefined {
  for (const need of needs) {
    const reason = missing(need);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** Returns the path of a command or of an executable file, or `undefined` if there is none. */
export function which(command: string): string | undefined {
  if (command.includes("/")) return isExecutable(command) ? command : undefined;
  const path = `${Deno.env.get("PATH") ?? ""}:/usr/sbin:/sbin:/usr/local/go/bin`;
  return path.split(":").filter((folder) => folder !== "").map((folder) => `${folder}/${command}`)
    .find(isExecutable);
}

/** The compiled program: `$MORAY_BIN`, or `dist/moray`. `undefined` if it was not built. */
export function binaryPath(): string | undefined {
  const path = Deno.env.get("MORAY_BIN") ?? `${ROOT}dist/moray`;
  return isExecutable(path) ? path : undefined;
}

/** Where test tools are kept between runs: `$MORAY_TEST_TOOLS`, or a folder in the user's cache. */
export function toolFolder(): string {
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME") ?? "/tmp"}/.cache`;
  return Deno.env.get("MORAY_TEST_TOOLS") ?? `${cache}/moray-tests`;
}

/** The folder of PostgreSQL's programs, which Debian keeps out of `PATH`; the newest version's. `undefined` if there is none. */
export function postgresFolder(): string | undefined {
  const versions = "/usr/lib/postgresql";
  const packaged = exists(versions)
    ? [...Deno.readDirSync(versions)].map(({ name }) => Number(name)).sort((a, b) => b - a)
      .map((version) => `${versions}/${version}/bin`)
    : [];
  const inPath = which("initdb")?.replace(/\/initdb$/, "");
  return [...packaged, ...inPath === undefined ? [] : [inPath]]
    .find((folder) =>
      ["initdb", "pg_ctl", "postgres"].every((it) => isExecutable(`${folder}/${it}`))
    );
}

function missing(need: Need): string | undefined {
  switch (need) {
    case "full":
      return Deno.env.has("MORAY_QUICK")
        ? "part of the full suite: deno task test:full"
        : undefined;
    case "long":
      return Deno.env.has("MORAY_LONG") ? undefined : "part of the long suite: MORAY_LONG=1";
    case "root":
      if (Deno.build.os !== "linux") return "needs Linux network namespaces";
      if (Deno.uid() !== 0) return "needs root";
      return command("ip", "iproute2") ?? command("nsenter", "util-linux");
    case "tun":
      return missing("root") ?? (exists("/dev/net/tun") ? undefined : "needs /dev/net/tun");
    case "natlab":
      return missing("root") ?? command("python3", "python3") ??
        (isExecutable(`${ROOT}tests/natlab/natbox`) ? undefined : command("go", "golang"));
    case "wireguard-go":
      return missing("tun") ?? command("wg", "wireguard-tools") ??
        (isExecutable(`${toolFolder()}/wireguard-go`) ? undefined : command("go", "golang"));
    case "go":
      return command("go", "golang");
    case "gateway":
      return missing("root") ?? command("miniupnpd", "miniupnpd") ?? command("nft", "nftables");
    case "postgres":
      if (Deno.build.os !== "linux") return "needs Linux";
      return postgresFolder() === undefined
        ? "needs a PostgreSQL server (package postgresql)"
        : Deno.uid() === 0
        ? command("setpriv", "util-linux")
        : undefined;
    case "binary":
      return binaryPath() === undefined
        ? "needs the compiled program: deno task compile, or MORAY_BIN"
        : undefined;
    default:
      return command(need, PACKAGES[need] ?? need);
  }
}

function command(name: string, debianPackage: string): string | undefined {
  return which(name) === undefined ? `needs ${name} (package ${debianPackage})` : undefined;
}

function isExecutable(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && (mode === null || (mode & 0o111) !== 0);
  } catch {
    return false;
  }
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
