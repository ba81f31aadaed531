/** Attacks that would find out which meshes and nodes there are: whoever is none of them learns nothing, by words or by work. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { ConnectError } from "@connectrpc/connect";
import { parseKey } from "../../core/mod.ts";
import { DiscoveryClient, signMembership, signRotation } from "../mod.ts";
import type { RelayServer } from "../service/relay_registry.ts";
import { Service } from "../service/service.ts";
import { identityOf } from "../testing/identity.ts";
import { provingClients } from "../testing/proving_client.ts";
import { recordedStore } from "../testing/recorded_store.ts";
import { MESH, World } from "../testing/world.ts";

/** A mesh and an agent that are not there, with names as long as those that are. */
const NO_MESH = "none";
const [AGENT, NO_AGENT] = ["a2", "a9"];

/** An answer with all that the client sees of it; the names of what was asked for are the client's own words. */
interface Seen {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
}

/** What a stranger may ask, by name: a mesh and an agent, each of which exists or not. */
const QUESTIONS: Readonly<
  Record<
    string,
    (client: DiscoveryClient, asked: {
      readonly meshId: string;
      readonly agentId: string;
      readonly publicKey: string;
      readonly own: string;
    }) => Promise<unknown>
  >
> = {
  LookupColony: (client, { meshId }) => client.lookupColony(meshId),
  "LookupAgent by id": (client, { meshId, agentId }) => client.lookupAgent({ meshId, agentId }),
  "LookupAgent by key": (client, { meshId, publicKey }) =>
    client.lookupAgent({ meshId, publicKey }),
  InitiatePunch: (client, { meshId, publicKey, own }) =>
    client.initiatePunch({ meshId, from: own, to: publicKey }),
  CreateBootstrapToken: (client, { meshId, agentId }) =>
    client.bootstrapToken({ meshId, agentId, intent: "join" }),
  PublishMembership: (client, { meshId, own }) =>
    client.publishMembership({ meshId, publicKey: own, members: [], invites: [], revision: 1 }),
  DeregisterAgent: (client, { meshId, own }) =>
    client.deregister({ meshId, publicKey: own, role: "agent" }),
};

Deno.test("attack: find out which meshes and agents there are", async () => {
  await using world = await World.start();
  const [colony, member] = [await world.node(1, "colony"), await world.node(2)];
  assertEquals(await colony.register({ open: false }), "ok");
  const { signer } = await identityOf(1);
  const { publicKey } = member;
  const membership = { meshId: MESH, publicKey, state: "admitted", sequence: 1, name: "" } as const;
  const members = [await signMembership(signer, membership)];
  const news = { meshId: MESH, publicKey: colony.publicKey, members, invites: [], revision: 1 };
  await colony.client().publishMembership(news);
  assertEquals(await member.register({ agentId: AGENT }), "ok");

  const stranger = await identityOf(3);
  const nobody = (await identityOf(9)).text;
  const answers: Seen[] = [];
  const client = new DiscoveryClient({
    urls: [world.url],
    identity: stranger,
    now: () => world.now,
    log: () => {},
    fetch: async (input, init) => {
      const response = await fetch(input, init);
      const body = await response.clone().text();
      // The one header that tells the wall clock's time.
      const headers = [...response.headers].filter(([name]) => name !== "date");
      answers.push({ status: response.status, headers, body });
      return response;
    },
  });
  for (const [name, question] of Object.entries(QUESTIONS)) {
    const ask = async (meshId: string, agentId: string, key: string): Promise<Seen> => {
      answers.length = 0;
      await question(client, { meshId, agentId, publicKey: key, own: stranger.text })
        .catch(() => {});
      // A client that proves something asks for the server's key first.
      const seen = answers.at(-1);
      assert(seen !== undefined, name);
      const { body, ...rest } = seen;
      return { ...rest, body: body.replaceAll(meshId, "MESH").replaceAll(agentId, "AGENT") };
    };
    const nowhere = await ask(NO_MESH, AGENT, nobody);
    assertEquals(await ask(MESH, AGENT, publicKey), nowhere, `${name}: a member's`);
    assertEquals(await ask(MESH, NO_AGENT, nobody), nowhere, `${name}: nobody's`);
    // To those who prove nothing there is one answer too.
    if (name !== "DeregisterAgent") assert(nowhere.status >= 400, `${name} ${nowhere.status}`);
  }
  // Nothing was lost: who belongs to the mesh sees it, and its agent.
  assertEquals(await world.colonyAt(member), "192.0.2.1");
  const found = await colony.client().lookupAgent({ meshId: MESH, agentId: AGENT });
  assertEquals(found?.publicKey, publicKey);
});

const RELAY: RelayServer = {
  id: "eu",
  region: "eu",
  transports: [{ kind: "udp", endpoint: "203.0.113.7:3478" }],
  realm: "moray",
  bandwidthBytesPerSecond: 0,
  secret: "of the relay",
};

/** A service with a closed mesh of a colony (key 1) and a member (key 2), an open one (colony 4, agent 5), and what it asks its store. */
async function watched(options: { readonly allowUnproven?: boolean } = {}): Promise<{
  ask(question: Question, as?: string): Promise<readonly [string, readonly string[]]>;
  readonly keys: readonly string[];
}> {
  const { store, statements } = recordedStore();
  const service = new Service({
    store,
    ttlMs: 300_000,
    heartbeatMs: 15_000,
    stun: [],
    version: "1",
    now: () => Date.UTC(2026, 0, 2),
    randomId: () => crypto.randomUUID(),
    log: () => {},
    relays: { servers: [RELAY] },
    ...options,
  });
  const as = provingClients(service);
  const identities = await Promise.all([0, 1, 2, 3, 4, 5].map((seed) => identityOf(seed + 1)));
  const keys = ["", ...identities.map(({ text }) => text)];
  const [, colony = "", member = "", , openColony = "", openAgent = ""] = keys;
  const endpoints = ["192.0.2.1:51820"];
  const reef = { meshId: MESH, pubkey: colony };
  await as(colony).registerColony({ ...reef, endpoints, open: false });
  const { signer } = await identityOf(1);
  const signed = await signMembership(
    signer,
    {
      ...{ meshId: MESH, publicKey: member, state: "admitted", sequence: 1, name: "" },
    } as const,
  );
  await as(colony).publishMembership({ ...reef, members: [signed], invites: [], revision: 1n });
  const agents = [[MESH, member, AGENT], ["open", openAgent, "a5"]] as const;
  await as(openColony).registerColony({ meshId: "open", pubkey: openColony, endpoints });
  // And a closed one (colony 6) that wants no relay.
  const lagoon = { meshId: "lagoon", pubkey: identities[5]?.text ?? "" };
  await as(lagoon.pubkey).registerColony({ ...lagoon, endpoints, open: false, noRelay: true });
  for (const [meshId, pubkey, agentId] of agents) {
    await as(pubkey).registerAgent({ meshId, pubkey, agentId, endpoints });
  }
  statements();
  return {
    keys,
    ask: async (question, key = "") => {
      const outcome = await question(as(key)).then(
        (answer) => typeof answer === "string" ? answer : "found",
        (error) => {
          const { code, rawMessage } = ConnectError.from(error);
          return `${code} ${rawMessage}`;
        },
      );
      return [outcome, statements()];
    },
  };
}

type Question = (client: ReturnType<ReturnType<typeof provingClients>>) => Promise<unknown>;

Deno.test("attack: find out which meshes and agents there are by what the answer costs", async () => {
  const { ask, keys: [, , member = "", stranger = "", , openAgent = ""] } = await watched();
  const nobody = (await identityOf(9)).text;
  const groups: Readonly<Record<string, readonly Question[]>> = {
    LookupColony: [NO_MESH, MESH].map((meshId) => (it) => it.lookupColony({ meshId })),
    "LookupAgent by id": [[NO_MESH, AGENT], [MESH, AGENT], [MESH, NO_AGENT], ["open", "a5"]]
      .map(([meshId = "", agentId = ""]) => (it) => it.lookupAgent({ meshId, agentId })),
    "LookupAgent by key": [
      [NO_MESH, member],
      [MESH, member],
      [MESH, nobody],
      ["open", openAgent],
      ["open", nobody],
    ].map(([meshId = "", pubkey = ""]) => (it) => it.lookupAgent({ meshId, pubkey })),
    InitiatePunch: [[NO_MESH, nobody], [MESH, member], [MESH, nobody], ["open", openAgent]]
      .map(([meshId = "", toPubkey = ""]) => (it) =>
        it.initiatePunch({ meshId, fromPubkey: stranger, toPubkey })
      ),
    CreateBootstrapToken: [[NO_MESH, AGENT], [MESH, AGENT], [MESH, NO_AGENT], ["open", "a5"]]
      .map(([colonyId = "", agentId = ""]) => (it) =>
        it.createBootstrapToken({ reefId: "r", colonyId, agentId, intent: "join" })
      ),
    ListMembers: [NO_MESH, MESH, "open"].map((meshId) => (it) => it.listMembers({ meshId })),
    PublishMembership: [NO_MESH, MESH, "open"].map((meshId) => (it) =>
      it.publishMembership({ meshId, pubkey: stranger })
    ),
    ReportPath: [NO_MESH, MESH, "open"].map((meshId) => (it) =>
      it.reportPath({ meshId, pubkey: stranger })
    ),
  };
  for (const [name, questions] of Object.entries(groups)) {
    const answers = [];
    for (const question of questions) answers.push(await ask(question, stranger));
    const [first] = answers;
    assert(first !== undefined && first[0] !== "found" && first[1].length > 0, name);
    for (const [outcome, statements] of answers) {
      const words = (text: string): string => text.replace(/\b(none|reef|open|a2|a5|a9)\b/g, "X");
      assertEquals(
        [name, words(outcome), statements.map(words)],
        [name, words(first[0]), first[1].map(words)],
      );
    }
  }
  // What is there is found by those who belong to it.
  assertEquals((await ask((it) => it.lookupColony({ meshId: MESH }), member))[0], "found");
});

Deno.test("attack: find out which meshes there are by asking for a relay, giving it back, and leaving", async () => {
  const { ask, keys: [, , member = "", stranger = "", , , owner = ""] } = await watched();
  const agentPubkey = parseKey(stranger) ?? new Uint8Array();
  const meshes = [NO_MESH, MESH, "lagoon"];
  const groups: Readonly<Record<string, (meshId: string) => Question>> = {
    // With a session for a mesh that is not there nothing is reached, and with this one neither.
    RequestRelay: (meshId) => async (it) => {
      const answer = await it.requestRelay({ meshId, nodePubkey: agentPubkey, agentPubkey });
      const { sessionId, username, password, ...rest } = answer;
      const lengths = [sessionId.length, username.length, password.length];
      return JSON.stringify(
        { ...rest, lengths },
        (_, value) => typeof value === "bigint" ? String(value) : value,
      );
    },
    ReleaseRelay: (meshId) => (it) => it.releaseRelay({ meshId, sessionId: "1" }),
    DeregisterColony: (meshId) => (it) => it.deregisterColony({ meshId, pubkey: stranger }),
    RotateKey: (meshId) => async (it) => {
      const keys = { oldKey: stranger, newKey: (await identityOf(9)).text };
      const { signer } = await identityOf(3);
      await it.rotateKey({
        rotation: await signRotation(signer, { meshId, sequence: 1, ...keys }),
      });
    },
    Watch: (meshId) => async (it) => {
      for await (const event of it.watch({ meshId, pubkey: stranger })) return event.event.case;
    },
  };
  for (const [name, questionOf] of Object.entries(groups)) {
    const answers: (readonly [string, string, readonly string[]])[] = [];
    for (const meshId of meshes) {
      const [outcome, statements] = await ask(questionOf(meshId), stranger);
      const words = (text: string): string => text.replaceAll(meshId, "MESH");
      answers.push([name, words(outcome), statements.map(words)]);
    }
    assertEquals(answers, meshes.map(() => answers[0]));
    if (name === "RequestRelay") assert(answers[0]?.[1].includes('"relayId":"eu"'));
  }
  // Those who belong to a mesh are told why there is none, and get theirs.
  const ofOwn = (meshId: string, key: string): Promise<readonly [string, readonly string[]]> =>
    ask((it) => it.requestRelay({ meshId, nodePubkey: parseKey(key) ?? agentPubkey }), key);
  assertEquals((await ofOwn("lagoon", owner))[0], "9 the node, or its peer, wants no relay");
  assertEquals((await ofOwn(MESH, member))[0], "found");
});

Deno.test("attack: find out which meshes and agents there are where nobody need prove a key", async () => {
  const { ask, keys: [, , member = ""] } = await watched({ allowUnproven: true });
  const nobody = (await identityOf(9)).text;
  const pairs: readonly (readonly [Question, Question])[] = [
    [(it) => it.lookupColony({ meshId: NO_MESH }), (it) => it.lookupColony({ meshId: MESH })],
    [(it) => it.lookupAgent({ agentId: NO_AGENT }), (it) => it.lookupAgent({ agentId: AGENT })],
    [
      (it) => it.lookupAgent({ meshId: NO_MESH, agentId: AGENT }),
      (it) => it.lookupAgent({ meshId: MESH, agentId: AGENT }),
    ],
    [
      (it) => it.lookupAgent({ meshId: NO_MESH, pubkey: nobody }),
      (it) => it.lookupAgent({ meshId: MESH, pubkey: member }),
    ],
  ];
  for (const [nowhere, hidden] of pairs) {
    const [words, statements] = await ask(nowhere);
    const named = words.replace(NO_MESH, MESH).replace(NO_AGENT, AGENT);
    assertEquals(await ask(hidden), [named, statements]);
    assert(/^5 .* not found$/.test(words) && statements.length > 0, words);
  }
  // An open mesh is shown to them.
  assertEquals((await ask((it) => it.lookupAgent({ agentId: "a5" })))[0], "found");
});
