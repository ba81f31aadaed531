/** A candidate that points into the mesh itself, where the kernel would lead it back into the tunnel. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { parseSocketAddress } from "../../core/mod.ts";
import { startNatWorld } from "../support/nat_mesh.ts";
import { Lab } from "../support/natlab.ts";
import { e2e, eventually } from "../support/scope.ts";

const SITE = "portrestricted,delay=5ms";
const WG_PORT = "41820";
const TUN = "moray0";
const DIRECT_MS_MAX = 30_000;
/** Echoes of the kernel, with time for every schedule of handshakes and probes in between. */
const ECHOES = ["-c", "20", "-i", "0.5", "-W", "2"];

e2e(
  "a candidate inside the mesh's own prefix does not lead the tunnel into itself",
  { needs: ["full", "natlab", "tun", "tcpdump"], timeoutMs: 120_000 },
  async (scope) => {
    const lab = scope.use(await Lab.up("inside", { sites: [`c=${SITE}`, `a=${SITE}`] }));
    const world = await startNatWorld(scope, { lab });
    const state = scope.directory();
    const place = { mesh: "reef", host: "c1", state };
    // What its address in the mesh is, a node knows once it has a key.
    const first = await world.start("colony", place);
    const inside = (await first.status()).node.meshIpv6;
    assert(inside !== null);
    await first[Symbol.asyncDispose]();
    const colony = await world.start("colony", {
      ...place,
      flags: ["--wg-port", WG_PORT, "--public-endpoint", `[${inside}]:${WG_PORT}`, "--tun", TUN],
    });
    assert(
      (await colony.status()).node.endpoints.includes(`[${inside}]:${WG_PORT}`),
      "the colony announces an address inside the tunnel",
    );
    const agent = await world.start("agent", {
      mesh: "reef",
      host: "a1",
      name: "walker",
      flags: ["--tun", TUN],
    });
    const looped = scope.use(
      lab.spawn("a1", ["tcpdump", "-Z", "root", "-l", "-n", "-i", TUN, "udp"]),
    );
    await looped.line(/listening on/);
    const outside = async (): Promise<string | undefined> => {
      const path = await agent.path("colony");
      return path?.kind === "direct" ? parseSocketAddress(path.remote ?? "")?.hostname : undefined;
    };
    const remote = await eventually("a direct path", outside, { timeoutMs: DIRECT_MS_MAX });
    assertEquals(remote, lab.publicAddress("c"));
    const { code, stdout } = await lab.exec("a1", ["ping", "-6", ...ECHOES, inside]);
    assertEquals(code, 0, stdout);
    assert(stdout.includes(" 0% packet loss"), stdout);
    assertEquals(await outside(), lab.publicAddress("c"));
    const packets = looped.log.split("\n").filter((line) => / IP6? /.test(line));
    assertEquals(packets, [], "no datagram of the node's enters its own tunnel");
  },
);
