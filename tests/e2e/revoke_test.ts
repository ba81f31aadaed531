/**
 * A node is thrown out of a mesh that two Discovery services serve from one database, with relays of three kinds: nothing of it is left
 * anywhere 5 s later, and nobody else has lost anything.
 */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { identityOf } from "../../agent/identity.ts";
import { KEY_FILE, loadKey } from "../../agent/key_file.ts";
import { connectLocalApi } from "../../agent/local_api.ts";
import { formatBase64, MorayError, parseSocketAddress } from "../../core/mod.ts";
import { DiscoveryClient, type RelayGrant } from "../../discovery/mod.ts";
import { curl, startWebServer } from "../support/http.ts";
import { run } from "../support/child.ts";
import { urlOf } from "../support/mesh.ts";
import { Moray, type Program, SOURCE } from "../support/moray.ts";
import { PostgresServer } from "../support/postgres.ts";
import { say } from "../support/say.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";
import { TurnLink } from "../support/turn.ts";

/** Issue 8: a revoked node is cut off everywhere within this time. */
const CUT_OFF_MS_MAX = 5000;
const MESH = "reef";
const SECRET = "shared by relays and Discovery";
/** Programs start side by side on few processors. */
const START_MS_MAX = 60_000;

/** A node's own key, with which this test asks in its name. */
async function ownClients(state: string, urls: readonly string[]): Promise<{
  readonly publicKey: string;
  readonly at: readonly DiscoveryClient[];
}> {
  const keys = await loadKey(`${state}/${KEY_FILE}`);
  assert(keys !== undefined, "the node has a key");
  const identity = await identityOf(keys);
  const at = urls.map((url) => new DiscoveryClient({ urls: [url], identity, log: () => {} }));
  return { publicKey: formatBase64(keys.publicKey), at };
}

/** Resolves once a relay has made an allocation with what Discovery granted. */
async function allocate(scope: Scope, grant: RelayGrant): Promise<TurnLink> {
  const udp = grant.transports.find(({ kind }) => kind === "udp");
  const server = parseSocketAddress(udp?.endpoint ?? "");
  assert(server !== undefined, `relay ${grant.relayId} listens for UDP`);
  const { username, password } = grant;
  const link = scope.use(TurnLink.open({ server, credentials: { username, password } }));
  await link.event("allocated", START_MS_MAX);
  return link;
}

/** Whether the allocation is gone, which shows when a permission is asked for. */
function isLost(link: TurnLink, turn: number): true | undefined {
  link.change((client, now) => client.setPeers(now, [`127.0.0.${2 + turn % 200}`]));
  return link.events.some(({ kind }) => kind === "lost" || kind === "failed") || undefined;
}

async function isRefused(call: Promise<unknown>): Promise<true | undefined> {
  try {
    return await call === undefined ? true : undefined;
  } catch (error) {
    return error instanceof MorayError && error.code === "refused" ? true : undefined;
  }
}

e2e(
  "a node that is thrown out is cut off within 5 s: at its colony, at every Discovery and relay, and with its fellows",
  { needs: ["full", "postgres", "curl"], timeoutMs: 240_000 },
  async (scope) => {
    const database = scope.use(await PostgresServer.start());
    const store = await database.createDatabase();
    const program: Program = {
      ...SOURCE,
      options: { ...SOURCE.options, env: { ...SOURCE.options.env, MORAY_STORE: store } },
    };
    const start = async (args: readonly string[], given = SOURCE): Promise<Moray> => {
      const options = { program: given, timeoutMs: START_MS_MAX };
      const process = scope.use(await Moray.start([...args, "--log-level", "debug"], options));
      scope.explain(() => Promise.resolve(`--- ${args[0]}\n${process.child.log.slice(-2500)}`));
      return process;
    };
    const replica = (id: string): Promise<Moray> =>
      start([
        ...["discovery", "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"],
        ...["--relay", "--relay-id", id, "--relay-listen", "127.0.0.1:0"],
        ...["--relay-external-ip", "127.0.0.1", "--relay-allow-private-peers"],
        ...["--relay-secret", SECRET],
      ], program);
    const urls = [urlOf(await replica("first")), urlOf(await replica("second"))];
    const [firstUrl = "", secondUrl = ""] = urls;
    // It reports to the one that the colony does not speak to.
    await start([
      ...["relay", "--listen-udp", "127.0.0.1:0", "--external-ip", "127.0.0.1"],
      ...["--allow-private-peers", "--secret", SECRET, "--drain-seconds", "0"],
      ...["--discovery", secondUrl, "--relay-id", "alone"],
    ]);
    const web = await startWebServer(scope, {});
    const colonyState = scope.directory();
    await start([
      ...["colony", "--mesh", MESH, "--discovery", firstUrl, "--state", colonyState],
      ...["--no-port-mapping", "--expose", `8080:${web}`],
    ]);
    const colony = await connectLocalApi(colonyState);
    scope.defer(() => colony[Symbol.dispose]());
    const join = async (
      name: string,
    ): Promise<{ readonly state: string; readonly node: Moray }> => {
      const state = scope.directory();
      const { invite } = await colony.membership.invite({ name, lifeMs: 600_000 });
      const node = await start([
        ...["agent", "--join", invite, "--discovery", secondUrl, "--state", state],
        ...["--no-port-mapping", "--socks5", "127.0.0.1:0"],
      ]);
      return { state, node };
    };
    const [laptop, phone] = [await join("laptop"), await join("phone")];
    const page = async ({ node }: { readonly node: Moray }, timeoutMs: number): Promise<number> => {
      const socks5 = node.address("socks5");
      return (await run([...curl({ socks5, timeoutMs }), "http://colony:8080/hello"])).code;
    };
    for (const one of [laptop, phone]) {
      await eventually("the page", async () => await page(one, 3000) === 0 || undefined, {
        timeoutMs: START_MS_MAX,
      });
    }

    const out = await ownClients(laptop.state, urls);
    const stays = await ownClients(phone.state, urls);
    const { publicKey } = out;
    const grantOf = (
      { at, publicKey }: typeof out,
      [replica, relayId]: readonly [number, string],
    ): Promise<RelayGrant> =>
      eventually(`a session of relay ${relayId}`, async () => {
        const asked = { meshId: MESH, publicKey, role: "agent", relayId } as const;
        return await at[replica]?.requestRelay(asked).catch(() => undefined);
      }, { timeoutMs: 30_000, everyMs: 200 });
    const relays = [[0, "first"], [1, "second"], [1, "alone"]] as const;
    const [links, others]: [TurnLink[], TurnLink[]] = [[], []];
    for (const relay of relays) {
      links.push(await allocate(scope, await grantOf(out, relay)));
      others.push(await allocate(scope, await grantOf(stays, relay)));
    }
    const watches = out.at.map((client) => {
      const ended = new AbortController();
      scope.defer(() => ended.abort());
      let standing: boolean | undefined;
      void client.watch({
        meshId: MESH,
        publicKey,
        onEvent: () => {},
        onState: ({ connected }) => standing = connected,
        signal: ended.signal,
      });
      return () => standing;
    });
    await eventually(
      "the streams to stand",
      () => watches.every((standing) => standing() === true) || undefined,
    );

    const took: Record<string, number> = {};
    const from = performance.now();
    const cutOff = async (
      what: string,
      probe: (turn: number) => true | undefined | Promise<true | undefined>,
    ): Promise<void> => {
      let turn = 0;
      const options = { timeoutMs: CUT_OFF_MS_MAX, everyMs: 100 };
      await eventually(`laptop to be cut off: ${what}`, () => probe(turn++), options);
      took[what] = Math.round(performance.now() - from);
    };
    assertEquals(await colony.membership.revoke("laptop"), { publicKey, published: true });
    const rows = async (table: string, column: string): Promise<true | undefined> => {
      const sql = `SELECT 1 FROM ${table} WHERE ${column} = '${publicKey}'`;
      return (await database.query(store, sql)).length === 0 || undefined;
    };
    await Promise.all([
      cutOff("the colony's sessions", async () => {
        const { peers } = await colony.status();
        return peers.every((peer) => peer.publicKey !== publicKey) || undefined;
      }),
      cutOff("what the colony serves", async () => await page(laptop, 500) !== 0 || undefined),
      cutOff(
        "a fellow knows",
        () =>
          phone.node.child.log.includes(`thrown a node out publicKey="${publicKey}"`) || undefined,
      ),
      cutOff("registration", () => rows("nodes", "pubkey")),
      cutOff("relay sessions", () => rows("peer_sessions", "pubkey")),
      ...relays.map(([, id], at) =>
        cutOff(`relay ${id}`, (turn) => {
          const link = links[at];
          return link === undefined ? undefined : isLost(link, turn);
        })
      ),
      ...out.at.flatMap((client, at) => {
        const fellow = { meshId: MESH, from: publicKey, to: stays.publicKey };
        const query = { meshId: MESH, publicKey, role: "agent" } as const;
        return [
          cutOff(`Watch at ${at}`, () => watches[at]?.() === false || undefined),
          cutOff(`colony at ${at}`, () => isRefused(client.lookupColony(MESH))),
          cutOff(
            `fellow at ${at}`,
            () => isRefused(client.lookupAgent({ meshId: MESH, publicKey: stays.publicKey })),
          ),
          cutOff(`punch at ${at}`, () => isRefused(client.initiatePunch(fellow))),
          cutOff(`relay by ${at}`, () => isRefused(client.requestRelay(query))),
          cutOff(
            `register at ${at}`,
            () => isRefused(client.register({ ...query, endpoints: [] })),
          ),
        ];
      }),
    ]);
    say(`cut off after ms: ${JSON.stringify(took)}`);
    assert(Math.max(...Object.values(took)) <= CUT_OFF_MS_MAX, JSON.stringify(took));

    // Nobody else has lost anything.
    assertEquals(await page(phone, 5000), 0);
    for (const link of others) {
      assertEquals(isLost(link, 0), undefined);
      assertEquals(link.client.state, "allocated");
    }
    const colonyFound = await stays.at[0]?.lookupColony(MESH);
    assertEquals(colonyFound?.role, "colony");
  },
);

e2e("a node that was thrown out and is invited again reaches its fellows again", {
  needs: ["full", "curl"],
  timeoutMs: 180_000,
}, async (scope) => {
  const start = async (args: readonly string[]): Promise<Moray> => {
    const process = scope.use(await Moray.start(args, { timeoutMs: START_MS_MAX }));
    scope.explain(() => Promise.resolve(`--- ${args[0]}\n${process.child.log.slice(-2500)}`));
    return process;
  };
  const local = ["--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"];
  const url = urlOf(await start(["discovery", ...local, "--store", ":memory:"]));
  const colonyState = scope.directory();
  const policy = `${scope.directory()}/policy.toml`;
  await Deno.writeTextFile(policy, '[[allow]]\nfrom = ["*"]\nto = ["*"]\n');
  const joining = ["--discovery", url, "--no-port-mapping"];
  const own = ["--mesh", MESH, "--state", colonyState, "--policy", policy];
  await start(["colony", ...joining, ...own]);
  const colony = await connectLocalApi(colonyState);
  scope.defer(() => colony[Symbol.dispose]());
  const join = async (name: string, state: string, rest: readonly string[]): Promise<Moray> => {
    const { invite } = await colony.membership.invite({ name, lifeMs: 600_000 });
    return await start(["agent", ...joining, "--join", invite, "--state", state, ...rest]);
  };
  const web = await startWebServer(scope, {});
  const phone = await join("phone", scope.directory(), ["--expose", `8080:${web}`]);
  const state = scope.directory();
  const proxy = ["--socks5", "127.0.0.1:0"];
  const reaches = async (laptop: Moray): Promise<void> => {
    const socks5 = laptop.address("socks5");
    const page = [...curl({ socks5, timeoutMs: 3000 }), "http://phone:8080/hello"];
    await eventually("the fellow's page", async () => (await run(page)).code === 0 || undefined, {
      timeoutMs: START_MS_MAX,
    });
  };
  const before = await join("laptop", state, proxy);
  await reaches(before);
  const { publicKey } = await colony.membership.revoke("laptop");
  const told = `thrown a node out publicKey="${publicKey}"`;
  await eventually("the fellow to know", () => phone.child.log.includes(told) || undefined);
  assertEquals(await before.stop(), 0);
  await reaches(await join("laptop", state, proxy));
});
