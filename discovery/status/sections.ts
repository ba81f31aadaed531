/** The parts of the status page, each of which can take the place of an older one. Pure. @module */
import { type PathKind, REASON_WORDS } from "../service/path_book.ts";
import {
  BEHAVIOR_WORDS,
  bytes,
  count,
  NAT_WORDS,
  roundTrip,
  shortKey,
  span,
  time,
  words,
} from "./format.ts";
import { type Content, type Html, link, markup } from "./html.ts";
import {
  MESHES_PER_PAGE,
  NODES_PER_PAGE,
  ORDERS,
  type ShownNode,
  type ShownPair,
  type StatusData,
  statusParameters,
  type StatusQuery,
} from "./status_data.ts";

/** The ids of the parts, in their order on the page. */
export const SECTIONS = ["health", "meshes", "nodes", "punches", "relays", "counters"] as const;

/** Id of a part. */
export type SectionId = (typeof SECTIONS)[number];

/** Makes every part. */
export function sections(data: StatusData, query: StatusQuery): Record<SectionId, Html> {
  return {
    health: section("health", "Service", health(data)),
    meshes: section("meshes", "Meshes", meshes(data, query)),
    nodes: section("nodes", "Nodes", nodes(data, query)),
    punches: section("punches", "Punches by NAT", punches(data)),
    relays: section("relays", "Relays", relays(data)),
    counters: section("counters", "Counters", counters(data)),
  };
}

/** What has changed, in one sentence for a screen reader. */
export function summary({ counts, meshTotal }: StatusData, { mesh }: StatusQuery): string {
  const all = { colony: 0, agent: 0 };
  for (const { role, nodes } of counts) all[role] += nodes;
  const of = mesh === undefined ? `${plural(meshTotal, "mesh", "meshes")}` : `mesh ${mesh}`;
  return `${of}: ${plural(all.colony, "colony", "colonies")}, ${plural(all.agent, "agent")}`;
}

function section(id: SectionId, title: string, body: Content): Html {
  return markup`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>
${body}</section>`;
}

/** A table that scrolls by itself where it is too wide; by keyboard too. */
function table(caption: string, head: readonly Content[], rows: readonly Html[]): Html {
  return markup`<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table>
<caption>${caption}</caption>
<thead><tr>${head.map((title) => markup`<th scope="col">${title}</th>`)}</tr></thead>
<tbody>${rows}</tbody></table></div>`;
}

function health(data: StatusData): Html {
  const nats = NAT_WORDS.map((word, nat) => {
    const nodes = data.counts.reduce((sum, it) => it.nat === nat ? sum + it.nodes : sum, 0);
    return nodes === 0 ? [] : [`${word} ${count(nodes)}`];
  }).flat();
  const facts: [string, Content][] = [
    ["State", state(data.status, data.status === "ok")],
    ["Version", data.version],
    // Not by the second, as every change is sent to whoever looks on.
    [
      "Up",
      data.uptimeSeconds < 60 ? "under 1 min" : span(60 * Math.floor(data.uptimeSeconds / 60)),
    ],
    ["Life of a registration", span(data.ttlMs / 1000)],
    ["Store", data.shared ? "shared by replicas" : "this server's own"],
    ["Nodes without proof", data.allowUnproven ? state("taken", false) : "refused"],
    ["NAT kinds", nats.length === 0 ? "no nodes" : nats.join(", ")],
  ];
  return markup`<dl>${
    facts.map(([name, value]) => markup`<div><dt>${name}</dt><dd>${value}</dd></div>`)
  }</dl>`;
}

function meshes({ meshes, meshTotal }: StatusData, query: StatusQuery): Html {
  if (meshTotal === 0) return markup`<p>No mesh has a live registration.</p>`;
  const rows = meshes.map(({ meshId, colonies, agents, lastSeenAt }) =>
    markup`<tr${
      query.mesh === meshId ? markup` class="chosen"` : undefined
    }><th scope="row"><a href="${link("/", { ...kept(query), mesh: meshId, page: undefined })}">${
      short(meshId, 64)
    }</a></th><td>${colonies > 0 ? "present" : state("missing", false)}</td><td class="number">${
      count(agents)
    }</td><td>${time(lastSeenAt)}</td></tr>
`
  );
  const head = ["Mesh", "Colony", "Agents", "Last seen (UTC)"];
  return markup`<form method="get" action="/"><label for="mesh">Nodes of mesh</label> <input id="mesh" name="mesh" value="${
    query.mesh ?? ""
  }" maxlength="253" autocomplete="off" autocapitalize="off" spellcheck="false"> <button>Show</button>${
    query.mesh === undefined
      ? undefined
      : markup` <a href="${
        link("/", { ...kept(query), mesh: undefined, page: undefined })
      }">all meshes</a>`
  }</form>
${table(`Meshes with live registrations: ${count(meshTotal)}`, head, rows)}
${
    pages("Pages of meshes", {
      page: query.meshes,
      total: meshTotal,
      size: MESHES_PER_PAGE,
      to: (meshes) => link("/", { ...kept(query), meshes: meshes === 1 ? undefined : meshes }),
    })
  }`;
}

function nodes(data: StatusData, query: StatusQuery): Html {
  const total = data.counts.reduce((sum, { nodes }) => sum + nodes, 0);
  const of = query.mesh === undefined ? "all meshes" : `mesh ${query.mesh}`;
  if (total === 0) return markup`<p>No node is registered in ${of}.</p>`;
  const head = [
    "Name",
    "Role",
    "Mesh",
    "Key",
    "NAT",
    "Path",
    "Why",
    "Round trip",
    "Last seen (UTC)",
    "Ends (UTC)",
  ];
  return markup`<nav aria-label="Order of nodes"><p>Sorted by ${
    Object.entries(ORDERS).map(([order, word], i) =>
      markup`${i === 0 ? "" : ", "}${
        order === query.order
          ? markup`<strong aria-current="true">${word}</strong>`
          : markup`<a href="${
            link("/", {
              ...kept(query),
              page: undefined,
              sort: order === "name" ? undefined : order,
            })
          }">${word}</a>`
      }`
    )
  }.</p></nav>
${table(`Registered nodes of ${of}: ${count(total)}`, head, data.nodes.map(row))}
${
    pages("Pages of nodes", {
      page: query.page,
      total,
      size: NODES_PER_PAGE,
      to: (page) => link("/", { ...kept(query), page: page === 1 ? undefined : page }),
    })
  }`;
}

function row(node: ShownNode): Html {
  const { path, paths, behavior } = node;
  const name = node.name !== "" ? node.name : node.agentId !== "" ? node.agentId : "(no name)";
  const nat = NAT_WORDS[node.nat] ?? "unknown";
  const known = paths.direct + paths.relayed + paths.none;
  return markup`<tr><th scope="row"><bdi>${short(name)}</bdi></th><td>${node.role}</td><td>${
    short(node.meshId)
  }</td><td><code>${shortKey(node.publicKey)}</code>${
    node.proven ? undefined : markup` <span class="note">unproven</span>`
  }</td><td>${nat}${
    behavior &&
    markup`<br><span class="note">maps ${BEHAVIOR_WORDS[behavior.mapping]}, filters ${
      BEHAVIOR_WORDS[behavior.filtering]
    }</span>`
  }</td><td>${
    known === 0
      ? markup`<span class="note">not reported</span>`
      : known === 1 && path !== undefined
      ? markup`${pathKind(path.kind)}${
        path.relayId === "" ? undefined : markup` <span class="note">by ${path.relayId}</span>`
      }`
      : (["direct", "relayed", "none"] as const).filter((kind) => paths[kind] > 0)
        .map((kind, i) => markup`${i === 0 ? "" : ", "}${count(paths[kind])} ${kind}`)
  }</td><td>${path && why(path)}</td><td class="number">${path && roundTrip(path.rttUs)}</td><td>${
    time(node.lastSeenAt)
  }</td><td>${time(node.expiresAt)}</td></tr>
`;
}

function why({ kind, reason, detail, own, peer }: NonNullable<ShownNode["path"]>): Content {
  if (kind === "direct") {
    return own ? undefined : markup`<span class="note">as its peer says</span>`;
  }
  const word = REASON_WORDS[reason] ?? "";
  return markup`${word === "" ? "not said" : word}${
    detail === "" || detail === word
      ? undefined
      : markup`<br><span class="note">${short(detail, 100)}</span>`
  }<br><span class="note">${own ? "to" : "as said by"} <code>${shortKey(peer)}</code></span>`;
}

function punches({ pairs }: StatusData): Html {
  if (pairs.length === 0) return markup`<p>No node has reported a path.</p>`;
  const cells = new Map(pairs.map((pair) => [`${pair.own} ${pair.peer}`, pair]));
  const rows = NAT_WORDS.map((word, own) =>
    markup`<tr><th scope="row">${word}</th>${
      NAT_WORDS.map((_, peer) => markup`<td>${cell(cells.get(`${own} ${peer}`))}</td>`)
    }</tr>
`
  );
  return markup`<p>Rows are the side that reports, columns its peer. A punch counts for each side that reports it.</p>
${
    table("Punches that led to a direct path, and paths now, by NAT", [
      "Reporting side",
      ...NAT_WORDS,
    ], rows)
  }`;
}

function cell(pair: ShownPair | undefined): Content {
  if (pair === undefined) return markup`<span class="note">none</span>`;
  const { punchAttempts, punchSuccesses, paths } = pair;
  const share = punchAttempts === 0
    ? "no punch"
    : `${Math.round(100 * punchSuccesses / punchAttempts)} %`;
  return markup`<strong>${share}</strong>${
    punchAttempts === 0 ? undefined : ` (${count(punchSuccesses)} of ${count(punchAttempts)})`
  }<br><span class="note">${count(paths.direct)} direct, ${count(paths.relayed)} relayed, ${
    count(paths.none)
  } none</span>`;
}

function relays({ relays, relaysLeftOut }: StatusData): Html {
  if (relays.length === 0) return markup`<p>No relay is known.</p>`;
  const rows = relays.map((relay) =>
    markup`<tr><th scope="row">${relay.id}</th><td>${relay.region}</td><td>${relay.source}</td><td>${
      relay.state === "" ? "not known here" : state(relay.state, relay.state === "offered")
    }</td><td class="number">${
      relay.state === "" ? undefined : `${Math.round(relay.load)} %`
    }</td><td class="number">${count(relay.sessions)}</td><td class="number">${
      bytes(relay.rxBytes)
    }</td><td class="number">${bytes(relay.txBytes)}</td></tr>
`
  );
  const head = ["Relay", "Region", "Source", "State", "Load", "Sessions", "From nodes", "To nodes"];
  return markup`${table("Relays and their live sessions", head, rows)}${
    relaysLeftOut === 0 ? undefined : markup`<p>${count(relaysLeftOut)} more are not shown.</p>`
  }`;
}

function counters({ counters }: StatusData): Html {
  const rows = Object.entries(counters).sort(([a], [b]) => a < b ? -1 : 1).map(([name, value]) =>
    markup`<tr><th scope="row">${words(name)}</th><td class="number">${count(value)}</td></tr>
`
  );
  if (rows.length === 0) return markup`<p>Nothing has been counted yet.</p>`;
  return markup`${table("Counters of this server since its start", ["What", "Count"], rows)}`;
}

function pages(
  label: string,
  { page, total, size, to }: {
    readonly page: number;
    readonly total: number;
    readonly size: number;
    readonly to: (page: number) => string;
  },
): Content {
  const last = Math.max(1, Math.ceil(total / size));
  if (last === 1 && page === 1) return undefined;
  return markup`<nav aria-label="${label}"><p>Page ${count(page)} of ${count(last)}${
    page > 1
      ? markup` <a rel="prev" href="${to(Math.min(page - 1, last))}">previous</a>`
      : undefined
  }${page < last ? markup` <a rel="next" href="${to(page + 1)}">next</a>` : undefined}</p></nav>`;
}

/** A relay is no fault, but no path is. */
function pathKind(kind: PathKind): Html {
  return kind === "relayed" ? markup`<strong>${kind}</strong>` : state(kind, kind === "direct");
}

/** A word with a mark that does not depend on colour. */
function state(word: string, good: boolean): Html {
  return markup`<span class="${good ? "good" : "bad"}">${word}</span>`;
}

function kept(query: StatusQuery): Record<string, string | number | undefined> {
  return statusParameters(query);
}

/** The start of a text: what nodes say must not make the page long. */
function short(text: string, max = 32): string {
  return text.length > max ? `${text.slice(0, max)}…` : text;
}

function plural(value: number, noun: string, many = `${noun}s`): string {
  return `${count(value)} ${value === 1 ? noun : many}`;
}
