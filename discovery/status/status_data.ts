/** What the status page shows, and which part of it is asked for. Pure. @module */
import type { PathKind } from "../service/path_book.ts";
import type { RelayStanding } from "../service/relay_registry.ts";
import type { NodeCount, NodeOrder, NodeSummary } from "../store/store.ts";

/** Nodes on one page. */
export const NODES_PER_PAGE = 100;
/** Meshes on one page. */
export const MESHES_PER_PAGE = 50;
/** Relays that are shown. */
export const RELAYS_SHOWN_MAX = 50;
/** Pages that can be asked for: what lies beyond is found with the filter. */
export const PAGE_MAX = 10_000;

/** The orders of nodes, and what they are called. */
export const ORDERS: Readonly<Record<NodeOrder, string>> = {
  name: "name",
  mesh: "mesh",
  nat: "NAT",
  seen: "last seen",
};

/** Which part is asked for. */
export interface StatusQuery {
  /** Nodes of this mesh only. Absent: of all. */
  readonly mesh?: string;
  /** Page of nodes, from 1. */
  readonly page: number;
  /** Page of meshes, from 1. */
  readonly meshes: number;
  /** Order of nodes. */
  readonly order: NodeOrder;
}

/** The path that is shown of a node. */
export interface ShownPath {
  /** How the peer is reached. */
  readonly kind: PathKind;
  /** The peer's key, base64. */
  readonly peer: string;
  /** Whether the node itself said so; otherwise its peer did. */
  readonly own: boolean;
  /** Why it is not direct: index into REASON_WORDS. */
  readonly reason: number;
  /** The same for a person; empty for none. */
  readonly detail: string;
  /** The relay; empty for none. */
  readonly relayId: string;
  /** Round trip in microseconds; 0 if it was not measured. */
  readonly rttUs: number;
}

/** A node as it is shown. */
export interface ShownNode extends NodeSummary {
  /** How its NAT maps and filters: NatBehavior, 0 to 3. Absent: it did not say. */
  readonly behavior?: { readonly mapping: number; readonly filtering: number };
  /** Its paths by kind. */
  readonly paths: Readonly<Record<PathKind, number>>;
  /** The path that needs most explanation: none before relayed before direct. Absent: none is known. */
  readonly path?: ShownPath;
}

/** A relay as it is shown. */
export interface ShownRelay extends Omit<RelayStanding, "source" | "state"> {
  /** Who knows it; `elsewhere` for one that only has sessions here. */
  readonly source: RelayStanding["source"] | "elsewhere";
  /** How it stands; empty where this server does not know. */
  readonly state: RelayStanding["state"] | "";
  /** Live sessions. */
  readonly sessions: number;
  /** Bytes from the sessions' nodes. */
  readonly rxBytes: number;
  /** Bytes to the sessions' nodes. */
  readonly txBytes: number;
}

/** A field of the matrix: NatHint of the side that reports, and of the other. */
export interface ShownPair {
  /** NatHint, 0 to 3. */
  readonly own: number;
  /** NatHint, 0 to 3. */
  readonly peer: number;
  /** Paths by kind. */
  readonly paths: Readonly<Record<PathKind, number>>;
  /** Punches. */
  readonly punchAttempts: number;
  /** Those that led to a direct path. */
  readonly punchSuccesses: number;
}

/** What the page shows. */
export interface StatusData {
  /** When it was found, unix milliseconds. */
  readonly at: number;
  /** Version of the program. */
  readonly version: string;
  /** `ok`, or `degraded` while registrations cannot be written. */
  readonly status: string;
  /** Seconds since the server's start. */
  readonly uptimeSeconds: number;
  /** Whether nodes may register without a proof of their keys. */
  readonly allowUnproven: boolean;
  /** Whether other servers share the store. */
  readonly shared: boolean;
  /** Life of a registration in milliseconds. */
  readonly ttlMs: number;
  /** Meshes with live nodes. */
  readonly meshTotal: number;
  /** Those of the page. */
  readonly meshes: readonly {
    readonly meshId: string;
    readonly colonies: number;
    readonly agents: number;
    readonly lastSeenAt: number;
  }[];
  /** Live nodes of the filter, by role and NAT. */
  readonly counts: readonly NodeCount[];
  /** Those of the page. */
  readonly nodes: readonly ShownNode[];
  /** Pairs of NATs that paths are known of. */
  readonly pairs: readonly ShownPair[];
  /** The relays. */
  readonly relays: readonly ShownRelay[];
  /** Relays that are not shown. */
  readonly relaysLeftOut: number;
  /** Counters of the server by name. */
  readonly counters: Readonly<Record<string, number>>;
}

/** Reads the query of a URL. What makes no sense is left out. */
export function parseStatusQuery(search: URLSearchParams): StatusQuery {
  const mesh = search.get("mesh")?.trim() ?? "";
  const order = Object.keys(ORDERS).find((one) => one === search.get("sort"));
  return {
    ...(mesh !== "" && { mesh: mesh.slice(0, 253) }),
    page: pageOf(search.get("page")),
    meshes: pageOf(search.get("meshes")),
    order: (order ?? "name") as NodeOrder,
  };
}

/** The parameters of a query, for links; what is as without them is left out. */
export function statusParameters(
  { mesh, page, meshes, order }: StatusQuery,
): Record<string, string | undefined> {
  return {
    mesh,
    sort: order === "name" ? undefined : order,
    page: page === 1 ? undefined : String(page),
    meshes: meshes === 1 ? undefined : String(meshes),
  };
}

function pageOf(text: string | null): number {
  const page = /^\d{1,6}$/.test(text ?? "") ? Number(text) : 1;
  return Math.min(PAGE_MAX, Math.max(1, page));
}
