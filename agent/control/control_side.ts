/** What a node has to do with the control service of its mesh: a colony gives it, an agent uses it. @module */
import type { Cidr } from "../../core/mod.ts";
import type { Fellow } from "../fellows.ts";
import type { MeshPeer, Role } from "../mesh_peers.ts";
import type { NameTable } from "../names.ts";
import type { Network } from "../network.ts";
import type { Log } from "../options.ts";
import type { NodeRules } from "../policy/mod.ts";
import type { MeshMember } from "./mesh_view.ts";

/** What a node of the mesh is called, and its IPv4 address. */
export interface Assigned {
  /** Its name, which no other node has. */
  readonly name: string;
  /** Its IPv4 address. */
  readonly ipv4: string;
}

/** What either side is made of. */
export interface ControlOptions {
  /** State directory. */
  readonly state: string;
  /** Mesh id. */
  readonly mesh: string;
  /** What this node is. */
  readonly role: Role;
  /** Our own key, base64. */
  readonly publicKey: string;
  /** The name that we were given. */
  readonly name: string;
  /** Our own address in the mesh. */
  readonly meshIpv6: string;
  /** Names of the mesh: the members' are kept there. */
  readonly names: NameTable;
  /** Colony only: the block that IPv4 addresses are from. */
  readonly subnet: Cidr;
  /** Colony only: path of the policy file. Absent: agents talk to their colony alone. */
  readonly policyFile?: string;
  /** Colony only: the port of the service. */
  readonly port: number;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Makes that many random bytes. */
  readonly randomBytes: (count: number) => Uint8Array;
  /** Where the log goes. */
  readonly log: Log;
}

/** What either side says to the node around it. */
export interface ControlSurroundings {
  /** The peer with a mesh address. */
  readonly peerAt: (address: string) => MeshPeer | undefined;
  /** A peer is called so from now on, and has this address. */
  readonly onAssigned: (publicKey: string, assigned: Assigned) => void;
  /** Agent only: the node itself has another IPv4 address or name. */
  readonly onOwn: () => void;
  /** Who is in the mesh has changed, or what the node may do. */
  readonly onMesh: (mesh: MeshKnowledge) => void;
}

/** What a node knows of its mesh: an agent by its colony. */
export interface MeshKnowledge {
  /** Everybody but the node itself. */
  readonly members: readonly MeshMember[];
  /** The other agents that this one may talk to. */
  readonly fellows: readonly Fellow[];
  /** What the node may do. Absent: the colony has no policy. */
  readonly rules?: NodeRules;
}

/** One side of the control service. */
export interface ControlSide {
  /** What the node is called in its mesh. */
  readonly name: string;
  /** Its own IPv4 address; `null` while it has none. */
  readonly ipv4: string | null;
  /** Everybody that is known to be a member. */
  readonly members: readonly MeshMember[];
  /** Agent only: the other agents that it may talk to, as far as it knows. */
  readonly fellows: readonly Fellow[];
  /** What a member is called, and its IPv4 address; `undefined` for who is none. */
  assignedTo(publicKey: string): Assigned | undefined;
  /** Begins, once the node has its addresses. */
  start(network: Network, around: ControlSurroundings): void;
  /** A peer has been reached that was not connected. */
  handleConnected(peer: MeshPeer): void;
  /** A key may be in the mesh no more; `next`: its node goes on with that one. */
  handleExpelled(publicKey: string, next?: string): void;
  /** Counters by name; only what is not zero. */
  counters(): Record<string, number>;
  /** Ends it. Never rejects. */
  stop(): Promise<void>;
}
