/** Relays behind real NATs: always connected, never decrypted. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { testSha256 } from "../support/bytes.ts";
import { Moray, SOURCE } from "../support/moray.ts";
import { Lab } from "../support/natlab.ts";
import { startNatWorld } from "../support/nat_mesh.ts";
import {
  answers,
  DELAY,
  RELAY_PORT as PORT,
  RELAY_SECRET as SECRET,
  startLabRelay,
  startRelayWorld,
  startWalker,
  startWebColony,
  streamFromColony,
} from "../support/relayed_pair.ts";
import { e2e, eventually } from "../support/scope.ts";
import { selfSigned } from "../support/turn.ts";

/** What stands before whom, and what has to carry. */
const PAIRS: readonly { readonly colony: string; readonly agent: string; readonly by: string }[] = [
  { colony: "symmetric", agent: "symmetric", by: "udp" },
  { colony: "fullcone", agent: "udpblocked", by: "tcp" },
  { colony: "udpblocked", agent: "udpblocked", by: "tcp" },
  { colony: "symmetric", agent: "httponly", by: "websocket" },
  { colony: "httponly", agent: "httponly", by: "websocket" },
];

for (const { colony, agent, by } of PAIRS) {
  e2e(`${colony} and ${agent} reach each other over the relay`, {
    needs: ["full", "natlab"],
    timeoutMs: 120_000,
  }, async (scope) => {
    const lab = scope.use(
      await Lab.up(`relay-${colony}-${agent}`.slice(0, 12) + by.slice(0, 2), {
        servers: ["disco:2"],
        sites: [`c=${colony},${DELAY}`, `a=${agent},${DELAY}`],
      }),
    );
    const world = await startRelayWorld(scope, lab, { httpPort: 80 });
    await world.start("colony", { mesh: "reef", host: "c1" });
    const walker = await world.start("agent", { mesh: "reef", host: "a1", name: "walker" });
    await answers(walker, 20_000);
    const { kind, relay } = await walker.path("colony") ?? {};
    assertEquals(kind, "relayed");
    assertEquals(relay, "relay");
    const own = (await walker.status()).relays ?? [];
    assertEquals(own.map(({ state, transport }) => [state, transport]), [["ready", by]]);
  });
}

e2e(
  "relayed becomes direct, and direct relayed again, without a lost echo in the first and within 6.5 s in the second",
  {
    needs: ["full", "natlab"],
    timeoutMs: 180_000,
  },
  async (scope) => {
    const lab = scope.use(
      await Lab.up("relayupgrade", {
        servers: ["disco:2"],
        sites: [`c=portrestricted,${DELAY}`, `a=fullcone,${DELAY}`],
      }),
    );
    const world = await startRelayWorld(scope, lab, { httpPort: 80 });
    await world.start("colony", { mesh: "reef", host: "c1" });
    const walker = await world.start("agent", { mesh: "reef", host: "a1", name: "walker" });
    await answers(walker, 20_000);
    // From the first answer to long after the change of path.
    const until = performance.now() + 8_000;
    let lost = 0;
    while (performance.now() < until) {
      if (await walker.echo("colony", 1_500) === undefined) lost++;
    }
    assertEquals([lost, (await walker.path("colony"))?.kind], [0, "direct"]);
    // From now on no UDP passes: the allocation is lost too, and the next one is by TCP.
    await lab.ctl("a", `set block=udp,udpports=${PORT}`);
    const cutAt = performance.now();
    await eventually("an answer over the relay", async () => {
      const rttMs = await walker.echo("colony", 300);
      if (rttMs === undefined || performance.now() - cutAt < 400) return undefined;
      return (await walker.path("colony"))?.kind === "relayed" ? true : undefined;
    }, { timeoutMs: 6_500, everyMs: 20 });
  },
);

e2e("where only HTTP passes, a TURN server elsewhere carries by TLS on port 443", {
  needs: ["full", "natlab"],
  timeoutMs: 120_000,
}, async (scope) => {
  const lab = scope.use(
    await Lab.up("relaytls", {
      servers: ["disco:2", "turns"],
      sites: [`c=fullcone,${DELAY}`, `a=httponly,${DELAY}`],
    }),
  );
  const address = lab.address("turns", 4);
  const { key, certificate } = await selfSigned(scope.directory(), [address]);
  const listen = ["--listen-udp", `${address}:${PORT}`, "--listen-tls", `${address}:443`];
  scope.use(
    await Moray.start([
      ...["relay", ...listen, "--cert", certificate, "--key", key],
      ...["--external-ip", address, "--secret", SECRET],
    ], { program: SOURCE, namespace: lab.namespace("turns"), timeoutMs: 60_000 }),
  );
  const env = { ...SOURCE.options.env, DENO_CERT: certificate };
  const world = await startNatWorld(scope, {
    lab,
    program: { ...SOURCE, options: { ...SOURCE.options, env } },
    httpPort: 80,
    discoveryFlags: [
      ...["--relay-secret", SECRET],
      ...["--relay-server", `far=turn:${address}:${PORT}?transport=udp`],
      ...["--relay-server", `far=turns:${address}:443`],
    ],
  });
  await world.start("colony", { mesh: "reef", host: "c1" });
  const walker = await world.start("agent", { mesh: "reef", host: "a1", name: "walker" });
  await answers(walker, 20_000);
  const own = (await walker.status()).relays ?? [];
  assertEquals(own.map(({ id, transport }) => [id, transport]), [["far", "tls"]]);
});

e2e("a NAT that forgets everything costs a relayed pair 6.5 s at most", {
  needs: ["full", "natlab"],
  timeoutMs: 120_000,
}, async (scope) => {
  const lab = scope.use(
    await Lab.up("relayforget", {
      servers: ["disco:2"],
      sites: [`c=symmetric,${DELAY}`, `a=symmetric,${DELAY}`],
    }),
  );
  const world = await startRelayWorld(scope, lab, { httpPort: 80 });
  await world.start("colony", { mesh: "reef", host: "c1" });
  const walker = await world.start("agent", { mesh: "reef", host: "a1", name: "walker" });
  await answers(walker, 20_000);
  for (const site of ["a", "c"]) {
    await lab.ctl(site, "flush");
    await answers(walker, 6_500);
  }
});

e2e(
  "a relayed pair of which one side and then the other roams answers again within 6.5 s, and its stream goes on",
  {
    needs: ["full", "natlab", "curl"],
    timeoutMs: 120_000,
  },
  async (scope) => {
    const lab = scope.use(
      await Lab.up("relayroam", {
        servers: ["disco:2"],
        sites: [`c=symmetric,${DELAY}`, `a=symmetric,${DELAY}`],
      }),
    );
    const world = await startRelayWorld(scope, lab, { httpPort: 80 });
    await startWebColony(scope, { lab, world });
    const walker = await startWalker({ world });
    const stream = streamFromColony(walker, { lab, seconds: 15, timeoutMs: 60_000 });
    await answers(walker, 6_500);
    for (const site of ["a", "c"]) {
      await lab.natlab("roam", site);
      await answers(walker, 6_500);
      const { kind, relay } = await walker.path("colony") ?? {};
      assertEquals([kind, relay], ["relayed", "relay"]);
    }
    const got = await stream;
    assertEquals([got.code, got.sha256], [0, testSha256(got.bytes)], got.stderr);
    assert(got.bytes > 0);
  },
);

e2e("kill -9 of the relay under traffic: the next one carries within 6.5 s", {
  needs: ["full", "natlab"],
  timeoutMs: 180_000,
}, async (scope) => {
  const lab = scope.use(
    await Lab.up("relaykill", {
      servers: ["disco:2", "one", "two"],
      sites: [`c=symmetric,${DELAY}`, `a=symmetric,${DELAY}`],
    }),
  );
  const relays = new Map<string, Moray>();
  for (const name of ["one", "two"]) {
    relays.set(name, await startLabRelay(scope, { lab, server: name }));
  }
  const world = await startNatWorld(scope, {
    lab,
    discoveryFlags: [
      ...["--relay-secret", SECRET],
      ...["one", "two"].flatMap((name) => [
        "--relay-server",
        `${name}=turn:${lab.address(name, 4)}:${PORT}?transport=udp`,
      ]),
    ],
  });
  await world.start("colony", { mesh: "reef", host: "c1" });
  const walker = await world.start("agent", { mesh: "reef", host: "a1", name: "walker" });
  await answers(walker, 20_000);
  const { relay: used = null } = await walker.path("colony") ?? {};
  const victim = relays.get(used ?? "");
  assert(victim !== undefined, `the path is over ${used}`);
  victim.child.signal("SIGKILL");
  const killedAt = performance.now();
  await victim.child.exited;
  await answers(walker, 6_500);
  const seconds = (performance.now() - killedAt) / 1000;
  assert(seconds <= 6.5, `${seconds} s`);
});
