/** A candidate that points into the mesh itself, where the kernel would lead it back into the tunnel. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { loadOrCreateKey } from "../../agent/mod.ts";
import { parseSocketAddress } from "../../core/mod.ts";
import { DiscoveryClient, type Fetch, SigningKey } from "../../discovery/mod.ts";
import { privateCryptoKey } from "../../io/mod.ts";
import { type LabNode, startNatWorld } from "../support/nat_mesh.ts";
import { Lab } from "../support/natlab.ts";
import { e2e, eventually } from "../support/scope.ts";

// With IPv6, as the address inside the mesh is one.
const SITE = "portrestricted,v6=on,delay=5ms";
const WG_PORT = "41820";
const TUN = "moray0";
const DIRECT_MS_MAX = 30_000;
/** Echoes of the kernel, with time for every schedule of handshakes and probes in between. */
const ECHOES = ["-c", "20", "-i", "0.5", "-W", "2"];

e2e(
  "a candidate inside the mesh's own prefix does not lead the tunnel into itself",
  { needs: ["full", "natlab", "tun", "tcpdump", "curl"], timeoutMs: 120_000 },
  async (scope) => {
    const lab = scope.use(await Lab.up("inside", { sites: [`c=${SITE}`, `a=${SITE}`] }));
    const world = await startNatWorld(scope, { lab });
    const flags = ["--tun", TUN];
    const colony = await world.start("colony", {
      mesh: "reef",
      host: "c1",
      flags: [...flags, "--wg-port", WG_PORT],
    });
    const inside = (await colony.status()).node.meshIpv6;
    assert(inside !== null);
    // On every interface, from before the agent has its own.
    const filter = ["-i", "any", "udp", "and", "host", inside];
    const looped = scope.use(lab.spawn("a1", ["tcpdump", "-Z", "root", "-l", "-n", ...filter]));
    await looped.line(/listening on/);
    const agent = await world.start("agent", { mesh: "reef", host: "a1", name: "walker", flags });
    const outside = async (): Promise<string | undefined> => {
      const path = await agent.path("colony");
      return path?.kind === "direct" ? parseSocketAddress(path.remote ?? "")?.hostname : undefined;
    };
    const remote = await eventually("a direct path", outside, { timeoutMs: DIRECT_MS_MAX });
    assert(remote !== inside, remote);
    await lie(lab, { colony, inside });
    // Now that the kernel leads the prefix into the tunnel, another network card makes the agent try everything again.
    const shaken = async (): Promise<string | null> =>
      (await agent.peer("colony"))?.lastHandshakeAt ?? null;
    const before = await shaken();
    await lab.natlab("attach", "a1", "a");
    await eventually(
      "another handshake",
      async () => await shaken() === before ? undefined : true,
      { timeoutMs: DIRECT_MS_MAX },
    );
    const { code, stdout } = await lab.exec("a1", ["ping", "-6", ...ECHOES, inside]);
    assertEquals(code, 0, stdout);
    assert(stdout.includes(" 0% packet loss"), stdout);
    assert(await outside() !== inside);
    // Somebody else's datagram does enter it, so that whoever watches would have seen the node's own.
    const send = "import socket, sys\n" +
      "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'control', (sys.argv[1], 9))";
    assertEquals((await lab.exec("a1", ["python3", "-c", send, inside])).code, 0);
    await looped.line(new RegExp(`> ${inside}\\.9: UDP`));
    const own = looped.log.split("\n").filter((line) => line.includes(`${inside}.${WG_PORT}`));
    assertEquals(own, [], "no datagram of the node's enters its own tunnel");
  },
);

/** Registers the colony with addresses inside the tunnel, as a node of another make may do by mistake. */
async function lie(
  lab: Lab,
  { colony, inside }: { readonly colony: LabNode; readonly inside: string },
): Promise<void> {
  const { node } = await colony.status();
  const texts = [`[${inside}]:${WG_PORT}`, `${node.meshIpv4}:${WG_PORT}`, ...node.endpoints];
  const { privateKey, publicKey } = await loadOrCreateKey(colony.state);
  const signer = new SigningKey({
    privateKey,
    randomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
  });
  const client = new DiscoveryClient({
    urls: [`http://${lab.address("disco")}:8080`],
    identity: { publicKey, secret: await privateCryptoKey(privateKey), signer },
    fetch: curlIn(lab),
    log: () => {},
  });
  await client.register({
    meshId: "reef",
    role: "colony",
    publicKey: node.publicKey,
    name: node.name,
    ...(node.meshIpv4 !== null && { meshIpv4: node.meshIpv4 }),
    meshIpv6: inside,
    endpoints: texts.map(parseSocketAddress).filter((address) => address !== undefined),
  });
}

/** POST by curl, from the network that Discovery is in. */
function curlIn(lab: Lab): Fetch {
  return async (input, init) => {
    const headers = [...new Headers(init?.headers)].map(([name, value]) => `${name}: ${value}`);
    const body = await new Response(init?.body ?? "").text();
    const { code, stdout, stderr } = await lab.exec("disco", [
      ...["curl", "--silent", "--show-error", "--include", String(input), "--data", body],
      ...headers.flatMap((header) => ["--header", header]),
    ]);
    assertEquals(code, 0, stderr);
    const [head = "", ...rest] = stdout.split("\r\n\r\n");
    const [status = "", ...lines] = head.split("\r\n");
    const pairs = lines.map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
    return new Response(rest.join("\r\n\r\n"), {
      status: Number(status.split(" ")[1]),
      headers: pairs,
    });
  };
}
