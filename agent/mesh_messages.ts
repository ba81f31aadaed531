/** What `MeshControl` and the node around it say to each other. Pure. @module */
import type { ErrorCode, Instant, Rng } from "../core/mod.ts";
import type { DiscoveredPeer, DiscoveryFeatures, Registration, Signed } from "../discovery/mod.ts";
import type { Assigned } from "./control/control_side.ts";
import type { Fellow } from "./fellows.ts";
import type { MeshPeer, Role } from "./mesh_peers.ts";
import type { NameTable } from "./names.ts";
import type { Log } from "./options.ts";
import type { GrantedRelay } from "./relay_control.ts";

/** A call of Discovery that the node is asked to make; `MeshControl.handleAnswer` takes what came of it. */
export type MeshRequest =
  /** What can the server do, and which STUN servers does it name? The node hands those to the datapath. */
  | { readonly kind: "serverInfo" }
  /** Register this node, or refresh its registration. */
  | { readonly kind: "register"; readonly registration: Registration }
  /** Where is the colony of the mesh? */
  | { readonly kind: "lookUpColony" }
  /** Is the node with this key an agent of the mesh, and where is it? */
  | { readonly kind: "lookUpAgent"; readonly publicKey: string }
  /** Have this node and the one with this key send handshakes to each other now. */
  | { readonly kind: "punch"; readonly publicKey: string }
  /** Grant a relay, or renew the session of one; empty for any. Some have failed. */
  | {
    readonly kind: "requestRelay";
    readonly relayId: string;
    readonly failed: readonly string[];
  }
  /** Take a relay session back. */
  | { readonly kind: "releaseRelay"; readonly sessionId: string };

/** What came of a {@linkcode MeshRequest}. */
export type MeshAnswer =
  /** What the server can do, and whether it, or the configuration, names any STUN server. */
  | { readonly kind: "serverInfo"; readonly features: DiscoveryFeatures; readonly stun: boolean }
  /** The registration stands for so long. */
  | { readonly kind: "registered"; readonly ttlMs: number }
  /** The colony; `undefined` while the mesh has none. */
  | { readonly kind: "colony"; readonly peer: DiscoveredPeer | undefined }
  /** The agent; `undefined` if no agent with this key is registered. */
  | {
    readonly kind: "agent";
    readonly publicKey: string;
    readonly peer: DiscoveredPeer | undefined;
  }
  /** Both sides send for so long. */
  | {
    readonly kind: "punched";
    readonly publicKey: string;
    readonly punchId: string;
    /** Whether the other side was told. */
    readonly delivered: boolean;
    readonly windowMs: number;
    readonly peer: DiscoveredPeer;
  }
  /** A relay is granted. */
  | {
    readonly kind: "relayGranted";
    readonly request: MeshRequest & { readonly kind: "requestRelay" };
    readonly granted: GrantedRelay;
  }
  /** The relay session is over. */
  | { readonly kind: "relayReleased" }
  /** It did not work. */
  | {
    readonly kind: "failed";
    readonly request: MeshRequest;
    readonly code: ErrorCode;
    readonly message: string;
  };

/** What the node is told besides commands and requests. */
export type MeshEvent =
  /** A line for the log. */
  | {
    readonly kind: "log";
    readonly level: Parameters<Log>[0];
    readonly message: string;
    readonly fields?: Readonly<Record<string, string | number | boolean | null>>;
  }
  /** The node is registered for the first time: its Watch stream can be opened now. */
  | { readonly kind: "registered" }
  /** The first answer, or the first failure, of the attempt to register. */
  | { readonly kind: "notRegistered"; readonly code: ErrorCode; readonly message: string }
  /** The way to Discovery may be another: connections from before may be dead, and are to be given up. */
  | { readonly kind: "reconnect" }
  /** The Watch stream is missed: if it is broken, it is to be opened again now. */
  | { readonly kind: "hurry" }
  /** A peer has been reached that was not connected. */
  | { readonly kind: "connected"; readonly peer: MeshPeer }
  /** What should be kept for a start without Discovery is another. */
  | { readonly kind: "peersChanged" };

/** What a `MeshControl` is made of. */
export interface MeshControlOptions {
  /** The present. */
  readonly now: Instant;
  /** Entropy for jitter. */
  readonly rng: Rng;
  /** What this node is. */
  readonly role: Role;
  /** Mesh id. */
  readonly mesh: string;
  /** Our own key, base64. */
  readonly publicKey: string;
  /** Our own address in the mesh. */
  readonly meshIpv6: string;
  /** How we came to our key: others know us by an earlier one. @default [] */
  readonly rotations?: readonly Signed[];
  /** Our name. */
  readonly name: string;
  /** The port of a colony's control service. */
  readonly connectPort: number;
  /** Discovery's URLs; a mesh whose Discovery is on this machine may be on this machine. */
  readonly discovery: readonly string[];
  /** Names of the mesh; peers are added and removed. */
  readonly names: NameTable;
  /** Peers known from an earlier run, tried before Discovery has answered. @default [] */
  readonly cached: readonly DiscoveredPeer[];
  /** Whether a node may be a peer of this one. @default every node of the mesh may */
  readonly admits?: (publicKey: string) => boolean;
  /** Agent only: the fellows of an earlier run. @default nobody */
  readonly fellows?: readonly Fellow[];
  /** What the colony calls a node, and the IPv4 address that it has. @default it has said nothing of any */
  readonly assignedTo?: (publicKey: string) => Assigned | undefined;
  /** Our own IPv4 address. @default a colony's is the first of the usual subnet, and an agent has none */
  readonly ownIpv4?: () => string | null;
  /** Never use a relay, and tell the peers so. @default false */
  readonly noRelay?: boolean;
  /** Most that is sent through a relay, in bytes a second. @default what the relay allows */
  readonly relayBandwidth?: number;
}
