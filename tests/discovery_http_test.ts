/** Discovery's listeners beyond ConnectRPC in the clear: TLS with HTTP/2, readiness, metrics. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { Code, ConnectError } from "@connectrpc/connect";
import { DiscoveryClient, startDiscovery } from "../discovery/mod.ts";
import { run } from "./support/child.ts";
import { PostgresServer } from "./support/postgres.ts";
import { e2e, eventually } from "./support/scope.ts";
import { selfSigned } from "./support/turn.ts";

const LOCAL = { hostname: "127.0.0.1", port: 0 };
const COMMON = { listen: LOCAL, stunListen: [], store: ":memory:", log: (): void => {} };

e2e("Discovery speaks TLS and HTTP/2, and its client trusts the certificate it is told to", {
  needs: ["full", "curl"],
}, async (scope) => {
  const files = await selfSigned(scope.directory());
  const cert = await Deno.readTextFile(files.certificate);
  const key = await Deno.readTextFile(files.key);
  const discovery = scope.use(await startDiscovery({ ...COMMON, tls: { cert, key } }));
  assertMatch(discovery.url, /^https:\/\/127\.0\.0\.1:\d+$/);
  assertMatch(discovery.listening[0] ?? "", /^https=127\.0\.0\.1:\d+$/);
  const { stdout, stderr } = await run(
    [
      "curl",
      "-sS",
      "--http2",
      "--cacert",
      files.certificate,
      "-o",
      "/dev/null",
      "-w",
      "%{http_version} %{http_code}",
      `${discovery.url}/health`,
    ],
  );
  assertEquals(stdout, "2 200", stderr);
  const http = Deno.createHttpClient({ caCerts: [cert] });
  scope.defer(() => http.close());
  const options = { urls: [discovery.url], log: COMMON.log };
  const trusting = new DiscoveryClient({
    ...options,
    fetch: (input, init) => fetch(input, { ...init, client: http }),
  });
  assertEquals((await trusting.health()).status, "ok");
  const other = new DiscoveryClient(options);
  const refused = await other.health().catch((error) => error);
  assertMatch(refused.message, /its certificate is not valid/);
  assertEquals(ConnectError.from(refused.cause).code, Code.Unavailable);
});

e2e(
  "Discovery serves its counters for Prometheus on a listener of their own",
  {},
  async (scope) => {
    const discovery = scope.use(await startDiscovery({ ...COMMON, metrics: LOCAL }));
    const [address = ""] = discovery.listening.filter((it) => it.startsWith("metrics="));
    const url = address.replace("metrics=", "http://");
    await (await fetch(`${discovery.url}/health`)).body?.cancel();
    const response = await fetch(`${url}/metrics`);
    assertMatch(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
    assertMatch(
      await response.text(),
      /^# TYPE moray_discovery_requests_total counter\nmoray_discovery_requests_total 1$/m,
    );
    const elsewhere = await fetch(`${discovery.url}/metrics`);
    assertEquals(elsewhere.status, 404);
    await elsewhere.body?.cancel();
  },
);

e2e("Discovery is ready while its database answers", {
  needs: ["full", "postgres"],
}, async (scope) => {
  const server = scope.use(await PostgresServer.start());
  const lines: string[] = [];
  const discovery = scope.use(
    await startDiscovery({
      ...COMMON,
      store: await server.createDatabase(),
      log: (_, message) => lines.push(message),
    }),
  );
  const ready = async (): Promise<number> => {
    const response = await fetch(`${discovery.url}/ready`);
    await response.body?.cancel();
    return response.status;
  };
  assertEquals(await ready(), 200);
  await server.stop();
  assertEquals(await ready(), 503);
  await server.resume();
  await eventually("to be ready again", async () => await ready() === 200 || undefined, {
    timeoutMs: 20_000,
  });
  assert(
    lines.some((line) => /Cannot reach the database postgres:\/\/127/.test(line)),
    lines.join(),
  );
  assert(!lines.join().includes(server.password), "a log holds the password");
});
