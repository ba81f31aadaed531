/** Looks at what a mesh node is started with. @module */
import { type Cidr, MorayError } from "../core/mod.ts";
import { MESH_IPV4_SUBNET } from "./addressing.ts";
import { parseSubnet } from "./control/mesh_view.ts";
import type { Role } from "./mesh_peers.ts";
import { isLabel, labelOf } from "./names.ts";
import type { MeshNodeOptions } from "./options.ts";

/** Returns the node's name. Throws `usage` for a mesh id or name that is none, and for ways that exclude each other. */
export function checkedName(role: Role, options: MeshNodeOptions): string {
  const { mesh } = options;
  if (!isLabel(mesh)) {
    throw new MorayError("usage", `Not a mesh id: ${mesh}: use 1 to 63 of a-z, 0-9 and "-"`);
  }
  const name = options.name ?? (role === "colony" ? "colony" : labelOf(Deno.hostname()) ?? "agent");
  if (!isLabel(name)) {
    throw new MorayError("usage", `Not a node name: ${name}: use 1 to 63 of a-z, 0-9 and "-"`);
  }
  if (options.noDirect === true && options.noRelay === true) {
    throw new MorayError("usage", "--no-direct and --no-relay leave no way to a peer: drop one");
  }
  return name;
}

/** Returns the block that IPv4 addresses are from. Throws `usage` for one that may not be. */
export function checkedSubnet({ meshSubnet }: MeshNodeOptions): Cidr {
  if (meshSubnet === undefined) return MESH_IPV4_SUBNET;
  const subnet = parseSubnet(meshSubnet);
  if (subnet === undefined) {
    const blocks = "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10";
    const message = `Not a subnet for a mesh: ${meshSubnet}: use a block of ${blocks}, /8 to /30`;
    throw new MorayError("usage", message);
  }
  return subnet;
}
