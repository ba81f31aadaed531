import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { formatBase64 } from "../core/mod.ts";
import { DiscoveryClient, type Registration, startDiscovery } from "../discovery/mod.ts";
import { Registrar } from "./registrar.ts";

const REGISTRATION: Registration = {
  meshId: "reef",
  publicKey: formatBase64(new Uint8Array(32).fill(5)),
  role: "colony",
  endpoints: [{ hostname: "192.0.2.1", port: 51820 }],
};

Deno.test("Registrar registers, registers again when something changed, and leaves at the end", async () => {
  const log = (): void => {};
  const listen = { hostname: "127.0.0.1", port: 0 };
  await using server = await startDiscovery({ listen, stunListen: [], store: ":memory:", log });
  const discovery = new DiscoveryClient({ urls: [server.url], log });
  const ended = new AbortController();
  let port = 51820;
  const results: boolean[] = [];
  let again = Promise.withResolvers<void>();
  const registrar = new Registrar({
    discovery,
    registration: () => ({ ...REGISTRATION, endpoints: [{ hostname: "192.0.2.1", port }] }),
    onResult: (succeeded) => {
      results.push(succeeded);
      again.resolve();
    },
    log,
    signal: ended.signal,
  });
  registrar.changed();
  await registrar.register();
  assertEquals(results, [true], "a change before the first registration registers nothing");
  again = Promise.withResolvers<void>();
  port = 51999;
  registrar.changed();
  registrar.changed();
  await again.promise;
  assertEquals((await discovery.lookupColony("reef"))?.endpoints, [{
    hostname: "192.0.2.1",
    port,
  }]);
  ended.abort();
  await registrar.deregister(1000);
  assertEquals(await discovery.lookupColony("reef"), undefined);
});

Deno.test("Registrar rejects the first failure and never rejects a goodbye", async () => {
  const log = (): void => {};
  const ended = new AbortController();
  const discovery = new DiscoveryClient({ urls: ["http://127.0.0.1:1"], log });
  const registrar = new Registrar({
    discovery,
    registration: () => REGISTRATION,
    onResult: () => {},
    log,
    signal: ended.signal,
  });
  const code = await registrar.register().then(() => "registered", (error) => error.code);
  assert(code === "unreachable", code);
  ended.abort();
  await registrar.deregister(10);
});
