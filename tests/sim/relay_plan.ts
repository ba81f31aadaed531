/**
 * The relays of a world: which there are, who wants none, and what goes wrong with them.
 *
 * Drawn from a stream of chance of its own, so that worlds without relays do not know of it.
 *
 * @module
 */
import type { Family } from "../../core/mod.ts";
import { type LinkQuality, PERFECT } from "./net/link.ts";
import { type Chance, chanceOf } from "./random.ts";

/** A relay. */
export interface RelayPlan {
  /** Its id at Discovery, and its name among senders. */
  readonly id: string;
  /** Families of its addresses. */
  readonly families: readonly Family[];
  /** The link in front of it: how far it is. */
  readonly link: LinkQuality;
}

/** How a relay ends: its host is off and says nothing, or only the program is gone and the kernel says so. */
export type RelayEnd = "off" | "gone";

/** Something that goes wrong with a relay. It is over after `ms`, or when the world is healed. */
export type RelayFault =
  /** It is killed, and comes back without memory. */
  | {
    readonly kind: "relayKilled";
    readonly relay: string;
    readonly how: RelayEnd;
    readonly ms: number;
  }
  /** It drains for `drainMs`, ends, and comes back without memory. */
  | {
    readonly kind: "relayDrained";
    readonly relay: string;
    readonly drainMs: number;
    readonly ms: number;
  }
  /** Nothing reaches it; it remembers everything. */
  | { readonly kind: "relayCut"; readonly relay: string; readonly ms: number };

/** What a world has of relays. */
export interface RelayScenario {
  /** At least one. */
  readonly relays: readonly RelayPlan[];
  /** Names of nodes whose administrators want no relay. */
  readonly unwilling: readonly string[];
  /** Life of a session and its credentials. */
  readonly lifeMs: number;
  /** What goes wrong, and when, in no order. */
  readonly faults: readonly { readonly at: number; readonly fault: RelayFault }[];
}

/** Share of worlds with relays, and of those with two. */
const WORLDS = 0.4;
const TWO = 0.5;
const FAULTS_MAX = 4;
/** An hour is what Discovery gives; less is for renewals within a world. */
const LIVES_MS = [3_600_000, 3_600_000, 180_000] as const;

/** Draws the relays of the world of a seed; `undefined` for a world without. Faults happen from `from` to `until`. */
export function drawRelays(
  seed: number,
  nodes: readonly { readonly name: string }[],
  { from, until }: { readonly from: number; readonly until: number },
): RelayScenario | undefined {
  const chance = chanceOf(seed, "relays");
  if (!chance.chance(WORLDS)) return undefined;
  const relays = Array.from({ length: chance.chance(TWO) ? 2 : 1 }, (_, i) => drawRelay(chance, i));
  const unwilling = nodes.filter(() => chance.chance(0.07)).map(({ name }) => name);
  const faults = Array.from({ length: chance.below(FAULTS_MAX + 1) }, () => ({
    at: Math.floor(chance.between(from, until)),
    fault: drawFault(chance, chance.pick(relays).id),
  }));
  return { relays, unwilling, lifeMs: chance.pick(LIVES_MS), faults };
}

function drawRelay(chance: Chance, index: number): RelayPlan {
  return {
    id: `relay${index}`,
    families: chance.chance(0.2) ? [4] : [4, 6],
    link: {
      ...PERFECT,
      delayMs: Math.round(chance.between(0, 60)),
      jitterMs: chance.chance(0.3) ? Math.round(chance.between(0, 10)) : 0,
      loss: chance.chance(0.3) ? chance.between(0, 0.02) : 0,
    },
  };
}

function drawFault(chance: Chance, relay: string): RelayFault {
  switch (chance.below(4)) {
    case 0:
      return { kind: "relayCut", relay, ms: Math.floor(chance.between(1000, 60_000)) };
    case 1: {
      const drainMs = Math.floor(chance.between(5000, 60_000));
      const ms = drainMs + Math.floor(chance.between(1000, 60_000));
      return { kind: "relayDrained", relay, drainMs, ms };
    }
    default: {
      const how = chance.pick<RelayEnd>(["off", "gone"]);
      return { kind: "relayKilled", relay, how, ms: Math.floor(chance.between(500, 90_000)) };
    }
  }
}
