/** What can be asked of a colony about its members: the same here and through the local API. @module */

/** What kind of invite is wanted. */
export interface InviteRequest {
  /** Name for the node. @default its own choice */
  readonly name?: string;
  /** Life in milliseconds. */
  readonly lifeMs: number;
}

/** An invite. */
export interface IssuedInvite {
  /** The string for `moray agent --join`. */
  readonly invite: string;
  /** By which it can be taken back. */
  readonly id: string;
  /** When it ends, unix milliseconds. */
  readonly expiresAt: number;
  /** Whether Discovery knows it already; it is told as soon as it answers. */
  readonly published: boolean;
}

/** Who belongs to a mesh. */
export interface MemberList {
  /** Whether nodes need no invite. */
  readonly open: boolean;
  /** Nodes that were let in or thrown out. */
  readonly members: readonly {
    /** Its key, base64. */
    readonly publicKey: string;
    /** Its name; empty for none. */
    readonly name: string;
    /** Whether it belongs to the mesh. */
    readonly state: "admitted" | "revoked";
  }[];
  /** Invites that are open. */
  readonly invites: readonly {
    /** By which it can be taken back. */
    readonly id: string;
    /** Name for the node; empty for none. */
    readonly name: string;
    /** When it ends, unix milliseconds. */
    readonly expiresAt: number;
  }[];
}

/** A colony's members, for whoever may command it. */
export interface MembershipHandle {
  /** Makes an invite. Rejects with `limit` where there are as many as there may be. */
  invite(request: InviteRequest): Promise<IssuedInvite>;
  /** Takes an open invite back. Rejects with `usage` for an id that no invite has, or several. */
  cancelInvite(id: string): Promise<{ readonly published: boolean }>;
  /** Throws a node out, by name or public key. Rejects with `usage` where no member is called so. */
  revoke(peer: string): Promise<{ readonly publicKey: string; readonly published: boolean }>;
  /** The members, and the invites that are open. */
  members(): Promise<MemberList>;
}
