/** What a store keeps about who belongs to a mesh. @module */

/** Why an agent may not register: the mesh is closed, it was thrown out, its invite is not open, or another key took that. */
export type Barred = "closed" | "revoked" | "invite" | "used";

/** How many members there may be. */
export interface MemberLimits {
  /** In one mesh, revoked ones too. @default {@linkcode MEMBERS_PER_MESH_MAX} */
  readonly membersPerMeshMax?: number;
  /** In all. @default {@linkcode MEMBERS_MAX} */
  readonly membersMax?: number;
}

/** What a colony says of one node. */
export interface MemberRow {
  /** The node's key, base64. */
  readonly publicKey: string;
  /** Whether it belongs to the mesh. */
  readonly state: "admitted" | "revoked";
  /** A later one counts. */
  readonly sequence: number;
  /** The SignedStatement in base64. */
  readonly statement: string;
}

/** An invite that may be used. */
export interface InviteRow {
  /** Its public key. */
  readonly key: string;
  /** When it ends, unix milliseconds. */
  readonly expiresAt: number;
}

/** What a colony publishes. */
export interface MembershipNews {
  /** Mesh id. */
  readonly meshId: string;
  /** Who publishes, base64. */
  readonly colonyKey: string;
  /** A part of the members. */
  readonly members: readonly MemberRow[];
  /** Every open invite. */
  readonly invites: readonly InviteRow[];
  /** What the list is called now; 0 while more follow. */
  readonly revision: number;
}

/** How publishing went. */
export type MembershipOutcome =
  | {
    readonly kind: "published";
    /** Keys that were admitted by it, and were never revoked. */
    readonly admitted: readonly string[];
    /** Keys that were admitted by it, and were revoked before. */
    readonly readmitted: readonly string[];
    /** Keys that were revoked by it. */
    readonly revoked: readonly string[];
  }
  /** The mesh id is not bound to this key. */
  | { readonly kind: "notColony" }
  /** The mesh, or the store, has as many members or invites as it may have. */
  | { readonly kind: "full" };

/** Which members are listed. */
export interface MemberRange {
  /** Only keys behind this one; empty for all. */
  readonly after: string;
  /** At most so many. */
  readonly max: number;
  /** Only those that were ever revoked, and said something of later than this, and one key, whatever is said of it. @default all */
  readonly news?: { readonly since: number; readonly of: string };
}

/** A member as it is listed. */
export interface ListedMember {
  /** The node's key, base64. */
  readonly publicKey: string;
  /** The SignedStatement in base64. */
  readonly statement: string;
}

/** Members that one mesh may have: twice as many as nodes, since the revoked ones are remembered. */
export const MEMBERS_PER_MESH_MAX = 20_000;
/** Members in a store. */
export const MEMBERS_MAX = 2_000_000;
/** Open invites of one mesh. */
export const INVITES_PER_MESH_MAX = 256;
