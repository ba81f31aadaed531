/**
 * A colony's gate: it lets nodes in by invites, throws them out, remembers both, and tells Discovery.
 *
 * ```text
 *   moray invite, revoke --local API--> Gatekeeper --members.json--> disk
 *   record with an admission ---------->     |     --PublishMembership--> Discovery
 *                                            v
 *                             onChange(key, in or out) --> the datapath
 * ```
 *
 * A decision is on the disk before anything follows from it. Where Discovery is away it counts here all the same, and is published later.
 *
 * @module
 */
import { messageOf, MorayError, parseKey } from "../../core/mod.ts";
import {
  type DiscoveredPeer,
  type DiscoveryClient,
  inviteKeyOf,
  openAdmission,
  type Signer,
  signMembership,
} from "../../discovery/mod.ts";
import { readTextFile, systemRng, writePrivateFile } from "../../io/mod.ts";
import { isLabel } from "../names.ts";
import type { Log } from "../options.ts";
import { formatInvite } from "./invite.ts";
import { type Member, MemberBook } from "./member_book.ts";
import type { InviteRequest, IssuedInvite, MemberList, MembershipHandle } from "./handle.ts";

/** The allow-list in a state directory. */
export const MEMBERS_FILE = "members.json";
const FILE_BYTES_MAX = 16 << 20;
/** Members in one call of Discovery. */
const BATCH_MAX = 500;
/** Waits before publishing is tried again. */
const RETRY_MS = 1000;
const RETRY_MS_MAX = 30_000;
/** How long `moray invite` and `moray revoke` wait for Discovery. */
const PUBLISH_MS = 3000;
/** Longest life of an invite. */
export const INVITE_LIFE_MS_MAX = 365 * 86_400_000;

/** Options of {@linkcode Gatekeeper.open}. */
export interface GatekeeperOptions {
  /** State directory. */
  readonly state: string;
  /** Mesh id. */
  readonly mesh: string;
  /** The colony's key, base64. */
  readonly colonyKey: string;
  /** Discovery's base URLs, as the colony was given them. */
  readonly discovery: readonly string[];
  /** Whether nodes need no invite. */
  readonly open: boolean;
  /** Signs in the colony's name. */
  readonly signer: Signer;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Where the log goes. */
  readonly log: Log;
}

/** What a gate has to do with. */
export interface GateSurroundings {
  /** Where memberships are published, and read. */
  readonly client: Pick<DiscoveryClient, "features" | "membershipNews" | "publishMembership">;
  /** Called when a key was thrown out; `next`: its node goes on with that one. */
  readonly onExpelled: (publicKey: string, next?: string) => void;
  /** Called when Discovery has ended what such a node had there, relay sessions too. */
  readonly onEnded: () => void;
}

/** Knows who may be in a colony's mesh. */
export class Gatekeeper implements MembershipHandle {
  readonly #options: GatekeeperOptions;
  readonly #path: string;
  #book: MemberBook;
  /** One change after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  /** What Discovery has, as far as one knows; `undefined` before it was asked. */
  #published: number | undefined;
  #publishing: Promise<void> | undefined;
  #retryMs = RETRY_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #around: GateSurroundings | undefined;
  readonly #ended = new AbortController();
  readonly #counters = { admissions: 0, admissionsRefused: 0, revocations: 0 };

  private constructor(options: GatekeeperOptions, book: MemberBook, path: string) {
    this.#options = options;
    this.#book = book;
    this.#path = path;
  }

  /** From now on decisions are published, and acted on. */
  attach(around: GateSurroundings): void {
    this.#around = around;
  }

  /** Ends what is under way. What was not published is at the next start. */
  async stop(): Promise<void> {
    this.#ended.abort();
    clearTimeout(this.#timer);
    await this.#turn;
    await this.#publishing;
  }

  /** Reads the allow-list. Throws `corrupt` for a damaged one: nobody is let in or out by half of it. */
  static async open(options: GatekeeperOptions): Promise<Gatekeeper> {
    const { state, mesh } = options;
    const path = `${state.replace(/[/\\]+$/, "")}/${MEMBERS_FILE}`;
    const { colonyKey, signer, now } = options;
    const book = await readBook(path, { mesh, colonyKey });
    if (book.colonyKey === colonyKey) return new Gatekeeper(options, book, path);
    // The colony goes on with another key: what it said is said again.
    const next = book.emptied(colonyKey);
    for (const { publicKey, name, state: is } of book.members) {
      const membership = { publicKey, name, state: is, sequence: next.nextSequence(now()) };
      const signed = await signMembership(signer, { meshId: mesh, ...membership });
      next.decide({ ...membership, signed });
    }
    await writePrivateFile(path, next.format());
    return new Gatekeeper(options, next, path);
  }

  /** Whether the mesh needs no invite. */
  get isOpen(): boolean {
    return this.#options.open;
  }

  /** Whether a node may be in the mesh. */
  admits(publicKey: string): boolean {
    const state = this.#book.find(publicKey)?.state;
    return this.#options.open ? state !== "revoked" : state === "admitted";
  }

  /** Counters by name; only what is not zero. */
  counters(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.#counters).filter(([, count]) => count > 0));
  }

  /** Looks at how a node shows its invite, and lets it in where that is good. Returns whether it did so now. Never rejects. */
  async examine(peer: DiscoveredPeer): Promise<boolean> {
    const { admission: jwt, publicKey, agentId, role } = peer;
    const key = parseKey(publicKey);
    if (key === undefined || role !== "agent") return false;
    if (this.#book.find(publicKey)?.state === "admitted") return false;
    if (await this.#follow(peer)) return true;
    if (jwt === undefined) return false;
    const { mesh: meshId, now, log } = this.#options;
    const order = { meshId, agentId, publicKey: key, now: now() };
    const admission = await openAdmission(jwt, order);
    if (admission === undefined) return this.#refuse(publicKey, "noInvite");
    const { invite } = admission;
    try {
      return await this.#next(async () => {
        const entry = this.#book.entryOf(publicKey, { invite, now: now() });
        if (entry === "member") return false;
        if (entry !== "admitted") return this.#refuse(publicKey, entry);
        const name = this.#book.nameOf(invite) || peer.name;
        await this.#decide({ publicKey, name, state: "admitted" }, { invite });
        this.#counters.admissions++;
        log("info", `let ${name || "a node"} in by an invite`, { publicKey });
        return true;
      });
    } catch (error) {
      log("error", `letting a node in: ${messageOf(error)}`, { publicKey });
      return false;
    }
  }

  /** A member goes on with another key: that takes its place. Returns whether it does. */
  async #follow({ publicKey, earlierKeys = [] }: DiscoveredPeer): Promise<boolean> {
    if (earlierKeys.length === 0) return false;
    try {
      return await this.#next(async () => {
        if (this.#book.find(publicKey) !== undefined) return false;
        // The nearest key that was decided about counts: who was thrown out by one does not come back by the next.
        const member = earlierKeys.map((key) => this.#book.find(key)).find((one) =>
          one !== undefined
        );
        if (member?.state !== "admitted") return false;
        const { name } = member;
        await this.#decide({ publicKey, name, state: "admitted" });
        const earlier = { publicKey: member.publicKey, name, state: "revoked" } as const;
        await this.#decide(earlier, { next: publicKey });
        return true;
      });
    } catch (error) {
      this.#options.log("error", `following a member's key: ${messageOf(error)}`, { publicKey });
      return false;
    }
  }

  /** Makes an invite. Throws `limit` where there are as many as there may be, and `usage` for a name that is none. */
  async invite({ name = "", lifeMs }: InviteRequest): Promise<IssuedInvite> {
    const { mesh, colonyKey, discovery, now } = this.#options;
    if (name !== "" && !isLabel(name)) {
      throw new MorayError("usage", "That is no name: 1 to 63 of a-z, 0-9 and -");
    }
    const seed = Uint8Array.from(systemRng.bytes(32));
    const key = await inviteKeyOf(seed);
    const expiresAt = Math.ceil(now() + Math.min(lifeMs, INVITE_LIFE_MS_MAX));
    await this.#next(async () => {
      await this.#change((book) => book.invite({ key, name, expiresAt, usedBy: "" }, now()));
    });
    const published = await this.#publishSoon();
    const invite = formatInvite({
      mesh,
      colonyKey,
      discovery,
      seed,
      expiresAt,
      ...(name !== "" && { name }),
    });
    return { invite, id: idOf(key), expiresAt, published };
  }

  /** Takes an open invite back. Throws `usage` for an id that no invite has, or several. */
  async cancelInvite(id: string): Promise<{ readonly published: boolean }> {
    await this.#next(async () => {
      await this.#change((book) => {
        const found = book.cancel(id, this.#options.now());
        if (found === 1) return;
        const what = found === 0 ? "No open invite has" : "Several open invites have";
        throw new MorayError("usage", `${what} the id ${id}: see moray invite --list`);
      });
    });
    return { published: await this.#publishSoon() };
  }

  /** Throws a node out, by name or key. */
  async revoke(peer: string): Promise<{ readonly publicKey: string; readonly published: boolean }> {
    const publicKey = this.#keyOf(peer);
    await this.#next(async () => {
      const name = this.#book.find(publicKey)?.name ?? "";
      await this.#decide({ publicKey, name, state: "revoked" });
      this.#counters.revocations++;
    });
    this.#options.log("info", "threw a node out", { publicKey });
    return { publicKey, published: await this.#publishSoon() };
  }

  /** The members, and the invites that are open. */
  members(): Promise<MemberList> {
    const { now, open } = this.#options;
    return Promise.resolve({
      open,
      members: this.#book.members.map(({ publicKey, name, state }) => ({ publicKey, name, state })),
      invites: this.#book.openInvites(now()).map(({ key, name, expiresAt }) => ({
        id: idOf(key),
        name,
        expiresAt,
      })),
    });
  }

  /** Discovery has said which list it has: what it lacks is published. */
  handleRevision(revision: number): void {
    this.#published = revision;
    void this.#publish();
  }

  /** The key of a member or of any node, by its name or the key itself. */
  #keyOf(peer: string): string {
    if (peer === this.#options.colonyKey) {
      throw new MorayError("usage", "That is the colony's own key: give that of a node");
    }
    if (parseKey(peer) !== undefined) return peer;
    const named = this.#book.members.filter(({ name, state }) =>
      name === peer && state === "admitted"
    );
    const [member, other] = named;
    if (member !== undefined && other === undefined) return member.publicKey;
    const what = member === undefined ? "No member is" : "Several members are";
    throw new MorayError("usage", `${what} called ${peer}: give its public key`);
  }

  #refuse(publicKey: string, why: string): false {
    this.#counters.admissionsRefused++;
    this.#options.log("info", `refused a node that came with an invite: ${why}`, { publicKey });
    return false;
  }

  /** Signs a decision, writes it down, and then acts on it. */
  async #decide(
    { publicKey, name, state }: Pick<Member, "publicKey" | "name" | "state">,
    { invite, next }: { readonly invite?: string; readonly next?: string } = {},
  ): Promise<void> {
    const { mesh: meshId, signer, now } = this.#options;
    const sequence = this.#book.nextSequence(now());
    const signed = await signMembership(signer, { meshId, publicKey, name, state, sequence });
    const member = { publicKey, name, state, sequence, signed };
    await this.#change((book) => book.decide(member, invite === undefined ? {} : { invite }));
    if (state === "revoked") this.#around?.onExpelled(publicKey, next);
    void this.#publish();
  }

  /** Changes the book, once that is on the disk. */
  async #change(change: (book: MemberBook) => void): Promise<void> {
    const next = MemberBook.parse(this.#book.format(), this.#options.mesh);
    if (next === undefined) throw new MorayError("internal", "The allow-list cannot be read back");
    change(next);
    await writePrivateFile(this.#path, next.format());
    this.#book = next;
  }

  #next<T>(body: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(body);
    this.#turn = mine.catch(() => {});
    return mine;
  }

  /** Publishes, and waits a while. Returns whether Discovery has everything. */
  async #publishSoon(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, PUBLISH_MS);
    await Promise.race([this.#publish(), promise]);
    clearTimeout(timer);
    return this.#published === this.#book.sequence;
  }

  /** Brings Discovery up to date; tries again by itself. Never rejects. */
  #publish(): Promise<void> {
    return this.#publishing ??= this.#publishAll().finally(() => {
      this.#publishing = undefined;
    });
  }

  async #publishAll(): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#ended;
    clearTimeout(this.#timer);
    try {
      while (!signal.aborted && this.#around !== undefined && this.#published !== undefined) {
        if (this.#published === this.#book.sequence) return;
        await this.#publishFrom(this.#published);
        this.#retryMs = RETRY_MS;
      }
    } catch (error) {
      if (signal.aborted) return;
      log("warn", `members are not published yet: ${messageOf(error)}`);
      this.#timer = setTimeout(() => void this.#publish(), this.#retryMs);
      Deno.unrefTimer(this.#timer);
      this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS_MAX);
    }
  }

  async #publishFrom(revision: number): Promise<void> {
    const { mesh: meshId, colonyKey: publicKey, now } = this.#options;
    const { signal } = this.#ended;
    if (this.#around === undefined) return;
    const { client } = this.#around;
    const book = this.#book;
    // A colony that was restored from a copy knows less than Discovery does: everything is said again.
    const since = revision > book.sequence ? 0 : revision;
    const news = book.members.filter(({ sequence }) => sequence > since);
    const invites = book.openInvites(now()).map(({ key, expiresAt }) => ({ key, expiresAt }));
    for (let from = 0;; from += BATCH_MAX) {
      const members = news.slice(from, from + BATCH_MAX).map(({ signed }) => signed);
      const last = from + BATCH_MAX >= news.length;
      const part = { members, invites, revision: last ? book.sequence : 0 };
      await client.publishMembership({ meshId, publicKey, ...part }, { signal });
      if (last) break;
    }
    this.#published = book.sequence;
  }
}

async function readBook(
  path: string,
  { mesh, colonyKey }: { readonly mesh: string; readonly colonyKey: string },
): Promise<MemberBook> {
  try {
    await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return new MemberBook(mesh, colonyKey);
  }
  const book = MemberBook.parse(await readTextFile(path, { bytesMax: FILE_BYTES_MAX }), mesh);
  if (book !== undefined) return book;
  throw new MorayError(
    "corrupt",
    `${path} is damaged or of another mesh: restore it, or remove it to start without members`,
  );
}

/** The first letters of an invite's key, by which people name it. */
function idOf(key: string): string {
  return key.slice(0, 8);
}
