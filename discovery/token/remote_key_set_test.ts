import { deepStrictEqual as assertEquals, rejects as assertRejects } from "node:assert/strict";
import { ed25519KeyPair } from "../../io/ed25519.ts";
import {
  FETCH_INTERVAL_MS,
  KEYS_AGE_MAX_MS,
  KEYS_AGE_MIN_MS,
  KEYS_MAX,
  parseKeySet,
  RemoteKeySet,
} from "./remote_key_set.ts";

async function jwk(kid: string, part: Record<string, unknown> = {}): Promise<object> {
  const { x } = await ed25519KeyPair(new Uint8Array(32).fill(kid.length));
  return { kty: "OKP", crv: "Ed25519", x, kid, use: "sig", alg: "EdDSA", ...part };
}

/** A server whose answers a test says. */
class Server {
  now = 1_700_000_000_000;
  keys: object[] = [];
  age = "public, max-age=300";
  status = 200;
  readonly asked: string[] = [];
  readonly set = new RemoteKeySet({
    urls: ["http://one/", "http://two"],
    now: () => this.now,
    fetch: (input) => {
      this.asked.push(String(input));
      if (String(input).startsWith("http://one")) return Promise.reject(new Error("refused"));
      const headers = { "cache-control": this.age };
      return Promise.resolve(Response.json({ keys: this.keys }, { status: this.status, headers }));
    },
  });

  async find(id: string): Promise<string> {
    return (await this.set.find(id)).kind;
  }

  /** Requests since the last call, of those to the URL that answers. */
  requests(): number {
    return this.asked.splice(0).filter((url) => url.startsWith("http://two")).length;
  }
}

Deno.test("RemoteKeySet keeps keys as long as the server says, and fetches them once for many", async () => {
  const server = new Server();
  server.keys = [await jwk("a"), await jwk("bb")];
  const found = await Promise.all(["a", "bb", "a"].map((id) => server.find(id)));
  assertEquals(found, ["found", "found", "found"]);
  assertEquals(server.asked, [
    "http://one/.well-known/jwks.json",
    "http://two/.well-known/jwks.json",
  ]);
  server.requests();
  server.now += 299_999;
  assertEquals(await server.find("a"), "found");
  assertEquals(server.requests(), 0);
  server.now += 1;
  server.keys = [await jwk("bb")];
  assertEquals(await server.find("a"), "unknown");
  assertEquals(server.requests(), 1);
});

Deno.test("RemoteKeySet bounds the age that a server says", async () => {
  const ages = [["no-store", 300_000], ["max-age=0", KEYS_AGE_MIN_MS], [
    "x, max-age=999999999",
    KEYS_AGE_MAX_MS,
  ]] as const;
  for (const [age, ms] of ages) {
    const server = new Server();
    server.keys = [await jwk("a")];
    server.age = age;
    assertEquals(await server.find("a"), "found");
    server.requests();
    server.now += ms - 1;
    assertEquals(await server.find("a"), "found");
    assertEquals(server.requests(), 0, age);
    server.now += 1;
    assertEquals(await server.find("a"), "found");
    assertEquals(server.requests(), 1, age);
  }
});

Deno.test("RemoteKeySet asks again for an id that it does not know, but not for each", async () => {
  const server = new Server();
  server.keys = [await jwk("a")];
  for (let i = 0; i < 1000; i++) assertEquals(await server.find(`no${i}`), "unknown");
  assertEquals(server.requests(), 1);
  assertEquals(server.set.counters()["keySetRequestsSpared"], 999);
  server.keys = [await jwk("a"), await jwk("bb")];
  assertEquals(await server.find("bb"), "unknown");
  server.now += FETCH_INTERVAL_MS;
  assertEquals(await server.find("bb"), "found");
  assertEquals(server.requests(), 1);
});

Deno.test("RemoteKeySet goes on with old keys for an hour while the server does not answer", async () => {
  const server = new Server();
  server.keys = [await jwk("a")];
  assertEquals(await server.find("a"), "found");
  server.status = 503;
  server.now += KEYS_AGE_MAX_MS - 1;
  assertEquals(await server.find("a"), "found");
  assertEquals(await server.find("bb"), "unreachable");
  server.now += 1;
  assertEquals(await server.find("a"), "unreachable");
  server.status = 200;
  server.now += FETCH_INTERVAL_MS;
  assertEquals(await server.find("a"), "found");
  // A clock that goes back asks again.
  server.requests();
  server.now -= 86_400_000;
  assertEquals(await server.find("a"), "found");
  assertEquals(server.requests(), 1);
});

Deno.test("RemoteKeySet does not read an answer without end", async () => {
  let pulled = 0;
  const endless = new ReadableStream({
    pull: (controller) => {
      pulled++;
      controller.enqueue(new Uint8Array(16_384));
    },
  });
  const now = (): number => 0;
  const fetch = (): Promise<Response> => Promise.resolve(new Response(endless));
  const set = new RemoteKeySet({ urls: ["http://x"], now, fetch });
  assertEquals(await set.find("a"), { kind: "unreachable", reason: "its answer is too large" });
  assertEquals(pulled < 10, true);
});

Deno.test("parseKeySet takes Ed25519 keys for signatures and leaves out everything else", async () => {
  const keys = [
    await jwk("good"),
    await jwk("plain", { use: undefined, alg: undefined }),
    await jwk("enc", { use: "enc" }),
    await jwk("hs", { alg: "HS256" }),
    await jwk("rsa", { kty: "RSA" }),
    await jwk("x25519", { crv: "X25519" }),
    await jwk("short", { x: "AAAA" }),
    await jwk("none", { x: 7 }),
    { kty: "oct", k: "c2VjcmV0", kid: "oct", alg: "HS256" },
    await jwk("good", { x: "AAAA" }),
    null,
    "text",
  ];
  const found = await parseKeySet(JSON.stringify({ keys }));
  assertEquals([...found.keys()], ["good", "plain"]);
  const many = await Promise.all([...new Array(40).keys()].map((i) => jwk("k".repeat(i + 1))));
  assertEquals((await parseKeySet(JSON.stringify({ keys: many }))).size, KEYS_MAX);
  for (const text of ["", "{}", "[]", "null", '{"keys":7}', "<html>"]) {
    await assertRejects(parseKeySet(text), { message: "its answer is no key set" });
  }
});
