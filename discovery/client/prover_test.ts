import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { identityOf } from "../testing/identity.ts";
import { Prover } from "./prover.ts";

const URL_OF = (method: string): string =>
  `http://discovery.example/coral.discovery.v1.DiscoveryService/${method}`;
const CALL = { method: "POST", body: new TextEncoder().encode("{}") };

/** The methods that a server is asked, in order, for three look-ups, where it answers `GetServerInfo` with `status`. */
async function asked(status: number): Promise<string[]> {
  const methods: string[] = [];
  const prover = new Prover({
    baseUrl: "http://discovery.example",
    identity: await identityOf(1),
    now: () => 0,
    fetch: (input) => {
      const method = String(input).split("/").at(-1) ?? "";
      methods.push(method);
      const answer = { status: method === "GetServerInfo" ? status : 200 };
      return Promise.resolve(new Response("{}", answer));
    },
  });
  for (let i = 0; i < 3; i++) await prover.fetch(URL_OF("LookupColony"), CALL);
  return methods;
}

Deno.test("Prover asks a plain Coral Discovery for its key once", async () => {
  const [ask, look] = ["GetServerInfo", "LookupColony"];
  // Connect's UNIMPLEMENTED is HTTP's 501, and a server without Connect says 404.
  for (const status of [501, 404]) assertEquals(await asked(status), [ask, look, look, look]);
});

Deno.test("Prover asks again a server that was in trouble", async () => {
  const pair = ["GetServerInfo", "LookupColony"];
  for (const status of [500, 502, 503]) {
    assertEquals(await asked(status), [pair, pair, pair].flat());
  }
});
