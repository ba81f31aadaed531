/** Finds out what the status page shows: from the store, the book of paths and the relays. @module */
import type { PathBook, PathKind, ReportedPath } from "../service/path_book.ts";
import type { RelayStanding } from "../service/relay_registry.ts";
import type { NodeSummary, RelayTotal, Store } from "../store/store.ts";
import {
  MESHES_PER_PAGE,
  NODES_PER_PAGE,
  RELAYS_SHOWN_MAX,
  type ShownNode,
  type ShownPath,
  type ShownRelay,
  type StatusData,
  type StatusQuery,
} from "./status_data.ts";

/** Relays whose sessions are added up. */
const RELAY_TOTALS_MAX = 1000;

/** Where it is found. */
export interface StatusSource {
  /** The registrations. */
  readonly store: Pick<Store, "shared" | "meshPage" | "nodePage" | "relayTotals">;
  /** What nodes said of their paths. */
  readonly book: PathBook;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Life of a registration in milliseconds. */
  readonly ttlMs: number;
  /** The state of the server. Rejects as the store does. */
  readonly health: () => Promise<
    Pick<StatusData, "version" | "status" | "uptimeSeconds" | "allowUnproven">
  >;
  /** The relays that this server knows. */
  readonly relays: () => readonly RelayStanding[];
  /** Counters by name. */
  readonly counters: () => Readonly<Record<string, number>>;
}

/** Gathers it. Rejects as the store does. */
export async function gatherStatus(source: StatusSource, query: StatusQuery): Promise<StatusData> {
  const { store, book, now, ttlMs } = source;
  const at = now();
  const { mesh } = query;
  const [health, meshes, nodes, totals] = await Promise.all([
    source.health(),
    store.meshPage(at, {
      offset: (query.meshes - 1) * MESHES_PER_PAGE,
      limit: MESHES_PER_PAGE,
    }),
    store.nodePage(at, {
      ...(mesh !== undefined && { meshId: mesh }),
      order: query.order,
      offset: (query.page - 1) * NODES_PER_PAGE,
      limit: NODES_PER_PAGE,
    }),
    store.relayTotals(at, RELAY_TOTALS_MAX),
  ]);
  const relays = shownRelays(source.relays(), totals);
  return {
    at,
    ...health,
    shared: store.shared,
    ttlMs,
    meshTotal: meshes.total,
    meshes: meshes.meshes,
    counts: nodes.counts,
    nodes: nodes.nodes.map((node) => shownNode(book, node)),
    pairs: book.matrix(mesh),
    relays: relays.slice(0, RELAYS_SHOWN_MAX),
    relaysLeftOut: Math.max(0, relays.length - RELAYS_SHOWN_MAX),
    counters: source.counters(),
  };
}

const WORST: readonly PathKind[] = ["none", "relayed", "direct"];

/** A node with what it says of its paths; where it says nothing, with what another says of the path to it. */
function shownNode(book: PathBook, node: NodeSummary): ShownNode {
  const own = book.of(node);
  const about = own === undefined ? book.about(node) : undefined;
  const counted = { direct: 0, relayed: 0, none: 0 };
  let found: ReportedPath | undefined;
  for (const path of own?.paths.values() ?? (about ? [about.path] : [])) {
    counted[path.kind]++;
    if (found === undefined || WORST.indexOf(path.kind) < WORST.indexOf(found.kind)) found = path;
  }
  const { mapping, filtering } = own ?? { mapping: 0, filtering: 0 };
  return {
    ...node,
    ...(mapping + filtering > 0 && { behavior: { mapping, filtering } }),
    paths: counted,
    ...(found && { path: shownPath(found, about?.by) }),
  };
}

/** `by` says so; the node itself where that is absent. */
function shownPath(
  { kind, peer, reason, detail, relayId, rttUs }: ReportedPath,
  by: string | undefined,
): ShownPath {
  return { kind, peer: by ?? peer, own: by === undefined, reason, detail, relayId, rttUs };
}

function shownRelays(
  standings: readonly RelayStanding[],
  totals: readonly RelayTotal[],
): ShownRelay[] {
  const sums = new Map(totals.map((total) => [total.relayId, total]));
  const known = standings.map((standing): ShownRelay => {
    const { sessions = 0, rxBytes = 0, txBytes = 0 } = sums.get(standing.id) ?? {};
    return { ...standing, sessions, rxBytes, txBytes };
  });
  const ids = new Set(standings.map(({ id }) => id));
  const unknown = totals.filter(({ relayId }) => !ids.has(relayId)).map((
    { relayId: id, ...carried },
  ): ShownRelay => ({ id, region: "", source: "elsewhere", load: 0, state: "", ...carried }));
  return [...known, ...unknown];
}
