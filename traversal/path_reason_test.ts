import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import type { NatFacts, NatHint } from "./nat.ts";
import { type ReasonClues, reasonOf } from "./path_reason.ts";

const CONE: NatFacts = {
  mapping: "endpointIndependent",
  filtering: "addressAndPortDependent",
  hint: "NAT_RESTRICTED",
};
const SYMMETRIC: NatFacts = { ...CONE, mapping: "addressDependent", hint: "NAT_SYMMETRIC" };
const NOTHING: ReasonClues = {
  now: 100_000 as Instant,
  relayed: false,
  noDirect: false,
  endpoints: 0,
  relays: 0,
  attempts: 0,
  trying: false,
  probes: 0,
  replies: 0,
  lastHeardAt: undefined,
  nat: undefined,
  guess: { attempts: 0, sent: 0, running: false },
};

Deno.test("a reason is a sentence that names what is known", () => {
  const cases: readonly (readonly [Partial<ReasonClues>, string])[] = [
    [{}, "no endpoint of this peer is known"],
    [{ endpoints: 1 }, "1 endpoint known, no session was asked for"],
    [{ endpoints: 2, trying: true }, "about to try 2 endpoints"],
    [{ endpoints: 2, relays: 1, attempts: 1 }, "1 handshake to 3 endpoints, no answer"],
    [
      { endpoints: 2, attempts: 9, lastHeardAt: 58_000 as Instant },
      "9 handshakes to 2 endpoints, no answer; last heard of 42 s ago",
    ],
    [
      { endpoints: 2, attempts: 9, nat: nat(CONE, "NAT_RESTRICTED", true) },
      "UDP blocked here; 9 handshakes to 2 endpoints, no answer",
    ],
    [{ endpoints: 2, relays: 1, relayed: true, probes: 412 }, "412 probes, 0 replies"],
    [
      { endpoints: 2, relays: 1, relayed: true, probes: 1, replies: 1 },
      "1 probe, 1 reply",
    ],
    [
      { endpoints: 2, relays: 1, relayed: true, probes: 12, nat: nat(SYMMETRIC, "NAT_SYMMETRIC") },
      "mapping varies by destination on both sides; 12 probes, 0 replies",
    ],
    [
      {
        endpoints: 2,
        attempts: 3,
        nat: nat(SYMMETRIC, "NAT_RESTRICTED"),
        guess: { attempts: 1, sent: 64, running: true },
      },
      "mapping varies by destination here, and the peer's NAT filters by port; 3 handshakes to 2 endpoints, no answer; " +
      "guessing ports, 64 datagrams sent",
    ],
    [
      {
        endpoints: 2,
        attempts: 3,
        nat: nat(CONE, "NAT_SYMMETRIC"),
        guess: { attempts: 2, sent: 2048, running: false },
      },
      "mapping varies by destination at the peer's side; 3 handshakes to 2 endpoints, no answer; 2 guesses, " +
      "2048 datagrams sent",
    ],
    [{ noDirect: true }, "direct paths are switched off, and no relay is known"],
    [{ noDirect: true, relays: 1, relayed: true }, "direct paths are switched off"],
    [{ noDirect: true, relays: 1, attempts: 2 }, "2 handshakes to 1 endpoint, no answer"],
    [
      { endpoints: 1, attempts: 2, nat: nat(CONE, "NAT_CONE") },
      "2 handshakes to 1 endpoint, no answer",
    ],
  ];
  for (const [clues, reason] of cases) assertEquals(reasonOf({ ...NOTHING, ...clues }), reason);
});

function nat(own: NatFacts, peer: NatHint, udpBlocked = false): ReasonClues["nat"] {
  return { own, peer, udpBlocked };
}
