/** A mesh of Discovery and a colony in one namespace, and what agents in the other need to join it. @module */
import { must } from "../../tests/support/child.ts";
import { startWebServer } from "../../tests/support/http.ts";
import { keyPair } from "../../tests/support/keys.ts";
import { Link } from "../../tests/support/link.ts";
import { urlOf } from "../../tests/support/mesh.ts";
import { Moray, type Program } from "../../tests/support/moray.ts";
import { unmet } from "../../tests/support/needs.ts";
import type { Scope } from "../../tests/support/scope.ts";
import { BULK_PORT, startKernelServers } from "../load/kernel.ts";
import type { Ends } from "./tunnel.ts";

/** Port of the colony's web server inside the mesh. */
export const WEB_PORT = 8080;
const MESH = "reef";
const SERVICE = "coral.discovery.v1.DiscoveryService";

/** A mesh that waits for agents. */
export interface BenchMesh {
  /** End A is where agents belong, B is the colony's. */
  readonly ends: Ends;
  /** The colony's process. */
  readonly colonyPid: number;
  /** Flags that every agent of the mesh takes; its state directory is kept between starts. */
  readonly agentFlags: readonly string[];
  /** Registers agents that are not there. */
  register(count: number): Promise<void>;
}

/** Why a mesh cannot be made here, or `undefined`. */
export function meshUnmet(): string | undefined {
  return unmet(["root", "iperf3", "curl"]);
}

/** Starts Discovery, a web server, iperf3, and a colony that exposes both. */
export async function openMesh(scope: Scope, program: Program): Promise<BenchMesh> {
  const link = scope.use(await Link.up());
  const place = { program, namespace: link.b.namespace };
  const discovery = await Moray.start([
    "discovery",
    "--listen",
    `${link.b.ip}:8443`,
    "--stun-listen",
    `${link.b.ip}:3478`,
    "--store",
    ":memory:",
    // The nodes that are not there register by curl, which holds no key.
    "--allow-unproven",
  ], place);
  scope.use(discovery);
  const web = await startWebServer(scope, { namespace: link.b.namespace });
  await startKernelServers(scope, { end: link.b });
  const joining = ["--mesh", MESH, "--discovery", urlOf(discovery)];
  const colony = await Moray.start([
    "colony",
    "--open",
    ...joining,
    "--state",
    scope.directory(),
    "--expose",
    `${WEB_PORT}:${web}`,
    "--expose",
    `${BULK_PORT}:127.0.0.1:${BULK_PORT}`,
  ], place);
  scope.use(colony);
  return {
    ends: link,
    colonyPid: colony.child.pid,
    agentFlags: [...joining, "--name", "walker", "--state", scope.directory()],
    register: (count) => register(scope, { url: urlOf(discovery), link, count }),
  };
}

/** One curl for all: a process for each would take longer than the registrations live. */
async function register(
  scope: Scope,
  { url, link, count }: { readonly url: string; readonly link: Link; readonly count: number },
): Promise<void> {
  const requests: string[] = [];
  for (let i = 0; i < count; i++) {
    const { publicKey } = await keyPair();
    const body = {
      agentId: `absent-${i}`,
      meshId: MESH,
      pubkey: publicKey,
      // Nobody listens there.
      endpoints: [`${link.a.ip}:9`],
    };
    requests.push([
      `url = ${JSON.stringify(`${url}/${SERVICE}/RegisterAgent`)}`,
      'header = "Content-Type: application/json"',
      `data = ${JSON.stringify(JSON.stringify(body))}`,
      'output = "/dev/null"',
    ].join("\n"));
  }
  const file = `${scope.directory()}/requests`;
  await Deno.writeTextFile(file, `${requests.join("\nnext\nfail\n")}\n`);
  await must(["curl", "--silent", "--show-error", "--fail", "--config", file], {
    namespace: link.b.namespace,
    timeoutMs: 120_000,
  });
}
