/** What a colony tells Discovery about its mesh's members. @module */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  ListMembersRequestSchema,
  ListMembersResponse,
  PublishMembershipRequestSchema,
  SignedStatement,
} from "../../proto/mod.ts";
import type { Membership } from "../membership/statement.ts";
import type { Signed } from "../signature/statement.ts";
import type { NodeKey } from "../store/store.ts";

/** Pages of news that are read at once, each of at most 500 members: as many as a mesh may have. */
const NEWS_PAGES_MAX = 40;

/** Which news of a mesh's members are wanted. */
export interface NewsQuery {
  /** Mesh id. */
  readonly meshId: string;
  /** Sequence of the last word of the colony's that is known; 0 for none. */
  readonly since: number;
}

/** A part of a mesh's members, or all of them. */
export interface MembershipList extends NodeKey {
  /** What the colony has signed, at most 500. */
  readonly members: readonly Signed[];
  /** Every open invite. */
  readonly invites: readonly {
    /** Its public key, base64url without padding. */
    readonly key: string;
    /** When it ends, unix milliseconds. */
    readonly expiresAt: number;
  }[];
  /** What the list is called once this part is stored; 0 while more follow. */
  readonly revision: number;
}

/** Returns the request that publishes a list. */
export function membershipRequest(
  { meshId, publicKey: pubkey, members, invites, revision }: MembershipList,
): MessageInitShape<typeof PublishMembershipRequestSchema> {
  return {
    meshId,
    pubkey,
    members: members.map(({ statement, signature }) => ({ statement, signature })),
    invites: invites.map(({ key, expiresAt }) => ({ key, expiresAtMs: BigInt(expiresAt) })),
    revision: BigInt(revision),
  };
}

/** Reads every page of what is new. Rejects as `list` does. */
export async function readNews(
  { meshId, since }: NewsQuery,
  { list, open }: {
    /** Asks for a page. */
    readonly list: (
      request: MessageInitShape<typeof ListMembersRequestSchema>,
    ) => Promise<Pick<ListMembersResponse, "members" | "more">>;
    /** Verifies a statement. Never rejects. */
    readonly open: (signed: SignedStatement) => Promise<Membership | undefined>;
  },
): Promise<readonly Membership[]> {
  const news: Membership[] = [];
  for (let page = 1; page <= NEWS_PAGES_MAX; page++) {
    const after = news.at(-1)?.publicKey ?? "";
    const request = { meshId, after, revoked: true, since: BigInt(since) };
    const { members, more } = await list(request);
    const known = news.length;
    for (const signed of members) {
      const membership = await open(signed);
      if (membership !== undefined) news.push(membership);
    }
    if (!more || news.length === known) break;
  }
  return news;
}
