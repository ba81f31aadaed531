/** A colony on host `c1` with a web server behind it, an agent on host `a1`, and what relays carry between them. @module */
import { digest } from "./child.ts";
import { curl, startWebServer } from "./http.ts";
import { Moray, SOURCE } from "./moray.ts";
import { type LabNode, type NatWorld, startNatWorld } from "./nat_mesh.ts";
import type { Lab } from "./natlab.ts";
import { eventually, type Scope } from "./scope.ts";

/** Port of every relay in these labs. */
export const RELAY_PORT = 3480;
/** Secret between a lab's relays and its Discovery. */
export const RELAY_SECRET = "of the lab";
/** A little real: 20 ms from a site to the servers and back. */
export const DELAY = "delay=10ms";
/** How soon a pair talks over a relay, however busy the machine is. */
const CONNECT_MS_MAX = 20_000;

/** Discovery with its own relay. */
export function startRelayWorld(
  scope: Scope,
  lab: Lab,
  options: { readonly httpPort?: number } = {},
): Promise<NatWorld> {
  const address = lab.address("disco", 4);
  const listen = ["--relay-listen", `${address}:${RELAY_PORT}`, "--relay-external-ip", address];
  return startNatWorld(scope, { lab, ...options, discoveryFlags: ["--relay", ...listen] });
}

/** A relay as a process of its own on a server of the lab; it ends with the scope. */
export async function startLabRelay(
  scope: Scope,
  { lab, server, flags = [] }: {
    readonly lab: Lab;
    readonly server: string;
    readonly flags?: readonly string[];
  },
): Promise<Moray> {
  const address = lab.address(server, 4);
  return scope.use(
    await Moray.start([
      ...["relay", "--listen-udp", `${address}:${RELAY_PORT}`, "--external-ip", address],
      ...["--secret", RELAY_SECRET, ...flags],
    ], { program: SOURCE, namespace: lab.namespace(server), timeoutMs: 60_000 }),
  );
}

/** The colony of mesh `reef`, whose port 8080 leads to a web server. */
export async function startWebColony(
  scope: Scope,
  { lab, world }: { readonly lab: Lab; readonly world: NatWorld },
): Promise<LabNode> {
  const web = await startWebServer(scope, { namespace: lab.namespace("c1") });
  return world.start("colony", {
    mesh: "reef",
    host: "c1",
    flags: ["--expose", `8080:${web}`],
  });
}

/** The agent `walker` with a SOCKS5 proxy, once the colony answers it. */
export async function startWalker({ world }: { readonly world: NatWorld }): Promise<LabNode> {
  const flags = ["--socks5", "127.0.0.1:0"];
  const walker = await world.start("agent", { mesh: "reef", host: "a1", name: "walker", flags });
  await answers(walker, CONNECT_MS_MAX);
  return walker;
}

/** Resolves once the colony answers. */
export async function answers(node: LabNode, timeoutMs: number): Promise<void> {
  await eventually("the colony to answer", () => node.echo("colony", 500), {
    timeoutMs,
    everyMs: 20,
  });
}

/** Fetches a body that comes for so many seconds, from the colony, as {@linkcode digest}. */
export function streamFromColony(
  walker: LabNode,
  { lab, seconds, timeoutMs }: {
    readonly lab: Lab;
    readonly seconds: number;
    readonly timeoutMs: number;
  },
): ReturnType<typeof digest> {
  const stream = digest([
    ...curl({ socks5: walker.process.address("socks5"), timeoutMs }),
    `http://colony:8080/stream?seconds=${seconds}&pauseMs=100`,
  ], { namespace: lab.namespace("a1"), timeoutMs });
  // Whoever awaits it does so at the end; what fails before says more.
  stream.catch(() => {});
  return stream;
}
