/** Bootstrap tokens over real HTTP while the keys change that they are signed with. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import {
  DiscoveryClient,
  type RunningDiscovery,
  startDiscovery,
  TokenVerifier,
} from "../discovery/mod.ts";
import { identityOf } from "../discovery/testing/identity.ts";
import { TOKEN_KEY_MS } from "../discovery/token/signing_keys.ts";
import { PostgresServer } from "./support/postgres.ts";
import { e2e, type Scope } from "./support/scope.ts";

const MESH = "reef";
/** When a key begins to sign. */
const BOUNDARY = 2950 * TOKEN_KEY_MS;

/** Discovery services on one store, with one clock that the test moves. */
class Replicas {
  now = BOUNDARY - 60_000;
  readonly #scope: Scope;
  readonly #store: string;

  constructor(scope: Scope, store: string) {
    this.#scope = scope;
    this.#store = store;
  }

  async start(): Promise<RunningDiscovery> {
    return this.#scope.use(
      await startDiscovery({
        listen: { hostname: "127.0.0.1", port: 0 },
        stunListen: [],
        store: this.#store,
        now: () => this.now,
        log: () => {},
      }),
    );
  }

  /** Registers agent `a2` at a replica, and returns a token of it. */
  async token({ url }: RunningDiscovery): Promise<{ jwt: string; kid: string }> {
    const identity = await identityOf(2);
    const client = new DiscoveryClient({
      urls: [url],
      identity,
      now: () => this.now,
      log: () => {},
    });
    const endpoints = [{ hostname: "192.0.2.1", port: 51820 }];
    const agent = { meshId: MESH, agentId: "a2", role: "agent", endpoints } as const;
    await client.register({ ...agent, publicKey: identity.text });
    const { jwt } = await client.bootstrapToken(agent);
    const [header = ""] = jwt.split(".");
    const { kid } = JSON.parse(atob(header.replaceAll("-", "+").replaceAll("_", "/")));
    return { jwt, kid };
  }

  verifier({ url }: RunningDiscovery): TokenVerifier {
    return new TokenVerifier({ meshId: MESH, urls: [url], now: () => this.now });
  }
}

async function keysAreChangedUnderAVerifier(replicas: Replicas): Promise<void> {
  const { publicKey } = await identityOf(2);
  let discovery = await replicas.start();
  const verifier = replicas.verifier(discovery);
  const kids = new Set<string>();
  const isTaken = async (at: number): Promise<void> => {
    replicas.now = at;
    const { jwt, kid } = await replicas.token(discovery);
    kids.add(kid);
    const verdict = await verifier.verify(jwt, { publicKey, agentId: "a2" });
    assert(verdict.good, `${at - BOUNDARY} ms: ${JSON.stringify(verdict)}`);
  };
  // The set is fetched a moment before the new key signs, and still kept when it does.
  await isTaken(BOUNDARY - 1000);
  await isTaken(BOUNDARY - 1);
  await isTaken(BOUNDARY);
  await isTaken(BOUNDARY + 200_000);
  assertEquals(verifier.counters()["keySetsFetched"], 1);
  assertEquals(kids.size, 2);
  // What the last key signed is good as long as it lives.
  replicas.now = BOUNDARY + TOKEN_KEY_MS - 1000;
  const { jwt } = await replicas.token(discovery);
  replicas.now = BOUNDARY + TOKEN_KEY_MS + 55_000;
  assert((await replicas.verifier(discovery).verify(jwt, { publicKey })).good);
  // Weeks later, and after a restart, whose first key everybody has to fetch anew.
  for (const stretch of [2, 3, 9]) {
    await discovery.stop();
    replicas.now = BOUNDARY + stretch * TOKEN_KEY_MS;
    discovery = await replicas.start();
    const later = replicas.verifier(discovery);
    const token = await replicas.token(discovery);
    kids.add(token.kid);
    assert((await later.verify(token.jwt, { publicKey })).good);
    assertEquals(await later.verify(token.jwt, { publicKey }), { good: false, fault: "used" });
  }
  assertEquals(kids.size, 5);
}

e2e("bootstrap tokens are taken while their keys change, on SQLite", {}, async (scope) => {
  await keysAreChangedUnderAVerifier(new Replicas(scope, `${scope.directory()}/discovery.db`));
});

e2e("bootstrap tokens are taken while their keys change, on PostgreSQL", {
  needs: ["full", "postgres"],
}, async (scope) => {
  const server = scope.use(await PostgresServer.start());
  await keysAreChangedUnderAVerifier(new Replicas(scope, await server.createDatabase()));
});

e2e("replicas issue bootstrap tokens by the same keys", {
  needs: ["full", "postgres"],
}, async (scope) => {
  const server = scope.use(await PostgresServer.start());
  const replicas = new Replicas(scope, await server.createDatabase());
  const [one, two] = await Promise.all([replicas.start(), replicas.start()]);
  const keySets = await Promise.all([one, two].map(async ({ url }) => {
    const response = await fetch(`${url}/.well-known/jwks.json`);
    assertEquals(response.headers.get("cache-control"), "public, max-age=300");
    return await response.json();
  }));
  assertEquals(keySets[0], keySets[1]);
  const { publicKey } = await identityOf(2);
  // What one issued, whoever asks the other verifies.
  for (const [issuing, asked] of [[one, two], [two, one]] as const) {
    const { jwt } = await replicas.token(issuing);
    assert((await replicas.verifier(asked).verify(jwt, { publicKey })).good);
  }
});
