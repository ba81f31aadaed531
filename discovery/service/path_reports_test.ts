import { deepStrictEqual as assertEquals, rejects } from "node:assert/strict";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Client, Code } from "@connectrpc/connect";
import {
  DiscoveryService,
  NatBehavior,
  NatHint,
  PathKind,
  PathReason,
  type PathReportSchema,
  type ReportPathRequestSchema,
} from "../../proto/mod.ts";
import { SqliteStore } from "../store/sqlite_store.ts";
import { key } from "../testing/nodes.ts";
import { provingClients } from "../testing/proving_client.ts";
import { DETAIL_MAX, shortText } from "./requests.ts";
import { Service } from "./service.ts";

const TTL_MS = 300_000;

/** A service on a memory store, and clients that prove keys. */
class World implements AsyncDisposable {
  now = 1_700_000_000_000;
  readonly store = SqliteStore.open(":memory:");
  readonly service = new Service({
    store: this.store,
    ttlMs: TTL_MS,
    heartbeatMs: 15_000,
    stun: [],
    version: "1.2.3",
    now: () => this.now,
    randomId: () => "id",
    log: () => {},
  });

  /** A client that has proven a key; none for an empty one. */
  client(proven: string): Client<typeof DiscoveryService> {
    return provingClients(this.service)(proven);
  }

  async agent(seed: number): Promise<void> {
    await this.client(key(seed)).registerAgent({
      meshId: "reef",
      agentId: `a${seed}`,
      pubkey: key(seed),
      endpoints: ["192.0.2.2:51820"],
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.service.close();
    await this.store.close();
  }
}

type Path = MessageInitShape<typeof PathReportSchema>;
type Report = MessageInitShape<typeof ReportPathRequestSchema>;

const PATH: Path = {
  peerPubkey: key(1),
  peerNat: NatHint.NAT_CONE,
  kind: PathKind.RELAYED,
  reason: PathReason.NO_ANSWER,
  detail: "12 probes, 0 replies",
  punchAttempts: 3,
  punchSuccesses: 1,
  relayId: "eu",
  rttUs: 1500,
};
const REPORT: Report = {
  meshId: "reef",
  pubkey: key(2),
  nat: NatHint.NAT_SYMMETRIC,
  mapping: NatBehavior.ADDRESS_AND_PORT_DEPENDENT,
  filtering: NatBehavior.ADDRESS_DEPENDENT,
  paths: [PATH],
};

async function refused(call: Promise<unknown>, code: Code): Promise<void> {
  await rejects(call, (error: { code?: Code }) => {
    assertEquals(error.code, code);
    return true;
  });
}

Deno.test("ReportPath keeps what a registered node says, until it leaves", async () => {
  await using world = new World();
  const client = world.client(key(2));
  await refused(client.reportPath(REPORT), Code.FailedPrecondition);
  await world.agent(2);
  assertEquals((await client.reportPath(REPORT)).taken, 1);
  const node = { meshId: "reef", publicKey: key(2) };
  const { reportedAt, paths, ...nat } = world.service.paths.book.of(node) ??
    { reportedAt: 0, paths: new Map() };
  assertEquals(reportedAt, world.now);
  assertEquals(nat, { nat: 3, mapping: 3, filtering: 2 });
  assertEquals([...paths.values()], [{
    peer: key(1),
    peerNat: 1,
    kind: "relayed",
    reason: 8,
    detail: "12 probes, 0 replies",
    punchAttempts: 3,
    punchSuccesses: 1,
    relayId: "eu",
    rttUs: 1500,
  }]);
  await client.deregisterAgent({ meshId: "reef", pubkey: key(2) });
  assertEquals(world.service.paths.book.size, 0);
});

Deno.test("ReportPath's book loses who expires", async () => {
  await using world = new World();
  await world.agent(2);
  await world.client(key(2)).reportPath(REPORT);
  world.now += TTL_MS;
  await world.service.sweep();
  assertEquals(world.service.paths.book.size, 0);
});

Deno.test("ReportPath takes no word about another node, nor of who proves nothing", async () => {
  await using world = new World();
  await world.agent(2);
  await refused(world.client(key(3)).reportPath(REPORT), Code.PermissionDenied);
  await refused(world.client("").reportPath(REPORT), Code.Unauthenticated);
  assertEquals(world.service.paths.book.size, 0);
});

Deno.test("ReportPath is bounded by request and by key", async () => {
  await using world = new World();
  await world.agent(2);
  const client = world.client(key(2));
  const many = { ...REPORT, paths: new Array(257).fill(PATH) };
  await refused(client.reportPath(many), Code.InvalidArgument);
  for (let i = 0; i < 60; i++) await client.reportPath(REPORT);
  await refused(client.reportPath(REPORT), Code.ResourceExhausted);
});

Deno.test("ReportPath refuses what makes no sense, and reads what it does not know as unknown", async () => {
  await using world = new World();
  await world.agent(2);
  const client = world.client(key(2));
  const of = (part: Partial<typeof PATH>): typeof REPORT => ({
    ...REPORT,
    paths: [{ ...PATH, ...part }],
  });
  await refused(client.reportPath(of({ peerPubkey: "x" })), Code.InvalidArgument);
  await refused(client.reportPath(of({ relayId: "<b>" })), Code.InvalidArgument);
  await refused(client.reportPath(of({ punchSuccesses: 4 })), Code.InvalidArgument);
  // As a newer node may say it.
  const [nine, less]: readonly number[] = [9, -1];
  const strange = {
    kind: nine as PathKind,
    reason: 99 as number as PathReason,
    peerNat: nine as NatHint,
  };
  await client.reportPath({
    ...of(strange),
    nat: nine as NatHint,
    mapping: less as NatBehavior,
  });
  const known = world.service.paths.book.of({ meshId: "reef", publicKey: key(2) });
  assertEquals([known?.nat, known?.mapping, known?.filtering], [0, 0, 2]);
  const path = known?.paths.get(key(1));
  assertEquals([path?.kind, path?.reason, path?.peerNat], ["none", 0, 0]);
});

Deno.test("what a node says in words is short, plain, and names no address", () => {
  assertEquals(shortText("12 probes, 0 replies"), "12 probes, 0 replies");
  assertEquals(shortText("to 192.0.2.1:51820, no"), "to (address):51820, no");
  assertEquals(
    shortText("to [2001:db8::1]:51820 or fe80::1%eth0 or ::1"),
    "to [(address)]:51820 or (address)%eth0 or (address)",
  );
  assertEquals(shortText("a\u001b[31m\n\u202eé"), "a?[31m???");
  assertEquals(shortText("x".repeat(1000)).length, DETAIL_MAX);
  assertEquals(shortText("at 03:04, ratio 1:2"), "at 03:04, ratio 1:2");
});
