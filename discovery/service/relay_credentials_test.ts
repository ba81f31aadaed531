import { deepStrictEqual as assertEquals, match as assertMatch } from "node:assert/strict";
import { key } from "../testing/nodes.ts";
import { relayCredentials, relaySessionId } from "./relay_credentials.ts";

Deno.test("relayCredentials follow the REST scheme", () => {
  // printf %s 1700003600:user | openssl dgst -sha1 -hmac secret -binary | base64
  assertEquals(relayCredentials("secret", { sessionId: "user", expiresAt: 1_700_003_600_999 }), {
    username: "1700003600:user",
    password: "+H9F73rZRi2gwSWIwTpuw+t6m9Q=",
  });
});

Deno.test("relaySessionId tags mesh and node, and names neither", () => {
  const id = (meshId: string, seed: number, random = "11-22"): string[] =>
    relaySessionId({ meshId, publicKey: key(seed) }, random).split(".");
  const [mesh, node, random] = id("reef", 1);
  assertMatch(`${mesh} ${node} ${random}`, /^[0-9a-f]{8} [0-9a-f]{8} 1122$/);
  assertEquals(id("reef", 1, "33"), [mesh, node, "33"]);
  const [sameMesh, otherNode] = id("reef", 2);
  assertEquals([sameMesh === mesh, otherNode === node], [true, false]);
  const [otherMesh, nodeThere] = id("atoll", 1);
  assertEquals([otherMesh === mesh, nodeThere === node], [false, false]);
});
