/** Real nodes are observed by STUN on their WireGuard sockets, from their first registration on. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { DiscoveryClient } from "../../discovery/mod.ts";
import { identityOf } from "../../discovery/testing/identity.ts";
import { startMesh, urlOf } from "../support/mesh.ts";
import { moray, SOURCE } from "../support/moray.ts";
import { e2e } from "../support/scope.ts";

/** What Discovery itself says of the mesh's colony, whatever the colony has signed. */
async function toldOfColony(url: string): Promise<{ observed: string[]; generation: string }> {
  let told = { observedEndpoints: [] as { ip: string; port: number }[], generation: "" };
  const client = new DiscoveryClient({
    urls: [url],
    identity: await identityOf(77),
    log: () => {},
    fetch: async (input, init) => {
      const response = await fetch(input, init);
      const text = await response.text();
      if (response.ok && String(input).endsWith("/LookupColony")) told = JSON.parse(text);
      return new Response(text, response);
    },
  });
  assert(await client.lookupColony("reef") !== undefined);
  const { observedEndpoints = [], generation } = told;
  return { observed: observedEndpoints.map(({ ip, port }) => `${ip}:${port}`), generation };
}

e2e("a colony is observed where its WireGuard socket is, and nodes connect", {
  timeoutMs: 60_000,
}, async (scope) => {
  const mesh = await startMesh(scope, {
    program: SOURCE,
    discovery: { listen: "127.0.0.1:0", stunListen: "127.0.0.1:0" },
  });
  const { node } = await mesh.status("colony");
  const ports = node.endpoints.map((text) => text.slice(text.lastIndexOf(":") + 1));
  const { observed } = await toldOfColony(urlOf(mesh.discovery));
  assertEquals(observed, [`127.0.0.1:${ports[0]}`]);
  const { code, stderr } = await moray(["ping", "colony", "--state", mesh.state.agent]);
  assertEquals(code, 0, stderr);
});
