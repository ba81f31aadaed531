/** How a node comes to be in its mesh, and who else may be: a colony's gate, or an agent's invite. @module */
import { formatBase64, messageOf, MorayError } from "../../core/mod.ts";
import {
  type DiscoveredPeer,
  type Identity,
  type Membership,
  type Registered,
  type Registration,
  type RememberedRecords,
  signAdmission,
} from "../../discovery/mod.ts";
import type { Role } from "../mesh_peers.ts";
import type { Log } from "../options.ts";
import { Gatekeeper, type GateSurroundings } from "./gatekeeper.ts";
import type { MembershipHandle } from "./handle.ts";
import { type Joined, joinedBy, letIn } from "./join_file.ts";
import { Roster } from "./roster.ts";

/** Options of {@linkcode MeshAccess.open}. */
export interface MeshAccessOptions {
  /** What the node is. */
  readonly role: Role;
  /** State directory. */
  readonly state: string;
  /** Mesh id. */
  readonly mesh: string;
  /** Discovery's base URLs. */
  readonly discovery: readonly string[];
  /** The node's key. */
  readonly identity: Identity;
  /** Colony only: whether nodes need no invite. @default false */
  readonly open?: boolean;
  /** Agent only: an invite. */
  readonly join?: string | undefined;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Where the log goes. */
  readonly log: Log;
}

/** A node's way into its mesh. */
export class MeshAccess {
  readonly #options: MeshAccessOptions;
  readonly #gate: Gatekeeper | undefined;
  readonly #roster = new Roster();
  /** What the log has said once; as many as there are sentences. */
  readonly #said = new Set<string>();
  #joined: Joined | undefined;
  #around: GateSurroundings | undefined;
  #registered = false;
  #connected = false;

  private constructor(
    options: MeshAccessOptions,
    { gate, joined }: {
      readonly gate?: Gatekeeper;
      readonly joined?: Joined | undefined;
    },
  ) {
    this.#options = options;
    this.#gate = gate;
    this.#joined = joined;
  }

  /** Reads what the state directory knows. Throws `corrupt` for damaged files, `usage` and `refused` for an invite that is no use. */
  static async open(options: MeshAccessOptions): Promise<MeshAccess> {
    const { role, state, join, mesh, now } = options;
    if (role === "colony") {
      const { open = false, identity: { signer, publicKey } } = options;
      const colonyKey = formatBase64(publicKey);
      return new MeshAccess(options, {
        gate: await Gatekeeper.open({ ...options, open, colonyKey, signer }),
      });
    }
    const joined = await joinedBy(state, { join, now: now() });
    if (joined !== undefined && joined.mesh !== mesh) {
      const of = `The ${
        join === undefined ? "state directory" : "invite"
      } is of mesh ${joined.mesh}`;
      throw new MorayError("usage", `${of}, not ${mesh}: leave --mesh out, or use another --state`);
    }
    return new MeshAccess(options, { joined });
  }

  /** Has the colony be the one that invited this node; once that has let it in, what was verified since goes before. */
  pin(known: RememberedRecords): RememberedRecords {
    if (this.#joined === undefined) return known;
    const { colonyKey, seed } = this.#joined;
    return { ...known, colonyKey: seed === undefined ? known.colonyKey ?? colonyKey : colonyKey };
  }

  /** The members, where this is a colony. */
  get membership(): MembershipHandle | undefined {
    return this.#gate;
  }

  /** Whether a node may be a peer of this one. */
  admits(publicKey: string): boolean {
    return this.#gate?.admits(publicKey) ?? this.#roster.admits(publicKey);
  }

  /** Counters by name; only what is not zero. */
  counters(): Record<string, number> {
    const { forgotten } = this.#roster;
    return this.#gate?.counters() ?? (forgotten > 0 ? { revokedForgotten: forgotten } : {});
  }

  /** From now on a colony's decisions are published, and acted on: its own, or those that an agent hears of. */
  attach(around: GateSurroundings): void {
    this.#around = around;
    this.#gate?.attach(around);
  }

  /** Returns a registration with what lets this node in, or says who is. */
  async extend(registration: Registration): Promise<Registration> {
    const { role, mesh: meshId, identity: { publicKey }, now } = this.#options;
    if (role === "colony") return { ...registration, open: this.#gate?.isOpen ?? false };
    const seed = this.#joined?.seed;
    if (seed === undefined) return registration;
    const agentId = registration.agentId ?? registration.publicKey;
    const order = { meshId, agentId, publicKey, now: now(), id: crypto.randomUUID() };
    return { ...registration, admission: await signAdmission(seed, order) };
  }

  /** Discovery has taken the registration. */
  handleRegistered({ membersRevision }: Registered): void {
    this.#registered = true;
    this.#look();
    if (this.#joined?.seed !== undefined) {
      this.#sayOnce("info", "waiting for the colony to let this node in");
    }
    if (this.#gate === undefined) return;
    if (!this.#gate.isOpen && this.#around?.client.features.members !== true) {
      this.#sayOnce("warn", "this Discovery carries no invites: a mesh there needs --open");
    }
    this.#gate.handleRevision(membersRevision);
  }

  /** The other side has been reached. */
  handleConnected(): void {
    this.#connected = true;
    this.#look();
  }

  /** The colony has signed something about this node, or about one that it throws out. */
  handleMembership(membership: Membership): void {
    const { publicKey, state } = membership;
    if (state === "revoked") this.#around?.onEnded();
    if (this.#gate !== undefined) return;
    if (publicKey === formatBase64(this.#options.identity.publicKey)) {
      if (state === "admitted") this.#forgetInvite();
      return;
    }
    if (this.#roster.handle(membership)) this.#cutOff(publicKey);
  }

  /** The Watch stream stands: what was said while it did not is read. Never rejects. */
  async handleSynchronized(signal: AbortSignal): Promise<void> {
    const { mesh: meshId, log } = this.#options;
    const { client } = this.#around ?? {};
    if (this.#gate !== undefined || client?.features.members !== true) return;
    try {
      const news = await client.membershipNews({ meshId, since: this.#roster.since }, { signal });
      for (const publicKey of this.#roster.handleNews(news)) this.#cutOff(publicKey);
      const own = formatBase64(this.#options.identity.publicKey);
      for (const one of news) if (one.publicKey === own) this.handleMembership(one);
    } catch (error) {
      if (!signal.aborted) log("debug", `reading the members: ${messageOf(error)}`);
    }
  }

  #cutOff(publicKey: string): void {
    this.#options.log("info", "the colony has thrown a node out", { publicKey });
    this.#around?.onExpelled(publicKey);
  }

  /** Where nobody tells who is a member, a colony that answers an agent has let it in. */
  #look(): void {
    const { client } = this.#around ?? {};
    if (!this.#connected || !this.#registered || client?.features.members === true) return;
    this.#forgetInvite();
  }

  /** This node was let in: the invite is of no use any more. */
  #forgetInvite(): void {
    const joined = this.#joined;
    if (joined?.seed === undefined) return;
    const { seed, ...rest } = joined;
    this.#joined = rest;
    const { state, log } = this.#options;
    log("info", "the colony has let this node in");
    letIn(state, { ...joined, seed }).catch((error) =>
      log("warn", `the invite is not forgotten: ${messageOf(error)}`)
    );
  }

  #sayOnce(level: "info" | "warn", message: string): void {
    if (this.#said.has(message)) return;
    this.#said.add(message);
    this.#options.log(level, message);
  }

  /** Looks at a record that may show an invite. Returns whether that has let its node in now. Never rejects. */
  async examine(peer: DiscoveredPeer): Promise<boolean> {
    return await this.#gate?.examine(peer) ?? false;
  }

  /** Ends what is under way. */
  async stop(): Promise<void> {
    await this.#gate?.stop();
  }
}
