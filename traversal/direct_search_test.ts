import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant, SocketAddress } from "../core/mod.ts";
import { DirectSearch, type SearchSituation } from "./direct_search.ts";
import { FanOut } from "./fan_out.ts";
import type { NatFacts } from "./nat.ts";
import { formatPath, ownPath } from "./path.ts";
import type { PathRecord } from "./path_record.ts";
import { PathTable } from "./path_table.ts";
import { seeded } from "./testing/fuzz.ts";

const SYMMETRIC: NatFacts = {
  mapping: "addressAndPortDependent",
  filtering: "addressAndPortDependent",
  hint: "NAT_SYMMETRIC",
};
const PORTS = [40_000, 40_001].map((port) => ({ hostname: "203.0.113.9", port }));
const NEXT = { hostname: "203.0.113.9", port: 40_001 + 96 };

Deno.test("a session on two ports that do not belong together is no direct path: the search goes on", () => {
  const { search, table } = begun();
  const primary = learned(table, { hostname: "203.0.113.9", port: 40_050 });
  const heard = { ...NONE, primary };
  search.handle(at(1_600), heard);
  assert(search.guess.running, "no probe was answered");
  assertEquals(search.guess.aimsOf(1), [NEXT]);
  search.handle(at(9_000), { ...heard, answers: true });
  assert(search.guess.running, "the peer answers elsewhere");
  primary.probed(at(9_000));
  primary.answered(at(9_050), at(9_000));
  search.pollInitiation();
  search.handle(at(9_050), { ...heard, answers: true });
  assertEquals([search.guess.running, search.pollInitiation()], [false, undefined]);
});

Deno.test("the path to a peer that answers no probes is believed, unless it is questioned or relayed", () => {
  for (const [questioned, relayed] of [[false, false], [true, false], [false, true]] as const) {
    const { search, table } = begun();
    const primary = learned(table, { hostname: "203.0.113.9", port: 40_050 });
    if (relayed) primary.kind = "relayed";
    search.handle(at(1_600), { ...NONE, primary, questioned, answers: false });
    assertEquals(search.guess.running, questioned || relayed);
  }
});

Deno.test("where the peer is heard at an extra end, the address that this end aims at is asked", () => {
  const { search, table } = begun();
  const elsewhere = { hostname: "203.0.113.9", port: 61_000 };
  search.heard(at(1_600), { local: 2, remote: elsewhere }, undefined);
  assertEquals(keys(table), ["203.0.113.9:40097 from local end 2"]);
  assertEquals(table.find({ local: 2, remote: NEXT })?.probedAt, undefined, "at once");
  search.heard(at(1_700), { local: 2, remote: NEXT }, undefined);
  search.heard(at(1_700), ownPath(elsewhere), undefined);
  search.heard(at(1_700), { local: 77, remote: elsewhere }, undefined);
  assertEquals(keys(table).length, 1, "not the own sockets, and no end of somebody else's");
  search.handle(at(40_000), { ...NONE, wanted: false });
  search.heard(at(40_000), { local: 3, remote: elsewhere }, undefined);
  assertEquals(keys(table).length, 1, "the guess is over");
});

Deno.test("nothing is searched for where Discovery does not know the peer, or nobody wants a session", () => {
  for (const situation of [{ ...NONE, registered: false }, { ...NONE, wanted: false }]) {
    const { search } = begun();
    search.handle(at(1_600), situation);
    assertEquals(search.guess.running, false);
    const requests = [search.guess.pollLocal(), search.guess.pollLocal()];
    assertEquals(requests, [{ kind: "close", locals: [1, 2, 3] }, undefined]);
  }
});

const NONE: SearchSituation = {
  wanted: true,
  registered: true,
  primary: undefined,
  questioned: false,
  answers: undefined,
};

/** A search whose guess has opened the ends 1, 2 and 3 at 1.5 s. */
function begun(): { readonly search: DirectSearch; readonly table: PathTable } {
  const table = new PathTable({ mtuMax: 1280, noDirect: false });
  const fanOut = new FanOut(at(0));
  const search = new DirectSearch({ table, fanOut, rng: seeded(1), noGuess: false });
  search.guess.setNat({ own: SYMMETRIC, peer: "NAT_SYMMETRIC", udpBlocked: false });
  table.setCandidates(PORTS.map((address) => ({ kind: "serverReflexive", address })), undefined);
  search.begin(at(0));
  search.handle(at(0), NONE);
  assertEquals(search.guess.pollLocal(), { kind: "sample" });
  search.handle(at(1_500), NONE);
  assertEquals(search.guess.pollLocal(), { kind: "open", count: 128, urgent: false });
  search.guess.handleLocals(at(1_500), [1, 2, 3]);
  table.setCandidates([], undefined);
  return { search, table };
}

function learned(table: PathTable, remote: SocketAddress): PathRecord {
  const record = table.learn(at(1_500), ownPath(remote), undefined);
  assert(record !== undefined);
  record.heardAt = at(1_500);
  return record;
}

function keys(table: PathTable): readonly string[] {
  return [...table.all].map(({ path }) => formatPath(path));
}

function at(ms: number): Instant {
  return ms as Instant;
}
