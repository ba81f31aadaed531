/**
 * The NAT laboratory (`tests/natlab`) for tests: one lab per object, torn down with it.
 *
 * ```ts ignore
 * await using lab = await Lab.up("pair", { servers: ["disco:2"], sites: ["a=portrestricted", "b=symmetric"] });
 * const { stdout } = await lab.exec("a1", ["ip", "route"]);
 * ```
 *
 * @module
 */
import { Child, type ChildOptions, must, type Output, run } from "./child.ts";
import { ROOT } from "./needs.ts";

/** What a lab is made of, in the words of `natlab up`. */
export interface LabSpec {
  /** `NAME` or `NAME:ADDRESSES`. @default ["disco:2"] */
  readonly servers?: readonly string[];
  /** `SITE=TYPE[,key=value...]`. */
  readonly sites: readonly string[];
}

interface LabState {
  readonly hosts: Record<string, { readonly ifs: Record<string, NodeAddresses> }>;
  readonly servers: Record<
    string,
    { readonly ip: readonly string[]; readonly ip6: readonly string[] }
  >;
  readonly sites: Record<string, { readonly ip?: string; readonly behind: string }>;
}

interface NodeAddresses {
  readonly ip?: string;
  readonly ip6?: string;
}

const NATLAB = `${ROOT}tests/natlab/natlab`;
/** The first `up` builds natbox. */
const UP_MS_MAX = 180_000;
let made = 0;

/** A lab that is up. */
export class Lab implements AsyncDisposable {
  /** The name: unique on this machine, and starts with the owner's process id. */
  readonly name: string;
  readonly #state: LabState;

  private constructor(name: string, state: LabState) {
    this.name = name;
    this.#state = state;
  }

  /** Builds a lab. Labs that a killed test run has left behind are removed first. */
  static async up(title: string, { servers = ["disco:2"], sites }: LabSpec): Promise<Lab> {
    await removeStale();
    const name = `mt${Deno.pid}-${++made}${title.replaceAll(/[^a-z0-9]/g, "")}`;
    const args = [
      ...servers.flatMap((server) => ["-s", server]),
      ...sites.flatMap((site) => ["-n", site]),
    ];
    const text = await must([NATLAB, "up", name, ...args], { timeoutMs: UP_MS_MAX });
    return new Lab(name, JSON.parse(text) as LabState);
  }

  /** The network namespace of a node. */
  namespace(node: string): string {
    return `${this.name}.${node}`;
  }

  /** A server's address of the family, the first or that of an index, or a host's on `eth0`. */
  address(node: string, family: 4 | 6 = 4, index = 0): string {
    const server = this.#state.servers[node];
    const card = this.#state.hosts[node]?.ifs["eth0"];
    const ip = family === 4 ? server?.ip[index] ?? card?.ip : server?.ip6[index] ?? card?.ip6;
    if (ip === undefined) throw new Error(`${node} has no IPv${family} address`);
    return ip;
  }

  /** Every IPv4 address of a server. */
  addresses(server: string): readonly string[] {
    return this.#state.servers[server]?.ip ?? [];
  }

  /** The IPv4 address that a site's hosts have on the internet: its NAT's, or its carrier's. `undefined` without a NAT. */
  publicAddress(site: string): string | undefined {
    const found = this.#state.sites[site];
    return found?.behind ? this.publicAddress(found.behind) : found?.ip;
  }

  /** Runs a command on a node to its end. */
  exec(
    node: string,
    command: readonly string[],
    options: ChildOptions & { readonly timeoutMs?: number } = {},
  ): Promise<Output> {
    return run(command, { ...options, namespace: this.namespace(node) });
  }

  /** Starts a process on a node. */
  spawn(node: string, command: readonly string[], options: ChildOptions = {}): Child {
    return new Child(command, { ...options, namespace: this.namespace(node) });
  }

  /** Talks to a site's natbox: `set loss=5%`, `flush`, `maps`, `stats`. Returns what natlab prints. */
  ctl(site: string, line: string): Promise<string> {
    return must([NATLAB, "ctl", this.name, site, ...line.split(" ")]);
  }

  /** Any other subcommand of natlab on this lab: `roam`, `move`, `attach`, `detach`, `restart`. */
  natlab(command: string, ...args: readonly string[]): Promise<string> {
    return must([NATLAB, command, this.name, ...args]);
  }

  /** Removes the lab and ends every process in it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await must([NATLAB, "down", this.name]);
  }
}

/** Whether the process that made a namespace, named `mt<pid>...`, is gone. */
export function isStale(name: string): boolean {
  const pid = /^mt(\d+)\D/.exec(name)?.[1];
  if (pid === undefined) return false;
  try {
    Deno.statSync(`/proc/${pid}`);
    return false;
  } catch {
    return true;
  }
}

async function removeStale(): Promise<void> {
  const labs = (await must([NATLAB, "list"])).split("\n").filter(isStale);
  for (const lab of labs) await must([NATLAB, "down", lab]);
}
