import { deepStrictEqual as assertEquals, throws } from "node:assert/strict";
import { relayOffer } from "./offered_relay.ts";
import { MESH_NODE } from "./parameters.ts";
import { resolveSettings } from "./settings.ts";

function offerOf(flags: Record<string, string | true>): ReturnType<typeof relayOffer> {
  const needed = { mesh: "reef", discovery: ["http://127.0.0.1:1"], state: "s" };
  return relayOffer(
    resolveSettings(MESH_NODE, { flags: { ...needed, ...flags }, env: () => undefined }),
  );
}

Deno.test("--offer-relay offers a relay with what the other flags say of it, and nothing without it", () => {
  assertEquals(offerOf({}), undefined);
  const { start, ...plain } = offerOf({ offerRelay: true }) ?? {};
  assertEquals([plain, typeof start], [{}, "function"]);
  const { start: _, ...full } = offerOf({
    offerRelay: true,
    offerRelayPort: "3478",
    offerRelayPorts: "50000-50099",
    offerRelayBandwidth: "2M",
    offerRelaySessions: "4",
    offerRelayPrivate: true,
  }) ?? {};
  assertEquals(full, {
    port: 3478,
    portRange: { first: 50_000, last: 50_099 },
    bytesPerSecond: 2_000_000,
    sessionsMax: 4,
    allowPrivatePeers: true,
  });
});

Deno.test("a flag of --offer-relay without it is refused in one line", () => {
  for (
    const [property, flag, value] of [
      ["offerRelayPort", "--offer-relay-port", "0"],
      ["offerRelayPorts", "--offer-relay-ports", "1-2"],
      ["offerRelayBandwidth", "--offer-relay-bandwidth", "1M"],
      ["offerRelaySessions", "--offer-relay-sessions", "4"],
      ["offerRelayPrivate", "--offer-relay-private", true],
    ] as const
  ) {
    throws(() => offerOf({ [property]: value }), {
      code: "usage",
      message: `${flag} is for the relay of --offer-relay: add that`,
    });
  }
});
