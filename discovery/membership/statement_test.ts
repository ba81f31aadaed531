import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { signStatement } from "../signature/statement.ts";
import { identityOf } from "../testing/identity.ts";
import { type Membership, openMembership, signMembership } from "./statement.ts";

const agent = await identityOf(2);
const MEMBERSHIP: Membership = {
  meshId: "reef",
  publicKey: agent.text,
  state: "admitted",
  sequence: 3,
  name: "laptop",
};

Deno.test("openMembership opens what the colony has signed, and nobody else", async () => {
  const colony = await identityOf(1);
  const signed = await signMembership(colony.signer, MEMBERSHIP);
  const scope = { meshId: "reef", colonyKey: colony.publicKey };
  assertEquals(await openMembership(signed, scope), MEMBERSHIP);
  assertEquals(await openMembership(signed, { ...scope, meshId: "atoll" }), undefined);
  assertEquals(await openMembership(signed, { ...scope, colonyKey: agent.publicKey }), undefined);
  const revoked = await signMembership(colony.signer, { ...MEMBERSHIP, state: "revoked" });
  assertEquals((await openMembership(revoked, scope))?.state, "revoked");
  const mixed = { statement: revoked.statement, signature: signed.signature };
  assertEquals(await openMembership(mixed, scope), undefined);
});

Deno.test("openMembership refuses a statement of another kind, and what is none", async () => {
  const colony = await identityOf(1);
  const scope = { meshId: "reef", colonyKey: colony.publicKey };
  const { statement } = await signMembership(colony.signer, MEMBERSHIP);
  const record = await signStatement(colony.signer, "record", statement);
  assertEquals(await openMembership(record, scope), undefined);
  for (const bytes of [new Uint8Array(), new Uint8Array(2000), Uint8Array.of(0xff, 0xff)]) {
    const signed = await signStatement(colony.signer, "membership", bytes);
    assertEquals(await openMembership(signed, scope), undefined);
  }
  const none = await signMembership(colony.signer, { ...MEMBERSHIP, sequence: 0 });
  assertEquals(await openMembership(none, scope), undefined);
});
