import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { ServerSurvey } from "./server_survey.ts";
import { seeded } from "./testing/fuzz.ts";
import { NatWorld, OUTSIDE, PORTS, TWO_HOSTS } from "./testing/nat_world.ts";

Deno.test("ServerSurvey tells who answers, how fast, and why the others have no address", () => {
  const world = new NatWorld();
  const dead = { hostname: "198.51.100.77", port: 3478 };
  const servers = [dead, TWO_HOSTS.primary, TWO_HOSTS.alternate].map((address) => ({ address }));
  const survey = new ServerSurvey(0 as Instant, { servers, rng: seeded(1) });
  world.run(survey);
  const mapped = { hostname: OUTSIDE, port: PORTS.helper };
  assertEquals([survey.done, survey.servers], [true, [
    { server: servers[0], mapped: undefined, rttMs: undefined, reason: "no answer" },
    { server: servers[1], mapped, rttMs: 20, reason: undefined },
    { server: servers[2], mapped, rttMs: 20, reason: undefined },
  ]]);
});

Deno.test("ServerSurvey asks from the helping socket alone: the other stays untouched", () => {
  const servers = [{ address: TWO_HOSTS.primary }];
  const survey = new ServerSurvey(0 as Instant, { servers, rng: seeded(1) });
  assertEquals(survey.pollTransmit()?.end, "helper");
  assertEquals(survey.pollTransmit(), undefined);
});

Deno.test("ServerSurvey of nobody is done at once", () => {
  const survey = new ServerSurvey(0 as Instant, { servers: [], rng: seeded(1) });
  assertEquals([survey.done, survey.servers, survey.pollTimeout()], [true, [], undefined]);
});
