/**
 * A node inside a program: what Deno's own network functions do, inside the mesh.
 *
 * ```text
 *   Node --- connect, listen ---> MeshConn, MeshListener    as Deno.connect, Deno.listen
 *        --- listenDatagram ----> MeshDatagramConn          as Deno.listenDatagram
 *        --- serve -------------> MeshServer                as Deno.serve
 *        --- fetch -------------> MeshHttpClient            as fetch
 *                |
 *                v
 *        Network (../network.ts), and a RunningNode around it
 * ```
 *
 * Shapes and errors are Deno's, so that code written for them works unchanged.
 *
 * @module
 */
export { MeshConn } from "./mesh_conn.ts";
export type { IssuedInvite, MemberList } from "../membership/handle.ts";
export {
  type ConnectTo,
  type InviteOptions,
  type ListenDatagramOn,
  type ListenOn,
  Node,
  type NodeOptions,
} from "./node.ts";
export { MeshDatagramConn, type MeshDatagramConnOptions } from "./mesh_datagram.ts";
export { MeshListener } from "./mesh_listener.ts";
export {
  type MeshServeHandler,
  type MeshServeInfo,
  type MeshServeOptions,
  MeshServer,
} from "./mesh_server.ts";
