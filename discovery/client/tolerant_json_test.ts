import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { fromJson } from "@bufbuild/protobuf";
import fc from "fast-check";
import {
  HealthResponseSchema,
  LookupAgentResponseSchema,
  LookupColonyResponseSchema,
  RegisterColonyResponseSchema,
} from "../../proto/mod.ts";
import { sanitizeJson } from "./tolerant_json.ts";

Deno.test("sanitizeJson keeps what is good and drops what is odd, field by field", () => {
  const json = {
    meshId: "reef",
    pubkey: 7,
    endpoints: ["192.0.2.1:1", 5, null, "192.0.2.2:2"],
    connectPort: 9000,
    metadata: { a: "1", b: 2, c: null },
    lastSeen: { seconds: "1700000000" },
    observedEndpoints: [{ ip: "192.0.2.1", port: "40001" }, 7, { ip: 1, port: 2 }],
    nat: 2,
    relays: "none",
    "public_port": 8443,
    publicEndpoint: { enabled: true, caFingerprint: { algorithm: 1, value: { 0: 1 } } },
    future: { deep: [1, 2] },
  };
  assertEquals(sanitizeJson(LookupColonyResponseSchema, json), {
    meshId: "reef",
    endpoints: ["192.0.2.1:1", "192.0.2.2:2"],
    connectPort: 9000,
    metadata: { a: "1" },
    observedEndpoints: [{ ip: "192.0.2.1", port: "40001" }, { port: 2 }],
    nat: 2,
    publicPort: 8443,
    publicEndpoint: { enabled: true, caFingerprint: { algorithm: 1 } },
  });
});

Deno.test("sanitizeJson takes timestamps in their JSON form only", () => {
  const at = (expiresAt: unknown): unknown =>
    sanitizeJson(RegisterColonyResponseSchema, { expiresAt });
  assertEquals(at("2026-01-02T03:09:05Z"), { expiresAt: "2026-01-02T03:09:05Z" });
  for (const bad of [1700000000, { seconds: "1" }, "tomorrow", "", [], true]) {
    assertEquals(at(bad), {}, JSON.stringify(bad));
  }
});

Deno.test("sanitizeJson leaves nothing that fromJson refuses", () => {
  const schemas = [
    LookupColonyResponseSchema,
    LookupAgentResponseSchema,
    RegisterColonyResponseSchema,
    HealthResponseSchema,
  ];
  const names = [...new Set(schemas.flatMap((s) => s.fields.map((f) => f.jsonName)))];
  const inner = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom("2026-01-02T03:09:05Z", "NAT_CONE", 1, "1", -1, 1e300, "NaN", true),
    fc.dictionary(fc.constantFrom("ip", "port", "value", "enabled", "seconds"), fc.jsonValue()),
    fc.array(fc.dictionary(fc.constantFrom("ip", "port", "endpoint", "load"), fc.jsonValue())),
  );
  fc.assert(
    fc.property(
      fc.oneof(fc.dictionary(fc.constantFrom(...names), inner), fc.jsonValue()),
      (json) => {
        for (const schema of schemas) {
          fromJson(schema, sanitizeJson(schema, json), { ignoreUnknownFields: true });
        }
      },
    ),
    { numRuns: 300 },
  );
});
