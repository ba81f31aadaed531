/**
 * The IPv6 addresses of a node, derived from what every peer knows: the mesh id and the public key.
 *
 * The mesh address is a unique local address (RFC 4193):
 *
 * | bytes | value                                                                             |
 * |-------|-----------------------------------------------------------------------------------|
 * | 0     | `fd`                                                                              |
 * | 1-5   | global id: the first 5 bytes of SHA-256("moray mesh " + mesh id), the id in UTF-8 |
 * | 6-7   | subnet: 0                                                                         |
 * | 8-15  | interface id: the first 8 bytes of SHA-256(public key)                            |
 *
 * So one mesh is one /64. Two nodes of a mesh would share an address by accident with a chance of n²/2⁶⁵. The
 * link-local address, for probes of one path, has the same interface id behind `fe80::/64`.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { assert, type Cidr, concat, formatIp, KEY_BYTES } from "../core/mod.ts";

/** The colony's IPv4 address in every mesh: the first of its subnet. */
export const COLONY_IPV4 = "10.42.0.1";
/** The subnet that a colony assigns IPv4 addresses from. */
export const MESH_IPV4_SUBNET: Cidr = { address: Uint8Array.of(10, 42, 0, 0), prefix: 16 };

const INTERFACE_ID_BYTES = 8;

/** Returns the /64 that all nodes of a mesh are in. */
export function meshIpv6Subnet(meshId: string): Cidr {
  const globalId = sha256(new TextEncoder().encode(`moray mesh ${meshId}`)).subarray(0, 5);
  return { address: concat(Uint8Array.of(0xfd), globalId, new Uint8Array(10)), prefix: 64 };
}

/** Returns a node's address in a mesh. `publicKey` has 32 bytes. */
export function meshIpv6Of(meshId: string, publicKey: Uint8Array): string {
  return join(meshIpv6Subnet(meshId).address, publicKey);
}

function join(network: Uint8Array, publicKey: Uint8Array): string {
  assert(publicKey.length === KEY_BYTES, "a public key has 32 bytes");
  return formatIp(
    concat(network.subarray(0, 8), sha256(publicKey).subarray(0, INTERFACE_ID_BYTES)),
  );
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}
