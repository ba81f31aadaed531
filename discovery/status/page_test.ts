import {
  deepStrictEqual as assertEquals,
  doesNotMatch,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { key } from "../testing/nodes.ts";
import { signInPage, statusPage } from "./page.ts";
import {
  MESHES_PER_PAGE,
  NODES_PER_PAGE,
  parseStatusQuery,
  RELAYS_SHOWN_MAX,
  type ShownNode,
  type StatusData,
} from "./status_data.ts";

const AT = Date.UTC(2026, 0, 2, 3, 4, 5);
const QUERY = { page: 1, meshes: 1, order: "name" } as const;
const SCRIPT = `<script>alert(1)</script>"onmouseover='alert(2)'&`;

function node(part: Partial<ShownNode> = {}): ShownNode {
  return {
    meshId: "reef",
    publicKey: key(2),
    role: "agent",
    agentId: "a2",
    name: "kelp",
    nat: 3,
    proven: true,
    lastSeenAt: AT,
    expiresAt: AT + 300_000,
    paths: { direct: 0, relayed: 1, none: 0 },
    path: {
      kind: "relayed",
      peer: key(1),
      own: true,
      reason: 5,
      detail: "12 probes, 0 replies",
      relayId: "eu",
      rttUs: 12_345,
    },
    ...part,
  };
}

function data(part: Partial<StatusData> = {}): StatusData {
  return {
    at: AT,
    version: "1.2.3",
    status: "ok",
    uptimeSeconds: 90_061,
    allowUnproven: false,
    shared: false,
    ttlMs: 300_000,
    meshTotal: 1,
    meshes: [{ meshId: "reef", colonies: 1, agents: 1, lastSeenAt: AT }],
    counts: [{ role: "colony", nat: 1, nodes: 1 }, { role: "agent", nat: 3, nodes: 1 }],
    nodes: [node()],
    pairs: [{
      own: 3,
      peer: 1,
      paths: { direct: 3, relayed: 1, none: 0 },
      punchAttempts: 8,
      punchSuccesses: 6,
    }],
    relays: [],
    relaysLeftOut: 0,
    counters: { watches: 2, relayRxBytes: 1_234_567 },
    ...part,
  };
}

/** The text of a page, tags left out. */
function textOf(page: string): string {
  return page.replaceAll(/<[^>]*>/g, " ").replaceAll(/\s+/g, " ");
}

Deno.test("the page says who is reached how, and why", () => {
  const text = textOf(statusPage(data(), QUERY));
  assertMatch(text, /1 mesh: 1 colony, 1 agent/);
  assertMatch(
    text,
    /kelp agent reef AgICAgIC… symmetric relayed by eu mapping varies on both sides 12 probes, 0 replies to AQEBAQEB… 12 ms 03:04:05 03:09:05/,
  );
  assertMatch(text, /symmetric none 75 % \(6 of 8\) 3 direct, 1 relayed, 0 none none none/);
  assertMatch(text, /relay rx bytes 1 234 567/);
  assertMatch(text, /Up 1 d 1 h/);
});

Deno.test("the page says what is not known, and what is wrong", () => {
  const { path: _, ...silent } = node({ paths: { direct: 0, relayed: 0, none: 0 }, proven: false });
  const text = textOf(statusPage(
    data({
      status: "degraded",
      allowUnproven: true,
      meshes: [{ meshId: "reef", colonies: 0, agents: 1, lastSeenAt: AT }],
      nodes: [silent],
      pairs: [],
    }),
    QUERY,
  ));
  for (
    const said of [
      /State degraded/,
      /proof taken/,
      /reef missing/,
      /unproven symmetric not reported/,
      /No node has reported/,
    ]
  ) {
    assertMatch(text, said);
  }
  assertMatch(
    textOf(statusPage(data({ meshTotal: 0, meshes: [], counts: [], nodes: [] }), QUERY)),
    /No mesh has.*No node is registered/,
  );
});

Deno.test("nothing that a node says becomes markup", () => {
  const hostile = node({
    meshId: SCRIPT,
    agentId: SCRIPT,
    name: SCRIPT,
    publicKey: SCRIPT,
    path: {
      kind: "none",
      peer: SCRIPT,
      own: false,
      reason: 99,
      detail: SCRIPT,
      relayId: SCRIPT,
      rttUs: 1,
    },
    paths: { direct: 0, relayed: 0, none: 1 },
  });
  const page = statusPage(
    data({
      version: SCRIPT,
      status: SCRIPT,
      meshes: [{ meshId: SCRIPT, colonies: 1, agents: 1, lastSeenAt: AT }],
      nodes: [hostile],
      relays: [{
        id: SCRIPT,
        region: SCRIPT,
        source: "reported",
        state: "offered",
        load: 1,
        sessions: 1,
        rxBytes: 1,
        txBytes: 1,
      }],
      counters: { [SCRIPT]: 1 },
    }),
    { ...QUERY, mesh: SCRIPT },
  );
  // The one script is the page's own file.
  assertEquals(page.match(/<script[^>]*>/g), ['<script src="/status.js" defer>']);
  doesNotMatch(page, /<[^>]*\son\w+=/i);
  doesNotMatch(page, /'alert/);
  for (
    const [, value] of page.matchAll(
      /\b(?:href|src|action|value|title|aria-label|data-events)="([^"]*)"/g,
    )
  ) {
    doesNotMatch(value ?? "", /[<>]/);
  }
  for (const [, target] of page.matchAll(/\b(?:href|src|action)="([^"]*)"/g)) {
    assertMatch(target ?? "", /^(?:\/|#main$|data:,$)/);
  }
});

Deno.test("the page has neither style nor script of its own, and takes nothing from elsewhere", () => {
  for (const page of [statusPage(data(), QUERY), signInPage("no")]) {
    doesNotMatch(page, /<style|\sstyle=|javascript:|https?:\/\//);
  }
});

Deno.test("the page stays below 200 KB, whatever nodes say", () => {
  const long = "&".repeat(253);
  const full = data({
    meshTotal: 9999,
    meshes: Array.from({ length: MESHES_PER_PAGE }, (_, i) => ({
      meshId: `${"m".repeat(249)}${i}`,
      colonies: 1,
      agents: 9999,
      lastSeenAt: AT,
    })),
    counts: [{ role: "agent", nat: 3, nodes: 10_000 }],
    nodes: Array.from({ length: NODES_PER_PAGE }, () =>
      node({
        meshId: "m".repeat(253),
        name: long,
        behavior: { mapping: 3, filtering: 3 },
        proven: false,
        path: {
          kind: "relayed",
          peer: key(1),
          own: false,
          reason: 6,
          detail: long.slice(0, 160),
          relayId: "r".repeat(63),
          rttUs: 1,
        },
      })),
    relays: Array.from({ length: RELAYS_SHOWN_MAX }, () => ({
      id: "r".repeat(63),
      region: "r".repeat(63),
      source: "volunteer",
      state: "unreachable",
      load: 100,
      sessions: 99_999,
      rxBytes: 1e12,
      txBytes: 1e12,
    })),
    counters: Object.fromEntries(
      Array.from({ length: 80 }, (_, i) => [`counterWithALongName${i}`, 1e9]),
    ),
  });
  const bytes =
    new TextEncoder().encode(statusPage(full, { ...QUERY, mesh: "m".repeat(253) })).length;
  assert(bytes < 200_000, `${bytes} bytes`);
});

Deno.test("long lists come page by page, and links keep the rest of the query", () => {
  const many = data({ counts: [{ role: "agent", nat: 0, nodes: 1234 }], meshTotal: 120 });
  const page = statusPage(many, { mesh: "reef", page: 2, meshes: 3, order: "seen" });
  assertMatch(textOf(page), /Page 2 of 13 previous next/);
  assertMatch(textOf(page), /Page 3 of 3 previous/);
  assertMatch(page, /rel="next" href="\/\?mesh=reef&amp;sort=seen&amp;page=3&amp;meshes=3"/);
  assertMatch(page, /rel="prev" href="\/\?mesh=reef&amp;sort=seen&amp;meshes=3"/);
  assertMatch(page, /data-events="\/events\?mesh=reef&amp;sort=seen&amp;page=2&amp;meshes=3"/);
  assertMatch(page, /<strong aria-current="true">last seen<\/strong>/);
  doesNotMatch(textOf(statusPage(data(), QUERY)), /Page 1/);
});

Deno.test("a query is what makes sense of it", () => {
  const of = (text: string): unknown => parseStatusQuery(new URLSearchParams(text));
  assertEquals(of(""), QUERY);
  assertEquals(of("page=0&meshes=-1&sort=__proto__&mesh=%20"), QUERY);
  assertEquals(of("page=1e3&meshes=9999999"), QUERY);
  assertEquals(of("page=999999&sort=seen&mesh=reef&other=1"), {
    mesh: "reef",
    page: 10_000,
    meshes: 1,
    order: "seen",
  });
});

Deno.test("tables have captions, and heads with a scope", () => {
  const page = statusPage(data(), QUERY);
  const tables = page.match(/<table>[\s\S]*?<\/table>/g) ?? [];
  assertEquals(tables.length, 4);
  for (const table of tables) {
    assertMatch(table, /<caption>[^<]+<\/caption>/);
    for (const head of table.match(/<th(?:\s[^>]*)?>/g) ?? []) {
      assertMatch(head, /scope="(?:col|row)"/);
    }
  }
});
