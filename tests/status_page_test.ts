/** The status page of Discovery over real HTTP, without a browser: who gets it, and what is said to the others. */
import {
  deepStrictEqual as assertEquals,
  doesNotMatch,
  match as assertMatch,
  ok as assert,
  rejects,
} from "node:assert/strict";
import { readStatusToken, type RunningDiscovery, startDiscovery } from "../discovery/mod.ts";
import { SESSION_MS } from "../discovery/status/sign_in.ts";
import { e2e, type Scope } from "./support/scope.ts";

const TOKEN = "correct-horse-battery";
const COMMON = {
  listen: { hostname: "127.0.0.1", port: 0 },
  stunListen: [],
  store: ":memory:",
  log: (): void => {},
};

/** What came of a request. */
interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

async function ask(url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, { redirect: "manual", ...init });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

function signIn(discovery: RunningDiscovery, token: string, headers = {}): Promise<Answer> {
  const body = new URLSearchParams({ token });
  return ask(`${discovery.url}/sign-in`, { method: "POST", body, headers });
}

async function start(scope: Scope, now?: () => number): Promise<RunningDiscovery> {
  const options = { ...COMMON, statusToken: TOKEN, ...(now && { now }) };
  return scope.use(await startDiscovery(options));
}

e2e("without a token there is no status page", {}, async (scope) => {
  const discovery = scope.use(await startDiscovery(COMMON));
  for (const path of ["/", "/events", "/status.css", "/status.js", "/sign-in"]) {
    assertEquals((await ask(`${discovery.url}${path}`)).status, 404, path);
  }
  await rejects(startDiscovery({ ...COMMON, statusToken: "short" }), (error: Error) => {
    assertMatch(error.message, /^The token of the status page is not 16 to 256/);
    doesNotMatch(error.message, /short/);
    return true;
  });
});

e2e(
  "strangers get the form and nothing else, with a policy that allows nothing inline",
  {},
  async (scope) => {
    const discovery = await start(scope);
    for (
      const headers of [{}, { authorization: `Bearer ${TOKEN}x` }, { cookie: "moray_status=1.x" }]
    ) {
      const { status, text, headers: given } = await ask(discovery.url, { headers });
      assertEquals(status, 401);
      assertMatch(text, /<form method="post" action="\/sign-in">/);
      doesNotMatch(text, /<section|Registered|data-events/);
      const policy = given.get("content-security-policy") ?? "";
      assertMatch(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/);
      doesNotMatch(policy, /unsafe|\*|nonce/);
      assertEquals(given.get("x-frame-options"), "DENY");
      assertEquals(given.get("x-content-type-options"), "nosniff");
      assertEquals(given.get("referrer-policy"), "no-referrer");
      assertEquals(given.get("cache-control"), "no-store");
    }
    const events = await ask(`${discovery.url}/events`);
    assertEquals(events.status, 401);
    doesNotMatch(events.text, /event:/);
  },
);

e2e("the token signs in, by form and by header, and signing out ends it", {}, async (scope) => {
  const discovery = await start(scope);
  const { status, headers } = await signIn(discovery, TOKEN);
  assertEquals([status, headers.get("location")], [303, "/"]);
  const set = headers.get("set-cookie") ?? "";
  assertMatch(set, /^moray_status=[^;]+; Max-Age=43200; Path=\/; HttpOnly; SameSite=Strict$/);
  doesNotMatch(set, new RegExp(TOKEN));
  const cookie = set.split(";")[0] ?? "";
  for (const headers of [{ cookie }, { authorization: `Bearer ${TOKEN}` }]) {
    const { status, text } = await ask(discovery.url, { headers });
    assertEquals(status, 200);
    assertMatch(text, /<h2 id="nodes-title">Nodes<\/h2>/);
    doesNotMatch(text, new RegExp(TOKEN));
  }
  const out = await ask(`${discovery.url}/sign-out`, { method: "POST" });
  assertMatch(out.headers.get("set-cookie") ?? "", /^moray_status=; Max-Age=0;/);
});

e2e("a session ends after its time", {}, async (scope) => {
  let now = Date.UTC(2026, 0, 2);
  const discovery = await start(scope, () => now);
  const { headers } = await signIn(discovery, TOKEN);
  const cookie = headers.get("set-cookie")?.split(";")[0] ?? "";
  now += SESSION_MS - 1;
  assertEquals((await ask(discovery.url, { headers: { cookie } })).status, 200);
  now += 1;
  assertEquals((await ask(discovery.url, { headers: { cookie } })).status, 401);
});

e2e(
  "who guesses is refused, told to wait, and then refused with the right token too",
  {},
  async (scope) => {
    let now = Date.UTC(2026, 0, 2);
    const lines: string[] = [];
    const discovery = scope.use(
      await startDiscovery({
        ...COMMON,
        statusToken: TOKEN,
        now: () => now,
        log: (level, message) => lines.push(`${level} ${message}`),
      }),
    );
    for (let i = 0; i < 5; i++) assertEquals((await signIn(discovery, `guess-${i}`)).status, 401);
    const limited = await signIn(discovery, TOKEN);
    assertEquals([limited.status, limited.headers.get("retry-after")], [429, "60"]);
    const bearer = { authorization: `Bearer ${TOKEN}` };
    assertEquals((await ask(discovery.url, { headers: bearer })).status, 429);
    now += 60_000;
    assertEquals((await signIn(discovery, TOKEN)).status, 303);
    assertEquals(discovery.counters()["statusSignInsRefused"], 5);
    assertEquals(discovery.counters()["statusSignInsLimited"], 2);
    assert(lines.some((line) => line === "warn a wrong token for the status page"));
    assert(lines.every((line) => !line.includes("guess-") && !line.includes(TOKEN)));
  },
);

e2e(
  "other sites sign nobody in or out, other methods and large bodies are refused",
  {},
  async (scope) => {
    const discovery = await start(scope);
    const foreign = { "sec-fetch-site": "cross-site" };
    assertEquals((await signIn(discovery, TOKEN, foreign)).status, 403);
    const out = await ask(`${discovery.url}/sign-out`, { method: "POST", headers: foreign });
    assertEquals([out.status, out.headers.get("set-cookie")], [403, null]);
    assertEquals((await ask(`${discovery.url}/sign-in`)).status, 405);
    assertEquals((await ask(discovery.url, { method: "POST" })).status, 405);
    assertEquals((await signIn(discovery, "x".repeat(5000))).status, 413);
    assertEquals((await ask(`${discovery.url}/nothing`)).status, 404);
    assertEquals((await ask(discovery.url, { method: "HEAD" })).text, "");
  },
);

e2e("a stream of events ends when the server stops", {}, async (scope) => {
  const discovery = await startDiscovery({ ...COMMON, statusToken: TOKEN });
  scope.defer(() => discovery.stop());
  const response = await fetch(`${discovery.url}/events`, {
    headers: { authorization: `Bearer ${TOKEN}` },
  });
  assertEquals(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes("event: parts")) text += (await reader?.read())?.value ?? "";
  assertEquals(discovery.counters()["statusStreams"], 1);
  const begunAt = performance.now();
  await discovery.stop();
  assert(performance.now() - begunAt < 1200, "it waited for the stream");
  while ((await reader?.read())?.done === false);
});

e2e("a token file's first line is the token", {}, async (scope) => {
  const path = `${scope.directory()}/token`;
  await Deno.writeTextFile(path, `${TOKEN}\nof the status page\n`);
  assertEquals(await readStatusToken(path), TOKEN);
  await Deno.writeTextFile(path, "too short\n");
  await rejects(readStatusToken(path), (error: Error) => {
    assertMatch(error.message, /^Cannot use .*: its first line is not 16 to 256/);
    doesNotMatch(error.message, /too short/);
    return true;
  });
});
