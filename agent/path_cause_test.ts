import { equal as assertEqual } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import type { NatCircumstances } from "../traversal/guess.ts";
import { type ReasonClues, reasonOf } from "../traversal/path_reason.ts";
import { causeOf } from "./path_cause.ts";

function clues(part: Partial<ReasonClues> = {}): ReasonClues {
  return {
    now: 100_000 as Instant,
    relayed: true,
    noDirect: false,
    endpoints: 2,
    relays: 1,
    attempts: 3,
    trying: false,
    probes: 12,
    replies: 0,
    lastHeardAt: undefined,
    nat: undefined,
    guess: { attempts: 0, sent: 0, running: false },
    ...part,
  };
}

Deno.test("every sentence about a path has its word", () => {
  const own = { mapping: "addressAndPortDependent" } as NatCircumstances["own"];
  const even = { mapping: "endpointIndependent" } as NatCircumstances["own"];
  const nat = (part: object): NatCircumstances =>
    ({ own: even, peer: "NAT_CONE", udpBlocked: false, ...part }) as unknown as NatCircumstances;
  const cases: readonly (readonly [Partial<ReasonClues>, string])[] = [
    [{ noDirect: true }, "directOff"],
    [{ noDirect: true, relayed: false, relays: 0 }, "directOff"],
    [{ endpoints: 0, relays: 0 }, "noEndpoint"],
    [{ nat: nat({ udpBlocked: true }) }, "udpBlocked"],
    [{ nat: nat({ own, peer: "NAT_SYMMETRIC" }) }, "mappingVariesBoth"],
    [{ nat: nat({ own, peer: "NAT_RESTRICTED" }) }, "mappingVariesHere"],
    [{ nat: nat({ peer: "NAT_SYMMETRIC" }) }, "mappingVariesThere"],
    [{ nat: nat({ peer: "NAT_SYMMETRIC" }), relayed: false }, "mappingVariesThere"],
    [{}, "noAnswer"],
    [{ replies: 1, probes: 1 }, "noAnswer"],
    [{ relayed: false }, "noAnswer"],
    [{ relayed: false, lastHeardAt: 1 as Instant }, "noAnswer"],
    [{ guess: { attempts: 2, sent: 900, running: false } }, "noAnswer"],
    [{ relayed: false, attempts: 0 }, "notTried"],
    [{ relayed: false, attempts: 0, trying: true }, "notTried"],
  ];
  for (const [part, cause] of cases) {
    const reason = reasonOf(clues(part));
    assertEqual(causeOf(reason), cause, reason);
    assertEqual(causeOf(`${reason}; it is not registered with Discovery any more`), cause, reason);
  }
  assertEqual(causeOf("no handshake yet"), "notTried");
  assertEqual(causeOf("something that nobody knows"), "other");
  assertEqual(causeOf(null), undefined);
});
