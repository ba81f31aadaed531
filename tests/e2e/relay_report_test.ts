/** Relays that report themselves to Discovery, and nodes that are sent to them: real processes on 127.0.0.1, without root. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { DiscoveryClient } from "../../discovery/mod.ts";
import { identityOf } from "../../discovery/testing/identity.ts";
import { Moray, moray, SOURCE } from "../support/moray.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";

const SECRET = "shared by relays and Discovery";
const IDENTITY = await identityOf(2);
const AGENT = { meshId: "reef", publicKey: IDENTITY.text, role: "agent" } as const;

function startRelay(scope: Scope, url: string, id: string): Promise<Moray> {
  return Moray.start([
    ...["relay", "--listen-udp", "127.0.0.1:0", "--external-ip", "127.0.0.1"],
    ...["--allow-private-peers", "--secret", SECRET, "--drain-seconds", "0"],
    ...["--discovery", url, "--relay-id", id],
  ], { program: SOURCE }).then((relay) => scope.use(relay));
}

e2e(
  "relays report themselves, carry a mesh, hand it over when one ends, and are not offered afterwards",
  { timeoutMs: 120_000 },
  async (scope) => {
    const discovery = scope.use(
      await Moray.start([
        ...["discovery", "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"],
        ...["--store", ":memory:", "--relay-secret", SECRET],
      ], { program: SOURCE }),
    );
    const url = `http://${discovery.address("http")}`;
    const client = new DiscoveryClient({ urls: [url], identity: IDENTITY, log: () => {} });
    const relays = new Map<string, Moray>();
    for (const id of ["one", "two"]) relays.set(id, await startRelay(scope, url, id));
    const offered = async (): Promise<string[]> =>
      (await client.requestRelay(AGENT)).relays.map(({ relayId }) => relayId);
    await eventually("both relays to be offered", async () => {
      const ids = await offered().catch(() => []);
      return ids.length === 2 ? true : undefined;
    }, { timeoutMs: 20_000, everyMs: 200 });

    const state = scope.directory();
    const mesh = ["--mesh", "reef", "--discovery", url, "--no-port-mapping"];
    scope.use(
      await Moray.start(["colony", "--open", ...mesh, "--state", scope.directory()], {
        program: SOURCE,
      }),
    );
    const flags = ["--state", state, "--name", "walker", "--no-direct"];
    scope.use(await Moray.start(["agent", ...mesh, ...flags], { program: SOURCE }));
    const pathRelay = async (): Promise<string | undefined> => {
      const { stdout } = await moray(["ping", "colony", "--state", state, "-c", "1", "--json"]);
      const reply = stdout.split("\n").find((line) => line.includes('"reply"'));
      const { path, rttMs } = JSON.parse(reply ?? "{}");
      return path?.kind === "relayed" && rttMs !== null ? path.relay : undefined;
    };
    const first = await eventually("an answer over a relay", pathRelay, { timeoutMs: 20_000 });
    const used = relays.get(first);
    assert(used !== undefined, `the path is over ${first}`);

    assertEquals(await used.stop(), 0);
    const second = first === "one" ? "two" : "one";
    await eventually("an answer over the other relay", async () => {
      const relay = await pathRelay();
      return relay === second ? true : undefined;
    }, { timeoutMs: 20_000 });
    assertEquals(await offered(), [second]);
    assert(!discovery.child.log.includes(SECRET));
  },
);
