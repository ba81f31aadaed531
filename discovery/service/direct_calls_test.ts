import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import {
  create,
  type DescMessage,
  type MessageInitShape,
  toBinary,
  toJsonString,
} from "@bufbuild/protobuf";
import {
  HealthRequestSchema,
  LookupAgentRequestSchema,
  LookupColonyRequestSchema,
  RegisterAgentRequestSchema,
  RegisterColonyRequestSchema,
} from "../../proto/mod.ts";
import { SqliteStore } from "../store/sqlite_store.ts";
import { key } from "../testing/nodes.ts";
import { HttpHandler } from "./http.ts";
import { ProofChecker } from "./proof_checker.ts";
import { Service } from "./service.ts";

const NOW = 1_700_000_000_000;
const REMOTE = { hostname: "127.0.0.1", port: 4711 };
const PATH = "http://127.0.0.1/coral.discovery.v1.DiscoveryService";
/** A header that changes nothing for Connect, and that the direct path does not know. */
const BY_CONNECT = { "connect-protocol-version": "2" };

/** What a client sees of an answer. */
interface Seen {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}

async function withHandler(body: (handler: HttpHandler) => Promise<void>): Promise<void> {
  const store = SqliteStore.open(":memory:");
  const now = (): number => NOW;
  const log = (): void => {};
  const service = new Service({
    store,
    ttlMs: 300_000,
    heartbeatMs: 15_000,
    stun: [{ port: 3478 }],
    version: "1.2.3",
    allowUnproven: true,
    now,
    randomId: () => "id",
    log,
  });
  try {
    const proofs = await ProofChecker.open({ store, now, freshKey: new Uint8Array(32).fill(7) });
    await body(new HttpHandler({ service, proofs, now, log }));
  } finally {
    service.close();
    await store.close();
  }
}

async function post(
  handler: HttpHandler,
  { method, body, headers }: {
    readonly method: string;
    readonly body: Uint8Array<ArrayBuffer> | string;
    readonly headers: Record<string, string>;
  },
): Promise<Seen> {
  const request = new Request(`${PATH}/${method}`, { method: "POST", headers, body });
  const response = await handler.handle(request, REMOTE);
  const bytes = await response.bytes();
  // What is sent in one piece gets it from the HTTP server.
  response.headers.delete("content-length");
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""),
  };
}

interface Case {
  readonly method: string;
  readonly schema: DescMessage;
  readonly init: Record<string, unknown>;
  readonly status: number;
}

const REEF = { meshId: "reef", endpoints: ["192.0.2.1:51820"] };
const CASES: readonly Case[] = [
  { method: "Health", schema: HealthRequestSchema, init: {}, status: 200 },
  {
    method: "RegisterColony",
    schema: RegisterColonyRequestSchema,
    init: { ...REEF, pubkey: key(1), metadata: { site: "été" }, connectPort: 9000 },
    status: 200,
  },
  {
    method: "RegisterColony",
    schema: RegisterColonyRequestSchema,
    init: { ...REEF, pubkey: key(2) },
    status: 409,
  },
  {
    method: "RegisterAgent",
    schema: RegisterAgentRequestSchema,
    init: { ...REEF, agentId: "a", pubkey: key(3), nat: 3 },
    status: 200,
  },
  {
    method: "RegisterAgent",
    schema: RegisterAgentRequestSchema,
    init: { ...REEF, agentId: "a b", pubkey: key(3) },
    status: 400,
  },
  {
    method: "LookupColony",
    schema: LookupColonyRequestSchema,
    init: { meshId: "reef" },
    status: 200,
  },
  {
    method: "LookupColony",
    schema: LookupColonyRequestSchema,
    init: { meshId: "atoll" },
    status: 404,
  },
  {
    method: "LookupAgent",
    schema: LookupAgentRequestSchema,
    init: { meshId: "reef", agentId: "a" },
    status: 200,
  },
];

for (const form of ["json", "proto"] as const) {
  Deno.test(`the direct path answers in ${form} byte for byte as Connect does, refusals too`, async () => {
    await withHandler(async (handler) => {
      const contentType = `application/${form}`;
      for (const { method, schema, init, status } of CASES) {
        const message = create(schema, init as MessageInitShape<DescMessage>);
        const body = form === "json"
          ? toJsonString(schema, message)
          : Uint8Array.from(toBinary(schema, message));
        const direct = await post(handler, {
          method,
          body,
          headers: { "content-type": contentType },
        });
        assertEquals(direct.status, status, `${method}: ${direct.body}`);
        assert(direct.body.length > 0);
        const headers = { "content-type": contentType, ...BY_CONNECT };
        assertEquals(await post(handler, { method, body, headers }), direct, method);
      }
    });
  });
}

Deno.test("what the direct path cannot read is refused in Connect's words", async () => {
  await withHandler(async (handler) => {
    for (const body of ["", "{", "[]", '{"meshId": 7}', "\ufffe"]) {
      const headers = { "content-type": "application/json" };
      const direct = await post(handler, { method: "LookupColony", body, headers });
      const connect = await post(handler, {
        method: "LookupColony",
        body,
        headers: { ...headers, ...BY_CONNECT },
      });
      assertEquals(direct, connect, JSON.stringify(body));
      assertEquals(direct.status, 400, JSON.stringify(body));
    }
    const unknown = '{"meshId": "atoll", "coralSays": [1]}';
    const headers = { "content-type": "application/json" };
    const { status } = await post(handler, { method: "LookupColony", body: unknown, headers });
    assertEquals(status, 404, "fields of newer versions are passed over");
  });
});
