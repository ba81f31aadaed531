/** Attacks on bootstrap tokens, each with what it must not get and what must not be lost. Real HTTP on 127.0.0.1. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { SignJWT } from "jose";
import { ed25519KeyPair } from "../../io/ed25519.ts";
import {
  type BootstrapToken,
  type DiscoveryOptions,
  type Identity,
  keyThumbprint,
  type Role,
  type TokenBearer,
  type TokenQuery,
  TokenVerifier,
  type TokenVerifierOptions,
} from "../mod.ts";
import { SqliteStore } from "../store/sqlite_store.ts";
import { identityOf } from "../testing/identity.ts";
import { MESH, Node, outcome, World } from "../testing/world.ts";

/** A Discovery with the colony (key 1) and two agents (keys 2 and 3) of a mesh. */
class TokenWorld extends World {
  /** Requests for the key set. */
  keySetRequests = 0;

  static override async start(options: Partial<DiscoveryOptions> = {}): Promise<TokenWorld> {
    const world = new TokenWorld(options);
    await world.restart();
    for (const [seed, role] of [[1, "colony"], [2, "agent"], [3, "agent"]] as const) {
      assertEquals(await (await world.node(seed, role)).enter(MESH), "ok");
    }
    return world;
  }

  override async node(seed: number, role: Role = "agent"): Promise<TokenNode> {
    return new TokenNode(this, await identityOf(seed), role);
  }

  verifier(options: Partial<TokenVerifierOptions> = {}): TokenVerifier {
    return new TokenVerifier({
      meshId: MESH,
      urls: [this.url],
      now: () => this.now,
      fetch: (input, init) => {
        this.keySetRequests++;
        return fetch(input, init);
      },
      ...options,
    });
  }
}

/** A node that asks for tokens. */
class TokenNode extends Node {
  readonly identity: Identity & { readonly text: string };
  readonly agentId: string;
  readonly #role: Role;

  constructor(world: World, identity: Identity & { readonly text: string }, role: Role) {
    super(world, identity, role);
    this.identity = identity;
    this.#role = role;
    this.agentId = `agent-${identity.text.slice(0, 6)}`;
  }

  /** Registers in a mesh under its id. */
  enter(meshId: string): Promise<string> {
    return this.register({ meshId, ...(this.#role === "agent" && { agentId: this.agentId }) });
  }

  token(query: Partial<TokenQuery> = {}): Promise<BootstrapToken> {
    return this.client().bootstrapToken({ meshId: MESH, agentId: this.agentId, ...query });
  }

  /** How a token is refused. */
  refusal(query: Partial<TokenQuery> = {}): Promise<string> {
    return outcome(this.token(query));
  }

  get bearer(): TokenBearer {
    return { publicKey: this.identity.publicKey, agentId: this.agentId };
  }
}

/** `good`, or why a token is not taken. */
async function verdict(
  verifier: TokenVerifier,
  { jwt }: BootstrapToken,
  bearer: TokenBearer,
): Promise<string> {
  const result = await verifier.verify(jwt, bearer);
  return result.good ? "good" : result.fault;
}

/** A token with another header or claims, signed again by a key of one's own, or not at all. */
function decoded(
  { jwt }: BootstrapToken,
): { header: Record<string, unknown>; claims: Record<string, unknown> } {
  const [header = {}, claims = {}] = jwt.split(".").slice(0, 2).map((part) => {
    const bytes = Uint8Array.fromBase64(part, { alphabet: "base64url" });
    return JSON.parse(new TextDecoder().decode(bytes));
  });
  return { header, claims };
}

function encoded(value: unknown): string {
  return new TextEncoder().encode(JSON.stringify(value)).toBase64({
    alphabet: "base64url",
    omitPadding: true,
  });
}

Deno.test("a bootstrap token says who may use it, in Coral's form", async () => {
  await using world = await TokenWorld.start();
  const agent = await world.node(2);
  const token = await agent.token({ intent: "renew", reefId: "r1" });
  const { header, claims } = decoded(token);
  const { keys } = await (await fetch(`${world.url}/.well-known/jwks.json`)).json();
  assertEquals(header, { alg: "EdDSA", typ: "JWT", kid: keys[1].kid });
  assertEquals(Object.keys(keys[1]).sort(), ["alg", "crv", "kid", "kty", "use", "x"]);
  const { jti, ...rest } = claims;
  assertMatch(String(jti), /^[0-9a-f-]{36}$/);
  const at = world.now / 1000;
  assertEquals(rest, {
    iss: "coral-discovery",
    aud: [MESH, "coral-colony"],
    sub: agent.agentId,
    iat: at,
    exp: at + 60,
    reef_id: "r1",
    colony_id: MESH,
    agent_id: agent.agentId,
    intent: "renew",
    cnf: { jkt: keyThumbprint(agent.identity.publicKey) },
  });
  assertEquals(token.expiresAt, world.now + 60_000);
  const result = await world.verifier().verify(token.jwt, { ...agent.bearer, intent: "renew" });
  assert(result.good);
  assertEquals(result.claims.reefId, "r1");
});

Deno.test("attack: get a token as a stranger", async () => {
  await using world = await TokenWorld.start();
  const [stranger, agent] = [await world.node(9), await world.node(2)];
  await stranger.enter("atoll");
  // The answer for a mesh that is there is the one for a mesh that is not.
  assertEquals(await stranger.refusal(), "refused: colony reef not found");
  assertEquals(await stranger.refusal({ meshId: "none" }), "refused: colony none not found");
  assertEquals(
    await outcome(
      agent.client({ proves: false }).bootstrapToken({ meshId: MESH, agentId: agent.agentId }),
    ),
    "refused: a proof of possession of the node's key is required",
  );
  assertEquals(world.counters()["tokensIssued"], undefined);
  assertEquals(world.counters()["tokensRefused"], 3);
  assertEquals(await agent.refusal(), "ok");
});

Deno.test("attack: get a token without a proof where registrations need none", async () => {
  await using world = await TokenWorld.start({ allowUnproven: true });
  const agent = await world.node(2);
  assertEquals(
    await outcome(
      agent.client({ proves: false }).bootstrapToken({ meshId: MESH, agentId: agent.agentId }),
    ),
    "refused: a proof of possession of the node's key is required",
  );
});

Deno.test("attack: get a token after having left", async () => {
  await using world = await TokenWorld.start();
  const agent = await world.node(2);
  world.now += 300_000;
  assertEquals(await agent.refusal(), "refused: colony reef not found");
  await agent.enter(MESH);
  assertEquals(await agent.refusal(), "ok");
  await agent.client().deregister({
    meshId: MESH,
    publicKey: agent.identity.text,
    role: "agent",
  });
  assertEquals(await agent.refusal(), "refused: colony reef not found");
});

Deno.test("attack: get or use a token for another agent", async () => {
  await using world = await TokenWorld.start();
  const [colony, thief, agent] = [
    await world.node(1, "colony"),
    await world.node(3),
    await world.node(2),
  ];
  assertEquals(await thief.refusal({ agentId: agent.agentId }), "refused: agent_id is another's");
  const verifier = world.verifier();
  const own = await thief.token();
  assertEquals(
    await verdict(verifier, own, { ...thief.bearer, agentId: agent.agentId }),
    "wrongAgent",
  );
  assertEquals(await verdict(verifier, own, { ...thief.bearer, intent: "renew" }), "wrongIntent");
  // A colony speaks for its agents, with its own key.
  const forAgent = await colony.token({ agentId: agent.agentId });
  assertEquals(await verdict(verifier, forAgent, agent.bearer), "wrongKey");
  // Refusals use nothing up.
  assertEquals(await verdict(verifier, own, thief.bearer), "good");
  const bearer = { publicKey: colony.identity.publicKey, agentId: agent.agentId };
  assertEquals(await verdict(verifier, forAgent, bearer), "good");
});

Deno.test("attack: use a token with another key", async () => {
  await using world = await TokenWorld.start();
  const [thief, agent] = [await world.node(3), await world.node(2)];
  const verifier = world.verifier();
  const stolen = await agent.token();
  assertEquals(
    await verdict(verifier, stolen, { ...agent.bearer, publicKey: thief.identity.publicKey }),
    "wrongKey",
  );
  assertEquals(await verdict(verifier, stolen, agent.bearer), "good");
});

Deno.test("attack: use a token of another mesh, or for the audience of all", async () => {
  await using world = await TokenWorld.start();
  const agent = await world.node(2);
  const token = await agent.token();
  for (const meshId of ["atoll", "coral-colony"]) {
    assertEquals(await verdict(world.verifier({ meshId }), token, agent.bearer), "wrongAudience");
  }
  assertEquals(await verdict(world.verifier(), token, agent.bearer), "good");
});

Deno.test("attack: use a token twice", async () => {
  await using world = await TokenWorld.start();
  const agent = await world.node(2);
  const verifier = world.verifier();
  const token = await agent.token();
  const both = await Promise.all([1, 2].map(() => verdict(verifier, token, agent.bearer)));
  assertEquals(both.sort(), ["good", "used"]);
  world.now += 64_000;
  assertEquals(await verdict(verifier, token, agent.bearer), "used");
  assertEquals(await verdict(verifier, await agent.token(), agent.bearer), "good");
});

Deno.test("attack: use a token at two replicas of a verifier", async () => {
  await using world = await TokenWorld.start();
  const store = SqliteStore.open(":memory:");
  try {
    const spend = store.spend.bind(store);
    const [one, two] = [world.verifier({ spend }), world.verifier({ spend })];
    const agent = await world.node(2);
    const token = await agent.token();
    const both = await Promise.all([one, two].map((it) => verdict(it, token, agent.bearer)));
    assertEquals(both.sort(), ["good", "used"]);
  } finally {
    await store.close();
  }
});

Deno.test("attack: use a token after its time, or before", async () => {
  await using world = await TokenWorld.start();
  const agent = await world.node(2);
  const [first, second] = [await agent.token(), await agent.token()];
  world.now -= 6000;
  assertEquals(await verdict(world.verifier(), first, agent.bearer), "wrongTime");
  world.now += 6000 + 64_999;
  assertEquals(await verdict(world.verifier(), first, agent.bearer), "good");
  world.now += 1;
  assertEquals(await verdict(world.verifier(), second, agent.bearer), "expired");
  assertEquals(await verdict(world.verifier({ skewMaxMs: 60_000 }), second, agent.bearer), "good");
  world.now += 55_000;
  assertEquals(
    await verdict(world.verifier({ skewMaxMs: 60_000 }), second, agent.bearer),
    "expired",
  );
});

Deno.test("attack: a token that is signed in no way, by a secret, or by a key of one's own", async () => {
  await using world = await TokenWorld.start();
  const agent = await world.node(2);
  const token = await agent.token();
  const { header, claims } = decoded(token);
  const { keys: [, key] } = await (await fetch(`${world.url}/.well-known/jwks.json`)).json();
  const [, payload, signature] = token.jwt.split(".");
  const own = await ed25519KeyPair(new Uint8Array(32).fill(5));
  const sign = (head: Record<string, unknown>, by: CryptoKey | Uint8Array): Promise<string> =>
    new SignJWT(claims).setProtectedHeader(head as { alg: string }).sign(by);
  const secret = Uint8Array.fromBase64(key.x, { alphabet: "base64url" });
  const forged: Record<string, [string, string]> = {
    "alg none": [`${encoded({ ...header, alg: "none" })}.${payload}.`, "malformed"],
    "alg none with the old signature": [
      `${encoded({ ...header, alg: "none" })}.${payload}.${signature}`,
      "malformed",
    ],
    "HS256 by the public key": [await sign({ ...header, alg: "HS256" }, secret), "malformed"],
    "HS512 by the public key": [await sign({ ...header, alg: "HS512" }, secret), "malformed"],
    "an own key under Discovery's id": [await sign(header, own.privateKey), "wrongSignature"],
    "an own key under its own id": [
      await sign({ ...header, kid: "own" }, own.privateKey),
      "unknownKey",
    ],
    "an own key in the header": [
      await sign({ ...header, jwk: { kty: "OKP", crv: "Ed25519", x: own.x } }, own.privateKey),
      "wrongSignature",
    ],
    "other claims under the old signature": [
      `${encoded(header)}.${encoded({ ...claims, exp: 1e10 })}.${signature}`,
      "wrongSignature",
    ],
    "a header that must be understood": [
      `${encoded({ ...header, crit: ["x"], x: 1 })}.${payload}.${signature}`,
      "malformed",
    ],
    "no id of a key": [
      `${encoded({ ...header, kid: undefined })}.${payload}.${signature}`,
      "malformed",
    ],
    "a megabyte": [`${encoded(header)}.${"A".repeat(1e6)}.${signature}`, "malformed"],
    "nothing": ["", "malformed"],
    "no token": ["a.b.c", "malformed"],
  };
  for (const [what, [jwt, fault]] of Object.entries(forged)) {
    const verifier = world.verifier();
    assertEquals(await verdict(verifier, { jwt, expiresAt: 0 }, agent.bearer), fault, what);
    assertEquals(await verdict(verifier, token, agent.bearer), "good", what);
  }
});

Deno.test("attack: a key of Discovery's says what Discovery does not", async () => {
  const key = await ed25519KeyPair(new Uint8Array(32).fill(5));
  const agent = await identityOf(2);
  const now = Date.UTC(2026, 0, 2);
  const verifier = new TokenVerifier({
    meshId: MESH,
    urls: ["http://discovery"],
    now: () => now,
    fetch: () =>
      Promise.resolve(
        Response.json({ keys: [{ kty: "OKP", crv: "Ed25519", x: key.x, kid: "k" }] }),
      ),
  });
  const bearer = { publicKey: agent.publicKey, agentId: "a2" };
  const right = {
    iss: "coral-discovery",
    aud: [MESH],
    sub: "a2",
    jti: "1",
    iat: now / 1000,
    exp: now / 1000 + 60,
    "colony_id": MESH,
    "agent_id": "a2",
    intent: "register",
    cnf: { jkt: keyThumbprint(agent.publicKey) },
  };
  const found = async (claims: Record<string, unknown>, head = {}): Promise<string> => {
    const jwt = await new SignJWT(claims)
      .setProtectedHeader({ alg: "EdDSA", typ: "JWT", kid: "k", ...head })
      .sign(key.privateKey);
    return await verdict(verifier, { jwt, expiresAt: 0 }, bearer);
  };
  const without = (name: string): Record<string, unknown> => ({ ...right, [name]: undefined });
  assertEquals(await found({ ...right, exp: right.exp + 1 }), "wrongTime");
  assertEquals(await found({ ...right, iss: "moray" }), "wrongIssuer");
  assertEquals(await found({ ...right, "colony_id": "atoll" }), "wrongAudience");
  assertEquals(await found({ ...right, sub: "a3" }), "malformed");
  assertEquals(await found({ ...right, jti: "" }), "malformed");
  assertEquals(await found({ ...right, jti: "x".repeat(65) }), "malformed");
  assertEquals(await found({ ...right, nbf: right.iat + 30 }), "wrongTime");
  assertEquals(await found(right, { typ: "at+jwt" }), "malformed");
  for (const name of ["jti", "sub", "exp", "colony_id", "agent_id", "intent", "cnf"]) {
    assertEquals(await found(without(name)), "malformed", name);
  }
  assertEquals(await found(without("iss")), "wrongIssuer");
  assertEquals(await found(without("aud")), "wrongAudience");
  assertEquals(await found(without("iat")), "wrongTime");
  assertEquals(await found(right), "good");
});

Deno.test("attack: a flood of tokens with unknown keys", async () => {
  await using world = await TokenWorld.start();
  const agent = await world.node(2);
  const verifier = world.verifier();
  const token = await agent.token();
  assertEquals(await verdict(verifier, token, agent.bearer), "good");
  const { header } = decoded(token);
  const [, payload, signature] = token.jwt.split(".");
  for (let i = 0; i < 500; i++) {
    const jwt = `${encoded({ ...header, kid: `k${i}` })}.${payload}.${signature}`;
    assertEquals(await verdict(verifier, { jwt, expiresAt: 0 }, agent.bearer), "unknownKey");
  }
  // One request for all that is good, and one or none for the flood.
  assertEquals(world.keySetRequests, 1);
  assertEquals(await verdict(verifier, await agent.token(), agent.bearer), "good");
});

Deno.test("attack: use up the tokens of a mesh", async () => {
  await using world = await TokenWorld.start();
  const [greedy, agent] = [await world.node(3), await world.node(2)];
  let got = 0;
  for (let i = 0; i < 20; i++) {
    const why = await greedy.refusal();
    if (why === "ok") got++;
    else assertEquals(why, "limit: too many bootstrap tokens");
  }
  assertEquals(got, 10);
  assertEquals(await agent.refusal(), "ok");
  world.now += 1000;
  assertEquals(await greedy.refusal(), "ok");
});

Deno.test("a request for a token that is none is refused with the field's name", async () => {
  await using world = await TokenWorld.start();
  const agent = await world.node(2);
  const queries: [Partial<TokenQuery>, string][] = [
    [{ meshId: "" }, "colony_id is required"],
    [{ agentId: "" }, "agent_id is required"],
    [{ intent: "" }, "intent is required"],
    [{ intent: "Take over" }, "intent is not 1 to 64 of a-z 0-9 _ -"],
    [{ reefId: "x".repeat(254) }, "reef_id is not at most 253 printable ASCII characters"],
  ];
  for (const [query, why] of queries) assertEquals(await agent.refusal(query), `refused: ${why}`);
});
