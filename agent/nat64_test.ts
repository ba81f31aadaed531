import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { Nat64 } from "./nat64.ts";
import type { CommandBody } from "./shared/mod.ts";

const PEER = "peer";
const OTHER = { kind: "connectPeer", publicKey: PEER } as const;

interface Lab {
  readonly nat64: Nat64;
  readonly sent: CommandBody[];
  readonly lines: string[];
  changes: number;
  /** What the machine and its resolver are like; may be changed. */
  readonly world: { ipv6Only: boolean; answer: readonly string[] | Error; asked: number };
}

function start(world: Partial<Lab["world"]> = {}): Lab {
  const lab: Lab = {
    sent: [],
    lines: [],
    changes: 0,
    world: { ipv6Only: true, answer: ["64:ff9b::c000:aa"], asked: 0, ...world },
    nat64: new Nat64({
      log: (level, message) => lab.lines.push(`${level} ${message}`),
      onChange: () => lab.changes++,
      send: (command) => lab.sent.push(command),
      isNeeded: () => lab.world.ipv6Only,
      resolve: (name) => {
        assertEquals(name, "ipv4only.arpa");
        lab.world.asked++;
        const { answer } = lab.world;
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    }),
  };
  return lab;
}

function candidates(nat64: Nat64, ...addresses: string[]): string[] {
  const list = addresses.map((address) => ({ kind: "host", address }));
  const command = nat64.translate({ kind: "setCandidates", publicKey: PEER, candidates: list });
  return command.kind === "setCandidates" ? command.candidates.map(({ address }) => address) : [];
}

Deno.test("Nat64 adds to candidates what reaches their IPv4 addresses", async () => {
  const { nat64 } = start();
  await nat64.detect();
  assertEquals(candidates(nat64, "203.0.113.9:5", "[2001:db8::1]:6", "10.0.0.1:7"), [
    "203.0.113.9:5",
    "[2001:db8::1]:6",
    "10.0.0.1:7",
    "[64:ff9b::cb00:7109]:5",
  ]);
  assertEquals(nat64.translate(OTHER), OTHER);
});

Deno.test("Nat64 adds nothing twice", async () => {
  const { nat64 } = start();
  await nat64.detect();
  const both = ["203.0.113.9:5", "[64:ff9b::cb00:7109]:5"];
  assertEquals(candidates(nat64, ...both), both);
});

Deno.test("Nat64 tells the datapath its STUN servers again once it knows a prefix, and says so", async () => {
  const { nat64, sent, lines, ...lab } = start();
  const servers = [{ address: "203.0.113.1:3478", origin: "discovery" }];
  const raw = { kind: "setStunServers", servers } as const;
  assertEquals(nat64.translate(raw), raw);
  await nat64.detect();
  assertEquals([sent, lab.world.asked], [[raw], 1]);
  assertEquals(lines, ["info IPv4 is reached through NAT64"]);
  const translated = nat64.translate(raw);
  assertEquals(translated.kind === "setStunServers" && translated.servers[1], {
    address: "[64:ff9b::cb00:7101]:3478",
    origin: "discovery",
  });
});

Deno.test("Nat64 asks nobody on a machine that has IPv4, and forgets when it comes", async () => {
  const lab = start({ ipv6Only: false });
  await lab.nat64.detect();
  assertEquals([lab.world.asked, lab.changes, lab.nat64.prefixes], [0, 0, []]);
  lab.world.ipv6Only = true;
  await lab.nat64.detect();
  assertEquals([lab.changes, lab.nat64.prefixes], [1, ["64:ff9b::/96"]]);
  await lab.nat64.detect();
  assertEquals(lab.changes, 1, "the same as before");
  lab.world.ipv6Only = false;
  await lab.nat64.detect();
  assertEquals([lab.changes, lab.nat64.prefixes], [2, []]);
  assertEquals(candidates(lab.nat64, "203.0.113.9:5"), ["203.0.113.9:5"]);
});

Deno.test("Nat64 takes a resolver that knows nothing for a network without it", async () => {
  for (const answer of [new Error("no such name"), [], ["2001:db8::1"], ["junk"]]) {
    const { nat64, lines } = start({ answer });
    await nat64.detect();
    assertEquals(nat64.prefixes, []);
    assertEquals(lines.filter((line) => !line.startsWith("debug")), []);
  }
});
