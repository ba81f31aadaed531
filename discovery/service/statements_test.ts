import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Client, Code } from "@connectrpc/connect";
import {
  DiscoveryService,
  PeerRole,
  type SignedStatement,
  SignedStatementSchema,
} from "../../proto/mod.ts";
import { encodeRecord, type RecordContent, STATEMENT_BYTES_MAX } from "../signature/record.ts";
import { signStatement, type StatementKind } from "../signature/statement.ts";
import { SqliteStore } from "../store/sqlite_store.ts";
import { identityOf } from "../testing/identity.ts";
import { agent, key } from "../testing/nodes.ts";
import { provingClients, selfProvingClient } from "../testing/proving_client.ts";
import { Service } from "./service.ts";
import { StatementChecker } from "./statements.ts";

const NOW = 1_700_000_000_000;
const MESH = "reef";
const ENDPOINTS = ["192.0.2.2:51820"];

type Identity = Awaited<ReturnType<typeof identityOf>>;

class World implements AsyncDisposable {
  readonly store = SqliteStore.open(":memory:");
  readonly service: Service;
  readonly client: Client<typeof DiscoveryService>;

  constructor() {
    this.service = new Service({
      store: this.store,
      ttlMs: 300_000,
      heartbeatMs: 15_000,
      stun: [],
      version: "",
      now: () => NOW,
      randomId: () => "id",
      log: () => {},
    });
    this.client = selfProvingClient(this.service, key(1));
  }

  /** Registers an agent with a statement, or none. */
  async agent(
    { text: pubkey }: Identity,
    statement?: MessageInitShape<typeof SignedStatementSchema>,
  ): Promise<void> {
    await this.client.registerAgent({
      meshId: MESH,
      agentId: pubkey,
      pubkey,
      endpoints: ENDPOINTS,
      ...(statement && { statement }),
    });
  }

  /** The agent's statement, as a lookup brings it. */
  async statementOf({ text: pubkey }: Identity): Promise<SignedStatement | undefined> {
    const client = provingClients(this.service)(pubkey);
    return (await client.lookupAgent({ meshId: MESH, pubkey })).statement;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.service.close();
    await this.store.close();
  }
}

function content(node: Identity, part: Partial<RecordContent> = {}): RecordContent {
  const { text: pubkey } = node;
  const role = PeerRole.AGENT;
  return { meshId: MESH, pubkey, role, agentId: pubkey, endpoints: ENDPOINTS, ...part };
}

async function signed(
  signer: Identity,
  { of = content(signer), sequence = NOW, kind = "record" }: {
    readonly of?: RecordContent;
    readonly sequence?: number;
    readonly kind?: StatementKind;
  } = {},
): Promise<SignedStatement> {
  const bytes = encodeRecord(of, sequence);
  return create(SignedStatementSchema, await signStatement(signer.signer, kind, bytes));
}

Deno.test("a signed record comes back as it was signed: in lookups, Watch streams and punches", async () => {
  await using world = new World();
  const [node, boss] = await Promise.all([identityOf(2), identityOf(1)]);
  const statement = await signed(node);
  await world.agent(node, statement);
  assertEquals(await world.statementOf(node), statement);

  const colony = { ...content(boss), role: PeerRole.COLONY, agentId: "", connectPort: 9000 };
  const colonys = await signed(boss, { of: colony });
  const { text: pubkey } = boss;
  const request = { meshId: MESH, pubkey, endpoints: ENDPOINTS, connectPort: 9000 };
  await world.client.registerColony({ ...request, statement: colonys });
  assertEquals((await world.client.lookupColony({ meshId: MESH })).statement, colonys);

  const { peer } = await world.client.initiatePunch({
    meshId: MESH,
    fromPubkey: boss.text,
    toPubkey: node.text,
  });
  assertEquals(peer?.statement, statement);
  const ended = new AbortController();
  const { signal } = ended;
  for await (const { event } of world.client.watch({ meshId: MESH, pubkey }, { signal })) {
    assert(event.case === "peerUpserted");
    assertEquals(event.value.statement, statement);
    break;
  }
  ended.abort();
});

Deno.test("a record that is not the node's own is refused, and the one stored stays", async () => {
  await using world = new World();
  const [node, other] = await Promise.all([identityOf(2), identityOf(3)]);
  const good = await signed(node);
  await world.agent(node, good);
  const wrong: readonly (readonly [string, SignedStatement, RegExp])[] = [
    ["another's signature", await signed(other, { of: content(node) }), /not a record/],
    ["another's record", await signed(other), /another pubkey/],
    ["another mesh", await signed(node, { of: content(node, { meshId: "lagoon" }) }), /mesh_id/],
    ["another role", await signed(node, { of: content(node, { role: PeerRole.COLONY }) }), /role/],
    ["another id", await signed(node, { of: content(node, { agentId: "a" }) }), /agent_id/],
    ["another kind", await signed(node, { kind: "membership" }), /not a record/],
    ["no sequence", await signed(node, { sequence: 0 }), /not a record/],
    ["no role", await signed(node, { of: content(node, { role: 7 as PeerRole }) }), /not a record/],
    [
      "no message",
      create(SignedStatementSchema, { statement: Uint8Array.of(255) }),
      /not a record/,
    ],
    [
      "a changed byte",
      { ...good, statement: good.statement.map((b, i) => i === 9 ? b ^ 1 : b) },
      /not a/,
    ],
    ["no signature", { ...good, signature: new Uint8Array() }, /not a record/],
    [
      "too long",
      { ...good, statement: new Uint8Array(STATEMENT_BYTES_MAX + 1) },
      /has 32769 bytes/,
    ],
  ];
  for (const [name, statement, message] of wrong) {
    const refusal = { code: Code.InvalidArgument, message };
    await assertRejects(world.agent(node, statement), refusal, name);
  }
  assertEquals(await world.statementOf(node), good);
});

Deno.test("an older record, another of the same sequence, and none at all are refused while one lives", async () => {
  await using world = new World();
  const node = await identityOf(2);
  const good = await signed(node, { sequence: 7 });
  await world.agent(node, good);
  const refused = async (
    statement: SignedStatement | undefined,
    message: RegExp,
  ): Promise<void> => {
    const code = Code.FailedPrecondition;
    await assertRejects(world.agent(node, statement), { code, message });
    assertEquals(await world.statementOf(node), good);
  };
  await refused(undefined, /the node has signed its record/);
  await refused(await signed(node, { sequence: 6 }), /not after that of the stored one, 7/);
  const moved = content(node, { endpoints: ["192.0.2.9:1"] });
  await refused(await signed(node, { sequence: 7, of: moved }), /not after/);
  await world.agent(node, good);
  const next = await signed(node, { sequence: 8, of: moved });
  await world.agent(node, next);
  assertEquals(await world.statementOf(node), next);
});

Deno.test("what Discovery would add to a record is not taken from a statement, and cannot be nested", async () => {
  await using world = new World();
  const node = await identityOf(2);
  const generation = 99n;
  const inner = await signed(node, { sequence: 1 });
  const of = { ...content(node), generation, statement: inner };
  await world.agent(node, await signed(node, { of }));
  const client = provingClients(world.service)(node.text);
  const record = await client.lookupAgent({ meshId: MESH, pubkey: node.text });
  assertEquals(record.generation, BigInt(NOW));
});

Deno.test("a statement that was verified is verified again for anybody else, and for one changed bit", async () => {
  const checker = new StatementChecker(2);
  const node = await identityOf(2);
  const good = await signed(node, { sequence: 5 });
  const own = agent(2, { meshId: MESH, agentId: node.text, publicKey: node.text });
  for (let again = 0; again < 3; again++) {
    assertEquals((await checker.with(own, good)).sequence, 5);
  }
  const refusal = { code: Code.InvalidArgument };
  for (const other of [{ agentId: "other" }, { meshId: "atoll" }, { publicKey: "x" }]) {
    await assertRejects(checker.with({ ...own, ...other }, good), refusal);
  }
  const signature = Uint8Array.from(good.signature);
  signature[0] = (signature[0] ?? 0) ^ 1;
  await assertRejects(checker.with(own, { ...good, signature }), refusal);
  assertEquals(checker.forgotten, 0, "what is refused is not remembered");
  for (const sequence of [6, 7]) await checker.with(own, await signed(node, { sequence }));
  assertEquals(checker.forgotten, 1);
  assertEquals((await checker.with(own, good)).sequence, 5);
});
