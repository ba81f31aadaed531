/** What a colony tells its nodes of the mesh, in our words and in those of the protocol. Pure. @module */
import { create } from "@bufbuild/protobuf";
import {
  canonicalIp,
  type Cidr,
  cidrContains,
  formatBase64,
  formatCidr,
  KEY_BYTES,
  parseCidr,
  parseIp,
  parseKey,
} from "../../core/mod.ts";
import {
  type Member,
  MemberSchema,
  type MeshView as MeshViewMessage,
  MeshViewSchema,
  type Policy,
  Role as RoleMessage,
} from "../../proto/control.ts";
import { meshIpv6Of } from "../addressing.ts";
import type { Role } from "../mesh_peers.ts";
import { isLabel } from "../names.ts";

/** Members that a node believes a colony to have; further ones are left out. */
export const MEMBERS_MAX = 10_001;

/** Blocks that a mesh's IPv4 addresses may be from: nobody's on the Internet (RFC 1918, RFC 6598). */
const PRIVATE: readonly Cidr[] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]
  .map(parseCidr).filter((block) => block !== undefined);
const PREFIX_MIN = 8;
const PREFIX_MAX = 30;

/** A node of the mesh. */
export interface MeshMember {
  /** WireGuard key, base64. */
  readonly publicKey: string;
  /** Its name, which no other member has. */
  readonly name: string;
  /** What it is. */
  readonly role: Role;
  /** IPv4 address in the mesh. */
  readonly ipv4: string;
  /** IPv6 address in the mesh. */
  readonly ipv6: string;
  /** Whether it is there, as far as the colony knows. */
  readonly present: boolean;
}

/** The mesh, or what has changed in it. */
export interface MeshView {
  /** Names the list that revisions count in. */
  readonly instance: string;
  /** Grows with each change. */
  readonly revision: number;
  /** Whether this is all there is; else it comes on top of the view before. */
  readonly complete: boolean;
  /** All members, or those that have changed. */
  readonly members: readonly MeshMember[];
  /** Keys that are no members any more. */
  readonly removed: readonly string[];
  /** The block that IPv4 addresses are from. */
  readonly subnet: Cidr;
  /** What the node may do. Absent in a complete view: the colony has no policy; in another: as it was. */
  readonly policy?: Policy;
}

/** Parses the block that a mesh's IPv4 addresses are to be from; `undefined` for one that may not be. */
export function parseSubnet(text: string): Cidr | undefined {
  const block = parseCidr(text);
  if (block === undefined || block.prefix < PREFIX_MIN || block.prefix > PREFIX_MAX) {
    return undefined;
  }
  const within = PRIVATE.some((range) =>
    range.prefix <= block.prefix && cidrContains(range, block.address)
  );
  return within ? block : undefined;
}

/** Returns the message. */
export function viewMessage(view: MeshView): MeshViewMessage {
  const { policy, subnet, members, removed, revision, ...rest } = view;
  return create(MeshViewSchema, {
    ...rest,
    revision: BigInt(revision),
    members: members.map(({ publicKey, role, ...member }) =>
      create(MemberSchema, {
        ...member,
        pubkey: bytesOf(publicKey),
        role: role === "colony" ? RoleMessage.COLONY : RoleMessage.AGENT,
      })
    ),
    removed: removed.map(bytesOf),
    ipv4Subnet: formatCidr(subnet),
    ...(policy !== undefined && { policy }),
  });
}

/**
 * Parses a message without trust: a colony says who has which address of its subnet, and nothing about any other. Members that make no sense
 * are left out; `undefined` for a view that makes none.
 */
export function parseView(message: MeshViewMessage, mesh: string): MeshView | undefined {
  const { instance, complete, removed, policy } = message;
  const revision = Number(message.revision);
  const subnet = parseSubnet(message.ipv4Subnet);
  if (subnet === undefined || !Number.isSafeInteger(revision)) return undefined;
  return {
    instance,
    revision,
    complete,
    members: message.members.slice(0, MEMBERS_MAX)
      .map((member) => parseMember(member, { subnet, mesh })).filter((member) =>
        member !== undefined
      ),
    removed: removed.slice(0, MEMBERS_MAX).filter((key) => key.length === KEY_BYTES)
      .map((key) => formatBase64(key)),
    subnet,
    ...(policy !== undefined && { policy }),
  };
}

function parseMember(
  { pubkey, name, ipv4, ipv6, role, present }: Member,
  { subnet, mesh }: { readonly subnet: Cidr; readonly mesh: string },
): MeshMember | undefined {
  const four = parseIp(ipv4);
  const six = canonicalIp(ipv6);
  if (pubkey.length !== KEY_BYTES || !isLabel(name)) return undefined;
  if (four === undefined || !cidrContains(subnet, four)) return undefined;
  // Its IPv6 address follows from its key.
  if (six === undefined || six !== meshIpv6Of(mesh, pubkey)) return undefined;
  if (role !== RoleMessage.COLONY && role !== RoleMessage.AGENT) return undefined;
  return {
    publicKey: formatBase64(pubkey),
    name,
    role: role === RoleMessage.COLONY ? "colony" : "agent",
    ipv4,
    ipv6: six,
    present,
  };
}

function bytesOf(publicKey: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parseKey(publicKey) ?? []);
}
