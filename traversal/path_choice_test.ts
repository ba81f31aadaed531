import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import type { CandidateKind } from "./candidate.ts";
import { ownPath } from "./path.ts";
import { PathChoice } from "./path_choice.ts";
import { PathRecord } from "./path_record.ts";

Deno.test("a session on an address that nothing proves goes after a second to where the peer says it is and was heard", () => {
  const stranger = recordOf("203.0.113.66", { listed: false });
  const named = recordOf("203.0.113.9");
  const silent = recordOf("203.0.113.10");
  const records = [stranger, silent, named];
  stranger.heardAt = at(0);
  const choice = new PathChoice(at(0), stranger);
  named.heardAt = at(100);
  assertEquals(choice.judge(at(500), { records, probing: true }), []);
  assertEquals(choice.dueAt(true), at(1_500));
  assertEquals(choice.judge(at(1_500), { records, probing: true }), ["moved"]);
  assertEquals(choice.primary, named);
});

Deno.test("such a session stays where it is if the peer answers there, and if it answers no probes at all", () => {
  for (const probing of [true, false]) {
    const stranger = recordOf("203.0.113.66", { listed: false });
    const named = recordOf("203.0.113.9");
    const records = [stranger, named];
    stranger.heardAt = at(0);
    named.heardAt = at(100);
    if (probing) {
      stranger.probed(at(0));
      stranger.answered(at(50), at(0));
    }
    const choice = new PathChoice(at(0), stranger);
    for (const ms of [500, 1_500, 6_000]) {
      assertEquals(choice.judge(at(ms), { records, probing }), []);
    }
    assertEquals(choice.primary, stranger);
  }
});

Deno.test("in doubt, data of a session that nothing proves goes where the peer says it is and was heard, behind what works", () => {
  const stranger = recordOf("203.0.113.66", { listed: false });
  const named = recordOf("203.0.113.9");
  const working = recordOf("203.0.113.10");
  const unheard = recordOf("203.0.113.11");
  named.heardAt = at(100);
  working.probed(at(0));
  working.answered(at(80), at(0));
  const choice = new PathChoice(at(0), stranger);
  assertEquals(choice.copies([unheard, named, working, stranger]), [working, named]);
  stranger.probed(at(0));
  stranger.answered(at(50), at(0));
  assertEquals(choice.copies([unheard, named, working, stranger]), [working]);
});

Deno.test("in doubt, data goes first to where a handshake has come from since, whatever worked before", () => {
  const [old, warm, warmer] = ["203.0.113.1", "203.0.113.2", "203.0.113.3"].map((hostname) => {
    const record = recordOf(hostname);
    record.probed(at(0));
    record.answered(at(10), at(0));
    return record;
  });
  ok(old && warm && warmer);
  const [anew, before] = [recordOf("203.0.113.4"), recordOf("203.0.113.5")];
  before.greetedAt = at(4_999);
  anew.greetedAt = at(5_000);
  const choice = new PathChoice(at(0), old);
  assertEquals(choice.copies([old, warm, warmer, anew, before]), [warm, warmer]);
  choice.question(at(5_000));
  const [first, ...others] = choice.copies([old, warm, warmer, anew, before]);
  assertEquals([first, others.length], [anew, 1]);
  ok(others[0] === warm || others[0] === warmer);
});

function recordOf(hostname: string, { listed = true } = {}): PathRecord {
  const kind: CandidateKind = listed ? "serverReflexive" : "peerReflexive";
  const record = new PathRecord(ownPath({ hostname, port: 1 }), { kind, mtuMax: 1280 });
  record.listed = listed;
  return record;
}

function at(ms: number): Instant {
  return ms as Instant;
}
